//! The header of a qcow2 image: bytes to checked values, and nothing else.
//!
//! Every number that decides where or how much is read passes here first; what is left open are
//! offsets that only the length of the file can judge.

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::image_format::QCOW2_MAGIC;
use crate::ingest::qcow2::entry::EntryForm;

/// Length of the fields that are read, in bytes. A version 2 header is shorter.
pub(super) const HEADER_BYTES: usize = 112;
const V2_BYTES: usize = 72;
const V3_BYTES_MIN: usize = 104;
/// Largest L1 table that QEMU makes or opens, in bytes.
const L1_BYTES_MAX: u64 = 32 << 20;
/// Longest name of a backing file, in bytes.
const BACKING_NAME_BYTES_MAX: u32 = 1023;

const VERSION_AT: usize = 4;
const BACKING_OFFSET_AT: usize = 8;
const BACKING_LEN_AT: usize = 16;
const CLUSTER_BITS_AT: usize = 20;
const SIZE_AT: usize = 24;
const CRYPT_AT: usize = 32;
const L1_ENTRIES_AT: usize = 36;
const L1_OFFSET_AT: usize = 40;
const INCOMPATIBLE_AT: usize = 72;
const HEADER_LEN_AT: usize = 100;
const COMPRESSION_AT: usize = 104;
const _: () = assert!(COMPRESSION_AT < HEADER_BYTES);

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const OTHER_COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// All that is known, with the dirty bit: that one says that reference counts may be wrong, and
/// reading needs none.
const KNOWN: u64 = 0x1f;

/// How compressed clusters are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Deflate without a zlib header.
    Deflate,
    /// One zstd frame.
    Zstd,
}

/// Where the name of a backing file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackingName {
    /// First byte, counted from the start of the file; in the first cluster.
    pub(super) offset_bytes: u64,
    /// Length in bytes; ends in the first cluster.
    pub(super) len_bytes: u32,
}

/// A header whose fields agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the disk, in bytes.
    pub(super) size_bytes: u64,
    /// How entries of L2 tables are read; knows the cluster size.
    pub(super) form: EntryForm,
    /// Where the L1 table begins.
    pub(super) l1_offset: u64,
    /// How many of its entries the disk needs; the table has at least as many.
    pub(super) l1_entries: u64,
    /// How compressed clusters are packed.
    pub(super) compression: Compression,
    /// Where the extensions begin.
    pub(super) header_len_bytes: u64,
    /// The backing file, if there is one.
    pub(super) backing: Option<BackingName>,
}

impl Header {
    /// Decodes the first [`HEADER_BYTES`] bytes of a file, or all of a shorter one.
    ///
    /// Damage is [`ErrorKind::Source`], what this build cannot read is [`ErrorKind::Unsupported`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let fields = Fields(bytes);
        let version = fields.version()?;
        let header_len_bytes = fields.header_len(version)?;
        let features = if version == 2 { 0 } else { fields.u64(INCOMPATIBLE_AT)? };
        check_features(features)?;
        if fields.u32(CRYPT_AT)? != 0 {
            return Err(unsupported("cannot read an encrypted image"));
        }
        let extended = features & EXTENDED_L2 != 0;
        let form = EntryForm::new(fields.u32(CLUSTER_BITS_AT)?, version, extended)
            .ok_or_else(|| damaged("the cluster size is impossible", CLUSTER_BITS_AT))?;
        if header_len_bytes > form.cluster_bytes() {
            return Err(damaged("the header is longer than a cluster", HEADER_LEN_AT));
        }
        let size_bytes = fields.u64(SIZE_AT)?;
        let l1_entries = fields.l1_entries(form, size_bytes)?;
        Ok(Self {
            size_bytes,
            form,
            l1_offset: fields.l1_offset(form, l1_entries)?,
            l1_entries,
            compression: fields.compression(header_len_bytes, features)?,
            header_len_bytes,
            backing: fields.backing(form.cluster_bytes())?,
        })
    }
}

