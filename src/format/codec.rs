//! What all decoders share: fields at fixed offsets, and the one error that a decoder gives.

use std::fmt;

use crate::base::hash::StreamHasher;
use crate::error::{Error, ErrorKind};

/// A field of a fixed layout: its name on the format page, its offset and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, as the format page spells it.
    pub name: &'static str,
    /// First byte, counted from the start of the layout.
    pub at: usize,
    /// Number of bytes.
    pub len: usize,
}

impl Field {
    pub(super) const fn new(name: &'static str, at: usize, len: usize) -> Self {
        Self { name, at, len }
    }

    /// First byte after the field.
    pub(super) const fn end(self) -> usize {
        self.at + self.len
    }

    /// The bytes of the field in an encoded layout that is at least as long as the field's end.
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at..self.end()]
    }

    pub(super) fn array<const N: usize>(self, bytes: &[u8]) -> [u8; N] {
        debug_assert_eq!(N, self.len);
        std::array::from_fn(|i| bytes[self.at + i])
    }

    pub(super) fn u16(self, bytes: &[u8]) -> u16 {
        u16::from_le_bytes(self.array(bytes))
    }

    pub(super) fn u32(self, bytes: &[u8]) -> u32 {
        u32::from_le_bytes(self.array(bytes))
    }

    pub(super) fn put(self, out: &mut [u8], bytes: &[u8]) {
        out[self.at..self.end()].copy_from_slice(bytes);
    }

    /// BLAKE3-256 of everything but the field: what a checksum that stands in it is over.
    pub(super) fn hash_around(self, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = StreamHasher::default();
        hasher.update(&bytes[..self.at]);
        hasher.update(&bytes[self.end()..]);
        hasher.finish()
    }

    pub(super) fn is_zero(self, bytes: &[u8]) -> bool {
        self.of(bytes).iter().all(|byte| *byte == 0)
    }
}

/// Bytes that are not what they must be, or that a newer release wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    kind: ErrorKind,
    what: String,
}

impl DecodeError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Corrupt, what: what.into() }
    }

    pub(crate) fn newer(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, what: what.into() }
    }

    /// The error, with the name of the object that the bytes came from.
    #[must_use]
    pub fn in_object(self, name: impl fmt::Display) -> Error {
        Error::new(self.kind, self.what).at(name.to_string())
    }

    /// Whether the bytes are whole and only this build does not know them.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.kind == ErrorKind::Unsupported
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for DecodeError {}

/// Most characters of foreign text that a message repeats.
const EXCERPT_CHARS_MAX: usize = 200;

/// The beginning of text that came out of an object, fit for a message: an object may hold
/// megabytes, and control characters that a terminal obeys.
pub(super) fn excerpt(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(EXCERPT_CHARS_MAX).map(shown).collect()
}

/// Fails as damaged unless `good`.
pub(crate) fn require(good: bool, what: &'static str) -> Result<(), DecodeError> {
    if good { Ok(()) } else { Err(DecodeError::damaged(what)) }
}
