//! Entries of L1 and L2 tables: bits to places.
//!
//! An entry that sets a reserved bit, or points where no cluster can begin, is damage: to mask the
//! bits away would be to guess.

/// Bit 0: the cluster reads as zeros.
const ZERO: u64 = 1;
/// Bits 9 to 55: where the cluster or table begins.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// Bit 63 says who else uses the cluster, which matters to writers only.
const COPIED: u64 = 1 << 63;
/// Unit of the length of a compressed cluster, in bytes.
const SECTOR: u64 = 512;
/// Subclusters of a cluster, where entries are extended.
const SUBCLUSTER_BITS: u32 = 5;
/// Smallest cluster whose subclusters are a sector.
const EXTENDED_CLUSTER_BITS_MIN: u32 = 14;

/// Where bytes of the disk come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The backing file, or nowhere.
    Unallocated,
    /// They are zero.
    Zero,
    /// They stand in the image file from this offset on.
    At(u64),
    /// They are part of a cluster that is packed in the image file.
    Packed(Packed),
}

/// A compressed cluster in the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    /// Its first byte.
    pub(super) offset_bytes: u64,
    /// Most bytes that it can have; at most twice the cluster size. It may end earlier.
    pub(super) len_bytes: u64,
}

/// Bytes of the disk, from some offset on, that have one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// How many; never zero.
    pub(super) len_bytes: u64,
    /// Where they come from.
    pub(super) place: Place,
}

impl Run {
    /// Adds the run that follows on the disk, if the two can be read as one.
    pub(super) fn join(&mut self, next: Run) -> bool {
        let joins = match (self.place, next.place) {
            (Place::Unallocated, Place::Unallocated) | (Place::Zero, Place::Zero) => true,
            (Place::At(first), Place::At(second)) => {
                first.checked_add(self.len_bytes) == Some(second)
            }
            _ => false,
        };
        if joins {
            self.len_bytes += next.len_bytes;
        }
        joins
    }
}

/// How the entries of an image are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryForm {
    cluster_bits: u32,
    /// Version 2 has no zero flag.
    has_zero_flag: bool,
    /// Entries have a second half: a state for each of 32 subclusters.
    extended: bool,
}

impl EntryForm {
    /// Nothing if no image can have clusters of that size.
    pub(super) fn new(cluster_bits: u32, version: u32, extended: bool) -> Option<Self> {
        let least = if extended { EXTENDED_CLUSTER_BITS_MIN } else { 9 };
        let possible = (least..=21).contains(&cluster_bits);
        let has_zero_flag = version >= 3 && !extended;
        possible.then_some(Self { cluster_bits, has_zero_flag, extended })
    }

    /// Length of a cluster: 512 bytes to 2 MiB.
    pub(super) fn cluster_bytes(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Words of 8 bytes that make an L2 entry.
    pub(super) fn words(self) -> u64 {
        if self.extended { 2 } else { 1 }
    }

    /// Bytes of the disk that one L2 table, which fills a cluster, describes.
    pub(super) fn l2_covers_bytes(self) -> u64 {
        self.cluster_bytes() / 8 / self.words() * self.cluster_bytes()
    }

    /// Whether a cluster or table can begin there.
    pub(super) fn is_aligned(self, offset: u64) -> bool {
        offset.is_multiple_of(self.cluster_bytes())
    }

    /// The L2 table that an L1 entry names, if any; a sentence about the damage otherwise.
    pub(super) fn l2_table(self, l1_entry: u64) -> Result<Option<u64>, &'static str> {
        if l1_entry & !(OFFSET | COPIED) != 0 {
            return Err("an entry of the L1 table has reserved bits set");
        }
        match l1_entry & OFFSET {
            0 => Ok(None),
            offset if self.is_aligned(offset) => Ok(Some(offset)),
            _ => Err("an entry of the L1 table points into a cluster"),
        }
    }