/// The raw fields, each checked to be there.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let field = self.0.get(at..).and_then(|rest| rest.first_chunk());
        field.copied().ok_or_else(|| damaged("the image ends within its header", self.0.len()))
    }

    fn u32(&self, at: usize) -> Result<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    fn version(&self) -> Result<u32> {
        if self.array(0)? != QCOW2_MAGIC {
            let what = "the first bytes of a qcow2 image are missing";
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        match self.u32(VERSION_AT)? {
            known @ (2 | 3) => Ok(known),
            other => Err(unsupported(format!("cannot read qcow2 version {other}"))),
        }
    }

    fn header_len(&self, version: u32) -> Result<u64> {
        if version == 2 {
            return Ok(V2_BYTES as u64);
        }
        let len = self.u32(HEADER_LEN_AT)?;
        if len < V3_BYTES_MIN as u32 || !len.is_multiple_of(8) {
            return Err(damaged(format!("a header of {len} bytes is impossible"), HEADER_LEN_AT));
        }
        Ok(u64::from(len))
    }

    /// A disk of no bytes needs no table, and may say that it stands nowhere.
    fn l1_offset(&self, form: EntryForm, entries: u64) -> Result<u64> {
        let offset = self.u64(L1_OFFSET_AT)?;
        if !form.is_aligned(offset) || (offset == 0 && entries > 0) {
            let what = format!("the L1 table cannot begin at byte {offset}");
            return Err(damaged(what, L1_OFFSET_AT));
        }
        Ok(offset)
    }

    /// Of a table that is too short for the disk some clusters would have no entry.
    fn l1_entries(&self, form: EntryForm, size_bytes: u64) -> Result<u64> {
        let entries = u64::from(self.u32(L1_ENTRIES_AT)?);
        let needed = size_bytes.div_ceil(form.l2_covers_bytes());
        if entries * 8 > L1_BYTES_MAX {
            let what = format!("an L1 table of {entries} entries is larger than any");
            return Err(damaged(what, L1_ENTRIES_AT));
        }
        if entries < needed {
            let what = format!("the L1 table has {entries} entries, and the disk needs {needed}");
            return Err(damaged(what, L1_ENTRIES_AT));
        }
        Ok(needed)
    }

    fn compression(&self, header_len_bytes: u64, features: u64) -> Result<Compression> {
        let present = header_len_bytes > COMPRESSION_AT as u64;
        let id = if present { self.array::<1>(COMPRESSION_AT)?[0] } else { 0 };
        match (id, features & OTHER_COMPRESSION != 0) {
            (0, false) => Ok(Compression::Deflate),
            (1, true) => Ok(Compression::Zstd),
            (0, true) | (1, false) => {
                Err(damaged("the compression type contradicts the features", COMPRESSION_AT))
            }
            (other, _) => Err(unsupported(format!("cannot read compression type {other}"))),
        }
    }

    fn backing(&self, cluster_bytes: u64) -> Result<Option<BackingName>> {
        let offset_bytes = self.u64(BACKING_OFFSET_AT)?;
        let len_bytes = self.u32(BACKING_LEN_AT)?;
        if offset_bytes == 0 || len_bytes == 0 {
            return Ok(None);
        }
        let end = offset_bytes.checked_add(u64::from(len_bytes));
        if len_bytes > BACKING_NAME_BYTES_MAX || end.is_none_or(|end| end > cluster_bytes) {
            let what = "the name of the backing file is too long or misplaced";
            return Err(damaged(what, BACKING_OFFSET_AT));
        }
        Ok(Some(BackingName { offset_bytes, len_bytes }))
    }
}

fn check_features(features: u64) -> Result<()> {
    if features & CORRUPT != 0 {
        return Err(damaged("the image is marked as corrupt and needs repair", INCOMPATIBLE_AT));
    }
    if features & EXTERNAL_DATA != 0 {
        return Err(unsupported("cannot read an image with an external data file"));
    }
    let unknown: Vec<_> = (0..64)
        .filter(|bit| features & !KNOWN & (1 << bit) != 0)
        .map(|bit| bit.to_string())
        .collect();
    if !unknown.is_empty() {
        let bits = unknown.join(", ");
        let what = format!("cannot read an image that needs unknown qcow2 features (bit {bits})");
        return Err(unsupported(what));
    }
    Ok(())
}

