//! Entries of packs: each has keys of its own, made of its chunk id and a salt.

use crate::base::hash::keyed_hash;
use crate::base::id::ChunkId;
use crate::base::units::SliceIndex;
use crate::crypto::aead::{AeadKey, ONLY_NONCE, counted_nonce};
use crate::crypto::keys::{EpochKeys, Keys, object_key};
use crate::crypto::{Sealing, sealing};
use crate::format::codec::{DecodeError, require};
use crate::format::entry::{
    ENTRY_HEADER_LEN, ENTRY_MAGIC, ENTRY_PREFIX_LEN, EntryHead, EntryKind, EntrySeal,
    SLICE_ROW_LEN, SliceRow,
};

const NOT_OPENED: &str = "the seal of an entry does not open: it is damaged, or no holder of the \
                          keys wrote it";

/// Seals one entry. In a plain repository it changes nothing.
pub struct EntrySealer {
    keys: Option<SealerKeys>,
}

struct SealerKeys {
    seal: EntrySeal,
    mask: [u8; 8],
    head: AeadKey,
    slices: SliceKey,
    head_aad: Vec<u8>,
}

impl EntrySealer {
    /// Length of the sealed head with `slice_count` rows, in bytes.
    #[must_use]
    pub fn head_len(&self, slice_count: usize) -> usize {
        match self.keys {
            None => ENTRY_HEADER_LEN + slice_count * SLICE_ROW_LEN,
            Some(_) => ENTRY_PREFIX_LEN + EntrySeal::sealed_head_len(slice_count),
        }
    }

    /// Seals the slice that stands in `entry` from `start` on. One that stores nothing has no tag.
    pub fn seal_slice(&self, index: usize, row: &SliceRow, entry: &mut Vec<u8>, start: usize) {
        if let Some(keys) = &self.keys
            && row.stored_len > 0
        {
            let index = SliceIndex(index as u8);
            let aad = keys.slices.aad(row);
            keys.slices.key.seal_tail(counted_nonce(index.0.into()), &aad, entry, start);
        }
    }

    /// Writes the head to the place that was left for it at the beginning of `entry`.
    pub fn write_head(&self, head: EntryHead, entry: &mut [u8]) {
        let mut text = Vec::with_capacity(self.head_len(head.rows().len()));
        if let Some(keys) = &self.keys {
            text.extend_from_slice(&keys.seal.encode(head.rows().len(), keys.mask));
        }
        let start = text.len();
        head.encode_into(&mut text);
        if let Some(keys) = &self.keys {
            keys.head.seal_tail(ONLY_NONCE, &keys.head_aad, &mut text, start);
        }
        entry[..text.len()].copy_from_slice(&text);
    }
}

/// Opens the slices of one entry.
pub struct SliceOpener {
    key: Option<SliceKey>,
}

impl SliceOpener {
    /// The stored bytes of a slice, opened into `buffer` if they are sealed.
    pub fn open<'a>(
        &self,
        index: SliceIndex,
        row: &SliceRow,
        stored: &'a [u8],
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DecodeError> {
        let Some(slices) = &self.key else { return Ok(stored) };
        if row.stored_len == 0 {
            return Ok(&[]);
        }
        buffer.clear();
        buffer.extend_from_slice(stored);
        let aad = slices.aad(row);
        let opened = slices.key.open_in_place(counted_nonce(index.0.into()), &aad, buffer);
        opened.map(|text| &*text).ok_or_else(|| DecodeError::damaged(NOT_OPENED))
    }
}

/// The key of the slices of one entry, and what they are bound to.
struct SliceKey {
    key: AeadKey,
    aad: Vec<u8>,
}

impl SliceKey {
    fn new(sealing: &Sealing, keys: &EpochKeys, head: &Identity) -> Self {
        let key = object_key(&keys.slices, &[head.chunk.as_bytes(), &head.seal.salt]);
        let mut aad = sealing.aad(sealing::Sealed::Slice, head.seal.epoch);
        aad.push(head.kind.code());
        aad.extend_from_slice(head.chunk.as_bytes());
        aad.extend_from_slice(&(head.plain_len as u32).to_le_bytes());
        Self { key: AeadKey::new(&key), aad }
    }

    fn aad(&self, row: &SliceRow) -> Vec<u8> {
        let mut aad = self.aad.clone();
        aad.push(row.codec.code());
        aad.extend_from_slice(&row.stored_len.to_le_bytes());
        aad
    }
}

