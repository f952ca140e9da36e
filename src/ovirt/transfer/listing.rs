//! Reads the list of extents while it arrives: it may be hundreds of megabytes long.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::Deserializer;

use crate::base::limits::DISK_BYTES_MAX;
use crate::error::{Error, ErrorKind};
use crate::ovirt::transfer::extents::{Extents, Kind};
use crate::ovirt::transfer::trouble::{Attempt, Trouble};
use crate::ovirt::wire::ImageExtent;

/// Most bytes between the ends of two extents.
const EXTENT_BYTES_MAX: usize = 4 << 10;

/// What a list says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) extents: Extents,
    /// Whether there are changed extents of which the daemon does not say if they are zero.
    pub(super) lacks_zeros: bool,
}

/// Reads a list in which each extent is the next one; `is_dirty` says which of the two lists it is.
pub(super) fn read(from: impl Read, is_dirty: bool) -> Attempt<Listed> {
    let budget = Cell::new(EXTENT_BYTES_MAX);
    let reader = Rationed { from: BufReader::with_capacity(64 << 10, from), budget: &budget };
    let mut deserializer = Deserializer::from_reader(reader);
    let visitor = ListVisitor { is_dirty, budget: &budget };
    let listed = deserializer.deserialize_seq(visitor);
    let listed = listed.and_then(|listed| deserializer.end().map(|()| listed));
    listed.map_err(|error| match error.io_error_kind() {
        Some(_) => io::Error::from(error).into(),
        None => {
            let what = "the host's list of extents makes no sense";
            Trouble::Final(Error::new(ErrorKind::Remote, what).because(error))
        }
    })
}

/// Gives bytes one by one, and only so many for each extent, because what has no end would be
/// kept whole.
struct Rationed<'a, R> {
    from: BufReader<R>,
    budget: &'a Cell<usize>,
}

impl<R: Read> Read for Rationed<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(self.budget.get());
        if len == 0 && !out.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an extent has no end"));
        }
        let read = self.from.read(&mut out[..len])?;
        self.budget.set(self.budget.get() - read);
        Ok(read)
    }
}

struct ListVisitor<'a> {
    is_dirty: bool,
    budget: &'a Cell<usize>,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of extents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listed, A::Error> {
        let mut listed = Listed { extents: Extents::default(), lacks_zeros: false };
        while let Some(extent) = list.next_element::<ImageExtent>()? {
            let at = listed.extents.size_bytes();
            if extent.start != at || extent.length == 0 || extent.length > DISK_BYTES_MAX - at {
                let what = format!("an extent at byte {at} is not where it must be");
                return Err(A::Error::custom(what));
            }
            let kind = match (self.is_dirty, extent.dirty, extent.zero) {
                (true, Some(false), _) => Kind::Unchanged,
                (true, None, _) => return Err(A::Error::missing_field("dirty")),
                (false, _, None) => return Err(A::Error::missing_field("zero")),
                (_, _, Some(true)) => Kind::Zero,
                (_, _, zero) => {
                    listed.lacks_zeros |= zero.is_none();
                    Kind::Data
                }
            };
            listed.extents.push(extent.length, kind);
            self.budget.set(EXTENT_BYTES_MAX);
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(text: &str, is_dirty: bool) -> Attempt<Listed> {
        read(text.as_bytes(), is_dirty)
    }

    fn runs(listed: &Listed) -> Vec<(u64, u64, Kind)> {
        listed.extents.iter().collect()
    }

    #[test]
    fn zeros_are_told_from_data() {
        let text = r#"[{"start": 0, "length": 4096, "zero": false, "hole": false},
                       {"start": 4096, "length": 61440, "zero": true, "hole": true, "new": [{}]}]"#;
        let listed = listed(text, false).unwrap();
        assert_eq!(runs(&listed), [(0, 4096, Kind::Data), (4096, 65536, Kind::Zero)]);
    }

    #[test]
    fn what_did_not_change_is_unchanged_whatever_it_holds() {
        let text = r#"[{"start": 0, "length": 10, "dirty": false, "zero": true},
                       {"start": 10, "length": 10, "dirty": true, "zero": true},
                       {"start": 20, "length": 10, "dirty": true, "zero": false}]"#;
        let read = listed(text, true).unwrap();
        let expected = [(0, 10, Kind::Unchanged), (10, 20, Kind::Zero), (20, 30, Kind::Data)];
        assert_eq!((runs(&read), read.lacks_zeros), (expected.to_vec(), false));
        let old = r#"[{"start": 0, "length": 10, "dirty": true},
                      {"start": 10, "length": 10, "dirty": false}]"#;
        let read = listed(old, true).unwrap();
        let expected = [(0, 10, Kind::Data), (10, 20, Kind::Unchanged)];
        assert_eq!((runs(&read), read.lacks_zeros), (expected.to_vec(), true));
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        for text in [
            "",
            "{}",
            r#"[{"start": 1, "length": 1, "zero": true}]"#,
            r#"[{"start": 0, "length": 0, "zero": true}]"#,
            r#"[{"start": 0, "length": -1, "zero": true}]"#,
            r#"[{"start": 0, "length": 1, "zero": "no"}]"#,
            r#"[{"start": 0, "length": 1}]"#,
            r#"[{"start": 0, "length": 1, "zero": true}, {"start": 0, "length": 1, "zero": true}]"#,
            r#"[{"start": 0, "length": 1, "zero": true}] x"#,
            r#"[{"start": 0, "length": 99999999999999999, "zero": true}]"#,
        ] {
            assert!(matches!(listed(text, false), Err(Trouble::Final(_))), "{text}");
        }
        let text = r#"[{"start": 0, "length": 1, "zero": true}]"#;
        assert!(matches!(listed(text, true), Err(Trouble::Final(_))), "no word about changes");
    }

    #[test]
    fn a_list_that_breaks_off_may_be_had_again() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut"))
            }
        }
        let text = r#"[{"start": 0, "length": 1, "zero": true}, {"sta"#;
        let cut = read(text.as_bytes().chain(Broken), false);
        assert!(matches!(cut, Err(Trouble::Broken(_))));
    }

    proptest! {
        #[test]
        fn whatever_arrives_ends_in_a_list_or_an_error(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "[", "]", "{", "}", ",", ":", " ", "-", "1", "4096", "99999999999999999999", "1e9",
                "\"start\"", "\"length\"", "\"zero\"", "\"dirty\"", "true", "false", "null",
                "\u{0}",
                r#"{"start":0,"length":1,"zero":true,"dirty":true}"#,
            ]), 0..40),
        ) {
            let text = pieces.concat();
            if let Ok(listed) = listed(&text, true) {
                prop_assert!(listed.extents.size_bytes() <= DISK_BYTES_MAX);
            }
        }
    }

    #[test]
    fn an_extent_without_an_end_is_not_kept() {
        let endless = io::repeat(b'x');
        let read_all = read(r#"[{""#.as_bytes().chain(endless), false);
        assert!(read_all.is_err());
    }
}