fn damaged(what: impl Into<String>, at: usize) -> Error {
    Error::new(ErrorKind::Source, what.into()).at_byte(at as u64)
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, what.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, proptest};

    use super::*;

    /// Version 3, clusters of 64 KiB, a disk of 1 GiB.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        put(&mut bytes, 0, &QCOW2_MAGIC);
        put(&mut bytes, VERSION_AT, &3_u32.to_be_bytes());
        put(&mut bytes, CLUSTER_BITS_AT, &16_u32.to_be_bytes());
        put(&mut bytes, SIZE_AT, &(1_u64 << 30).to_be_bytes());
        put(&mut bytes, L1_ENTRIES_AT, &2_u32.to_be_bytes());
        put(&mut bytes, L1_OFFSET_AT, &0x3_0000_u64.to_be_bytes());
        put(&mut bytes, HEADER_LEN_AT, &112_u32.to_be_bytes());
        bytes
    }

    fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
        bytes[at..at + field.len()].copy_from_slice(field);
    }

    /// The kind of the error after one field was changed.
    fn refusal(at: usize, field: &[u8]) -> ErrorKind {
        let mut bytes = sample();
        put(&mut bytes, at, field);
        Header::decode(&bytes).unwrap_err().kind()
    }

    #[test]
    fn a_header_is_decoded_field_by_field() {
        let mut bytes = sample();
        put(&mut bytes, BACKING_OFFSET_AT, &0x200_u64.to_be_bytes());
        put(&mut bytes, BACKING_LEN_AT, &8_u32.to_be_bytes());
        put(&mut bytes, INCOMPATIBLE_AT, &(OTHER_COMPRESSION | 1).to_be_bytes());
        put(&mut bytes, COMPRESSION_AT, &[1]);
        let expected = Header {
            size_bytes: 1 << 30,
            form: EntryForm::new(16, 3, false).unwrap(),
            l1_offset: 0x3_0000,
            l1_entries: 2,
            compression: Compression::Zstd,
            header_len_bytes: 112,
            backing: Some(BackingName { offset_bytes: 0x200, len_bytes: 8 }),
        };
        assert_eq!(Header::decode(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_header_of_version_2_ends_before_the_features() {
        let mut bytes = sample();
        put(&mut bytes, VERSION_AT, &2_u32.to_be_bytes());
        bytes[INCOMPATIBLE_AT..].fill(0xff);
        let header = Header::decode(&bytes).unwrap();
        assert_eq!((header.header_len_bytes, header.compression), (72, Compression::Deflate));
        assert_eq!(Header::decode(&bytes[..72]).unwrap(), header);
    }

    #[test]
    fn a_header_that_is_cut_short_is_refused_at_every_length() {
        let bytes = sample();
        // The compression type is the last field; what follows it is padding.
        for len in 0..=COMPRESSION_AT {
            let error = Header::decode(&bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Source, "{len} bytes: {error}");
        }
    }

    #[test]
    fn numbers_that_no_image_can_have_are_damage() {
        for bits in [0_u32, 8, 22, 63, u32::MAX] {
            assert_eq!(refusal(CLUSTER_BITS_AT, &bits.to_be_bytes()), ErrorKind::Source);
        }
        for len in [0_u32, 72, 96, 105, 1 << 17, u32::MAX] {
            assert_eq!(refusal(HEADER_LEN_AT, &len.to_be_bytes()), ErrorKind::Source);
        }
        for entries in [0_u32, 1, (4 << 20) + 1, u32::MAX] {
            assert_eq!(refusal(L1_ENTRIES_AT, &entries.to_be_bytes()), ErrorKind::Source);
        }
        for offset in [0_u64, 0x3_0001, u64::MAX] {
            assert_eq!(refusal(L1_OFFSET_AT, &offset.to_be_bytes()), ErrorKind::Source);
        }
        for size in [(1_u64 << 30) + 1, u64::MAX] {
            assert_eq!(refusal(SIZE_AT, &size.to_be_bytes()), ErrorKind::Source);
        }
    }

    #[test]
    fn a_backing_name_outside_the_first_cluster_is_damage() {
        for (offset, len) in [(65_000_u64, 1023_u32), (512, 1024), (u64::MAX, 1), (u64::MAX, 1023)]
        {
            let mut fields = offset.to_be_bytes().to_vec();
            fields.extend(len.to_be_bytes());
            assert_eq!(refusal(BACKING_OFFSET_AT, &fields), ErrorKind::Source);
        }
    }

    #[test]
    fn what_cannot_be_read_is_unsupported_and_what_is_corrupt_says_so() {
        let features = |bits: u64| refusal(INCOMPATIBLE_AT, &bits.to_be_bytes());
        assert_eq!(features(EXTERNAL_DATA), ErrorKind::Unsupported);
        assert_eq!(features(1 << 5), ErrorKind::Unsupported);
        assert_eq!(features(1 << 63), ErrorKind::Unsupported);
        assert_eq!(features(CORRUPT), ErrorKind::Source);
        assert_eq!(features(OTHER_COMPRESSION), ErrorKind::Source);
        assert_eq!(refusal(COMPRESSION_AT, &[1]), ErrorKind::Source);
        assert_eq!(refusal(COMPRESSION_AT, &[2]), ErrorKind::Unsupported);
        assert_eq!(refusal(CRYPT_AT, &2_u32.to_be_bytes()), ErrorKind::Unsupported);
        assert_eq!(refusal(VERSION_AT, &4_u32.to_be_bytes()), ErrorKind::Unsupported);
        assert_eq!(refusal(0, b"KDMV"), ErrorKind::Invalid);
    }

    proptest! {
        #[test]
        fn any_header_that_is_accepted_keeps_its_promises(
            changes in prop::collection::vec((VERSION_AT..HEADER_BYTES, any::<u8>()), 1..6),
        ) {
            let mut bytes = sample();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.form.is_aligned(header.l1_offset));
                prop_assert!(header.l1_entries * 8 <= L1_BYTES_MAX);
                let covered = header.l1_entries * header.form.l2_covers_bytes();
                prop_assert!(covered >= header.size_bytes);
                prop_assert!(header.header_len_bytes <= header.form.cluster_bytes());
            }
        }
    }
}