/// What the key of slices is made of and bound to.
struct Identity {
    kind: EntryKind,
    chunk: ChunkId,
    plain_len: usize,
    seal: EntrySeal,
}

impl Sealing {
    /// Begins an entry.
    #[must_use]
    pub fn entry_sealer(&self, kind: EntryKind, chunk: ChunkId, plain_len: usize) -> EntrySealer {
        let sealer = |keys: &Keys| {
            let (epoch, of_epoch) = keys.newest();
            let seal = EntrySeal { salt: keys.salt(), epoch };
            SealerKeys {
                seal,
                mask: mask(keys, &seal.salt),
                head: head_key(of_epoch, &seal),
                slices: SliceKey::new(self, of_epoch, &Identity { kind, chunk, plain_len, seal }),
                head_aad: self.aad(sealing::Sealed::EntryHead, epoch),
            }
        };
        EntrySealer { keys: self.keys().map(sealer) }
    }

    /// Reads the head at the beginning of `entry`, which may go on after it.
    pub fn open_head(&self, entry: &[u8]) -> Result<EntryHead, DecodeError> {
        let Some(keys) = self.keys() else { return EntryHead::decode(entry) };
        let damaged = || DecodeError::damaged(NOT_OPENED);
        let prefix = entry.first_chunk().ok_or_else(damaged)?;
        let mask = mask(keys, &EntrySeal::salt_of(prefix));
        let (seal, slice_count) = EntrySeal::decode(prefix, mask).ok_or_else(damaged)?;
        let len = EntrySeal::sealed_head_len(slice_count);
        let sealed = entry.get(ENTRY_PREFIX_LEN..ENTRY_PREFIX_LEN + len).ok_or_else(damaged)?;
        let mut text = sealed.to_vec();
        // The epoch is under no checksum: that it is unknown can be damage, and counts as that.
        let of_epoch = keys.of(seal.epoch).map_err(|_| damaged())?;
        let key = head_key(of_epoch, &seal);
        let aad = self.aad(sealing::Sealed::EntryHead, seal.epoch);
        let text = key.open_in_place(ONLY_NONCE, &aad, &mut text).ok_or_else(damaged)?;
        let head = EntryHead::decode(text)?;
        require(head.rows().len() == slice_count, "an entry has the wrong slice count")?;
        Ok(head.sealed_by(seal))
    }

    /// What opens the slices of the entry with this head.
    pub fn slice_opener(&self, head: &EntryHead) -> Result<SliceOpener, DecodeError> {
        let key = match (self.keys(), head.seal()) {
            (None, _) => None,
            (Some(_), None) => return Err(DecodeError::damaged("the entry is not sealed")),
            (Some(keys), Some(seal)) => {
                let (kind, chunk, plain_len) = (head.kind(), head.chunk(), head.plain_len());
                let identity = Identity { kind, chunk, plain_len, seal };
                Some(SliceKey::new(self, keys.of(seal.epoch)?, &identity))
            }
        };
        Ok(SliceOpener { key })
    }

    /// Where the next entry may begin in `bytes`, looked for from `from` on.
    ///
    /// Sealed entries have no magic that everybody could see. Looking for them costs a hash for
    /// each byte, which is well spent on a pack whose table is gone.
    #[must_use]
    pub fn find_entry(&self, bytes: &[u8], from: usize) -> Option<usize> {
        (from..bytes.len()).find(|at| self.begins_entry(&bytes[*at..]))
    }

    /// Whether an entry may begin with these bytes.
    #[must_use]
    pub fn begins_entry(&self, bytes: &[u8]) -> bool {
        match self.keys() {
            None => bytes.starts_with(&ENTRY_MAGIC),
            Some(keys) => bytes.first_chunk().is_some_and(|prefix| {
                let mask = mask(keys, &EntrySeal::salt_of(prefix));
                EntrySeal::decode(prefix, mask).is_some()
            }),
        }
    }
}

fn head_key(keys: &EpochKeys, seal: &EntrySeal) -> AeadKey {
    AeadKey::new(&object_key(&keys.heads, &[&seal.salt]))
}

/// What hides the epoch and the number of slices of an entry.
fn mask(keys: &Keys, salt: &[u8; 16]) -> [u8; 8] {
    let hash = keyed_hash(&keys.marks, &[salt]);
    std::array::from_fn(|i| hash[i])
}
