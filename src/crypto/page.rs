//! Pages of index segments: sealed one by one, so that a lookup opens few of them.

use crate::crypto::aead::{AeadKey, counted_nonce};
use crate::crypto::keys::{Keys, object_key};
use crate::crypto::{Sealing, sealing};
use crate::format::codec::DecodeError;
use crate::format::segment::{PAGE_BODY_LEN, PAGE_CHECK_LEN, SegmentSeal};

/// Seals and opens the pages of one segment. A tag stands where a plain page has its check.
pub struct PageSeal {
    seal: SegmentSeal,
    key: AeadKey,
    aad: Vec<u8>,
}

impl PageSeal {
    /// What the footer says of it.
    #[must_use]
    pub fn seal(&self) -> SegmentSeal {
        self.seal
    }

    /// Seals a page in place; its tag. Every page is sealed once.
    #[must_use]
    pub fn seal_page(&self, page_number: u64, body: &mut [u8]) -> [u8; PAGE_CHECK_LEN] {
        self.key.seal_in_place(counted_nonce(page_number), &self.aad, body)
    }

    /// The tag of the footer page, which everybody may read and nobody may change.
    #[must_use]
    pub fn sign_footer(&self, page_number: u64, body: &[u8]) -> [u8; PAGE_CHECK_LEN] {
        self.key.seal_in_place(counted_nonce(page_number), &self.footer_aad(body), &mut [])
    }

    /// Whether a footer page has the tag that its writer gave it.
    #[must_use]
    pub fn is_signed(&self, page_number: u64, body: &[u8], tag: &[u8; PAGE_CHECK_LEN]) -> bool {
        let mut sealed = *tag;
        let aad = self.footer_aad(body);
        self.key.open_in_place(counted_nonce(page_number), &aad, &mut sealed).is_some()
    }

    /// Opens a page; none if it is not what was sealed.
    #[must_use]
    pub fn open_page(
        &self,
        page_number: u64,
        body: &[u8; PAGE_BODY_LEN],
        tag: &[u8; PAGE_CHECK_LEN],
    ) -> Option<Box<[u8; PAGE_BODY_LEN]>> {
        let mut sealed = Vec::with_capacity(PAGE_BODY_LEN + PAGE_CHECK_LEN);
        sealed.extend_from_slice(body);
        sealed.extend_from_slice(tag);
        self.key.open_in_place(counted_nonce(page_number), &self.aad, &mut sealed)?;
        sealed.truncate(PAGE_BODY_LEN);
        sealed.into_boxed_slice().try_into().ok()
    }

    fn footer_aad(&self, body: &[u8]) -> Vec<u8> {
        [&self.aad, body].concat()
    }
}

impl Sealing {
    /// The seal of a new segment; none in a plain repository.
    #[must_use]
    pub fn new_segment(&self) -> Option<PageSeal> {
        let keys = self.keys()?;
        let seal = SegmentSeal { epoch: keys.newest().0, salt: keys.salt() };
        self.page_seal(keys, seal).ok()
    }

    /// The seal of the segment with this footer page, which is not known to be right; none in a
    /// plain repository.
    pub fn segment_seal(
        &self,
        footer: &[u8; PAGE_BODY_LEN],
    ) -> Result<Option<PageSeal>, DecodeError> {
        match (self.keys(), SegmentSeal::claimed(footer)) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(DecodeError::damaged("the index segment is sealed")),
            (Some(_), None) => Err(DecodeError::damaged("the index segment is not sealed")),
            (Some(keys), Some(seal)) => self.page_seal(keys, seal).map(Some),
        }
    }

    fn page_seal(&self, keys: &Keys, seal: SegmentSeal) -> Result<PageSeal, DecodeError> {
        let key = object_key(&keys.of(seal.epoch)?.pages, &[&seal.salt]);
        let aad = self.aad(sealing::Sealed::Page, seal.epoch);
        Ok(PageSeal { seal, key: AeadKey::new(&key), aad })
    }
}