    /// The run that begins `within` bytes after the start of the cluster that an L2 entry
    /// describes, and ends with the cluster at the latest. `bitmap` is the second word of an
    /// extended entry and 0 elsewhere.
    pub(super) fn run(self, entry: u64, bitmap: u64, within: u64) -> Result<Run, &'static str> {
        let rest = self.cluster_bytes() - within;
        if entry & COMPRESSED != 0 {
            let place = Place::Packed(self.packed(entry, bitmap)?);
            return Ok(Run { len_bytes: rest, place });
        }
        let flags = if self.has_zero_flag { ZERO } else { 0 };
        if entry & !(OFFSET | COPIED | flags) != 0 {
            return Err("an entry of an L2 table has reserved bits set");
        }
        let host = entry & OFFSET;
        if !self.is_aligned(host) {
            return Err("an entry of an L2 table points into a cluster");
        }
        if self.extended {
            return self.subclusters(host, bitmap, within);
        }
        let place = match (entry & flags, host) {
            (ZERO, _) => Place::Zero,
            (_, 0) if entry & COPIED != 0 => {
                return Err("an entry of an L2 table claims the header as data");
            }
            (_, 0) => Place::Unallocated,
            (_, host) => Place::At(host + within),
        };
        Ok(Run { len_bytes: rest, place })
    }

    fn packed(self, entry: u64, bitmap: u64) -> Result<Packed, &'static str> {
        if entry & COPIED != 0 || bitmap != 0 {
            return Err("the entry of a compressed cluster has reserved bits set");
        }
        let offset_bits = 62 - (self.cluster_bits - 8);
        let offset_bytes = entry & ((1 << offset_bits) - 1);
        let more_sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        let len_bytes = (more_sectors + 1) * SECTOR - offset_bytes % SECTOR;
        Ok(Packed { offset_bytes, len_bytes })
    }

    /// Subclusters are numbered from the start of the cluster. Bit n of the lower half says that
    /// subcluster n is in the file, bit n of the upper half that it reads as zeros.
    fn subclusters(self, host: u64, bitmap: u64, within: u64) -> Result<Run, &'static str> {
        let (allocated, zero) = (bitmap as u32, (bitmap >> 32) as u32);
        if allocated & zero != 0 {
            return Err("an entry of an L2 table contradicts itself about a subcluster");
        }
        if host == 0 && allocated != 0 {
            return Err("an entry of an L2 table has subclusters and does not say where");
        }
        let bits = self.cluster_bits - SUBCLUSTER_BITS;
        let first = (within >> bits) as u32;
        let state = |n: u32| (allocated & (1 << n) != 0, zero & (1 << n) != 0);
        let end = (first..32).find(|n| state(*n) != state(first)).unwrap_or(32);
        let place = match state(first) {
            (true, _) => Place::At(host + within),
            (_, true) => Place::Zero,
            _ => Place::Unallocated,
        };
        Ok(Run { len_bytes: (u64::from(end) << bits) - within, place })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::{prop_assert, proptest};

    use super::*;

    const K64: u64 = 64 << 10;

    fn form(version: u32, extended: bool) -> EntryForm {
        EntryForm::new(16, version, extended).unwrap()
    }

    #[test]
    fn only_clusters_of_512_bytes_to_2_mib_exist() {
        let exists = |bits, extended| EntryForm::new(bits, 3, extended).is_some();
        assert_eq!(
            [8, 9, 21, 22, 63, 64].map(|b| exists(b, false)),
            [false, true, true, false, false, false]
        );
        assert_eq!([13, 14, 21, 22].map(|bits| exists(bits, true)), [false, true, true, false]);
    }

    #[test]
    fn an_entry_says_where_the_rest_of_its_cluster_is() {
        let form = form(3, false);
        let place = |entry, within| form.run(entry, 0, within).unwrap();
        assert_eq!(place(0, 0), Run { len_bytes: K64, place: Place::Unallocated });
        assert_eq!(
            place((K64 * 5) | COPIED, 100),
            Run { len_bytes: K64 - 100, place: Place::At(K64 * 5 + 100) }
        );
        assert_eq!(place(ZERO, 0).place, Place::Zero);
        assert_eq!(place(K64 | ZERO, K64 - 1), Run { len_bytes: 1, place: Place::Zero });
    }

    #[test]
    fn a_compressed_cluster_ends_with_a_sector() {
        let entry = COMPRESSED | (3 << 54) | 0x1_2345;
        let packed = Packed { offset_bytes: 0x1_2345, len_bytes: 4 * 512 - 0x145 };
        assert_eq!(form(2, false).run(entry, 0, 8).unwrap().place, Place::Packed(packed));
    }

    #[test]
    fn subclusters_in_one_state_are_one_run() {
        let form = form(3, true);
        let (host, sub) = (K64 * 7, 2048);
        // Subclusters 0 and 1 are in the file, 2 is zero, all others are unallocated.
        let run = |within| form.run(host, 0b11 | (0b100 << 32), within).unwrap();
        assert_eq!(run(1), Run { len_bytes: 2 * sub - 1, place: Place::At(host + 1) });
        assert_eq!(run(2 * sub), Run { len_bytes: sub, place: Place::Zero });
        assert_eq!(run(3 * sub), Run { len_bytes: 29 * sub, place: Place::Unallocated });
        assert_eq!(
            form.run(0, u64::MAX << 32, 0).unwrap(),
            Run { len_bytes: K64, place: Place::Zero }
        );
    }

    #[test]
    fn contradictions_and_reserved_bits_are_damage() {
        let damaged = |version, extended, entry, bitmap| {
            form(version, extended).run(entry, bitmap, 0).is_err()
        };
        assert!(damaged(2, false, ZERO, 0), "a zero flag before version 3");
        assert!(damaged(3, true, K64 | ZERO, 0), "a zero flag beside subclusters");
        assert!(damaged(3, false, K64 | 1 << 56, 0), "a reserved bit");
        assert!(damaged(3, false, K64 + 512, 0), "a place within a cluster");
        assert!(damaged(3, false, COPIED, 0), "data in the header");
        assert!(damaged(3, true, K64, 1 | 1 << 32), "a subcluster that is there and zero");
        assert!(damaged(3, true, 0, 1), "a subcluster that is nowhere");
        assert!(damaged(3, true, COMPRESSED | K64, 1), "a compressed subcluster");
        assert!(damaged(3, false, COMPRESSED | COPIED | K64, 0), "a compressed cluster in place");
        let table = |entry| form(3, false).l2_table(entry);
        assert_eq!(table(K64 | COPIED), Ok(Some(K64)));
        assert_eq!(table(COPIED), Ok(None));
        assert!(table(K64 | 1).is_err() && table(K64 | COMPRESSED).is_err());
        assert!(table(K64 + 512).is_err());
    }

    #[test]
    fn runs_join_where_the_file_goes_on_and_nowhere_else() {
        let joined = |first, second| {
            let mut run = Run { len_bytes: K64, place: first };
            let joins = run.join(Run { len_bytes: 512, place: second });
            assert_eq!(run.len_bytes, if joins { K64 + 512 } else { K64 });
            joins
        };
        assert!(joined(Place::Zero, Place::Zero));
        assert!(joined(Place::Unallocated, Place::Unallocated));
        assert!(joined(Place::At(0), Place::At(K64)));
        assert!(!joined(Place::At(0), Place::At(K64 + 512)));
        assert!(!joined(Place::Zero, Place::Unallocated));
        let packed = Place::Packed(Packed { offset_bytes: 0, len_bytes: 512 });
        assert!(!joined(packed, packed));
    }

    proptest! {
        #[test]
        fn any_entry_is_a_run_within_its_cluster_or_damage(
            entry in any::<u64>(),
            bitmap in any::<u64>(),
            within in any::<u64>(),
            bits in 9_u32..=21,
            version in 2_u32..=3,
            extended in any::<bool>(),
        ) {
            let Some(form) = EntryForm::new(bits, version, extended) else { return Ok(()) };
            let within = within % form.cluster_bytes();
            let masks = [u64::MAX, OFFSET | COPIED | COMPRESSED, !(COMPRESSED | COPIED)];
            for entry in masks.map(|mask| entry & mask) {
                for bitmap in [0, bitmap, bitmap & 0xffff_ffff] {
                    let Ok(run) = form.run(entry, bitmap, within) else { continue };
                    prop_assert!(run.len_bytes > 0);
                    prop_assert!(run.len_bytes <= form.cluster_bytes() - within);
                    if let Place::Packed(packed) = run.place {
                        prop_assert!(packed.len_bytes > 0);
                        prop_assert!(packed.len_bytes <= 2 * form.cluster_bytes());
                    }
                }
            }
        }
    }
}
