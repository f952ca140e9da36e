//! AES-256-GCM, the one cipher of the format.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::base::secret::SecretKey;
use crate::format::sealed::TAG_LEN;

/// The nonce of a key that seals one text only.
pub(super) const ONLY_NONCE: [u8; 12] = [0; 12];

/// A key that is ready for use. Every nonce seals at most one text under it.
pub(super) struct AeadKey(LessSafeKey);

impl AeadKey {
    pub(super) fn new(key: &SecretKey) -> Self {
        match UnboundKey::new(&AES_256_GCM, key.expose()) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => unreachable!("a key of AES-256 has 32 bytes"),
        }
    }

    /// Seals the text in place and gives its tag.
    pub(super) fn seal_in_place(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text) {
            Ok(tag) => std::array::from_fn(|i| tag.as_ref()[i]),
            Err(_) => unreachable!("no text of a repository is longer than 64 GiB"),
        }
    }

    /// Seals what stands in `buffer` from `start` on, and appends the tag.
    pub(super) fn seal_tail(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) {
        let tag = self.seal_in_place(nonce, aad, &mut buffer[start..]);
        buffer.extend_from_slice(&tag);
    }

    /// Opens a text with its tag behind it, in place; none if it is not what was sealed.
    pub(super) fn open_in_place<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(aad), sealed).ok()
    }
}

/// The nonce that is this number.
pub(super) fn counted_nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 16 of the specification of GCM (McGrew and Viega, 2004).
    #[test]
    fn the_cipher_gives_the_known_answer_of_its_specification() {
        let hex = |text: &str| -> Vec<u8> {
            let digit = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(digit).collect()
        };
        let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let key = AeadKey::new(&SecretKey::new(key.try_into().unwrap()));
        let nonce: [u8; 12] = hex("cafebabefacedbaddecaf888").try_into().unwrap();
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
        let mut text = plain.clone();
        key.seal_tail(nonce, &aad, &mut text, 0);
        let sealed = hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b");
        assert_eq!(text, sealed);
        assert_eq!(key.open_in_place(nonce, &aad, &mut text).unwrap(), plain);
        assert!(key.open_in_place(nonce, &aad[1..], &mut sealed.clone()).is_none());
    }
}
