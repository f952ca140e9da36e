//! Values that must be seen by nobody: passwords, tokens, and answers that may hold such.
//!
//! They have no `Debug`, no `Display` and no `Clone`, so that no log line, error or copy of a
//! struct takes one along, and their memory is overwritten when they are dropped.

use zeroize::Zeroizing;

/// Bytes that must be seen by nobody.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// An empty secret that can grow to `capacity` bytes without leaving a copy behind.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self::new(Vec::with_capacity(capacity))
    }

    /// Appends bytes. What is outgrown is overwritten.
    pub fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            grown.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(grown);
        }
        self.0.extend_from_slice(bytes);
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The same, to be changed in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The secret up to, and without, line breaks at its end: how editors and `echo` leave files.
    #[must_use]
    pub fn trimmed(self) -> Self {
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let len = self.0.iter().rposition(|byte| !is_break(byte)).map_or(0, |last| last + 1);
        let Self(mut bytes) = self;
        bytes.truncate(len);
        Self(bytes)
    }
}

/// A key of 256 bits that must be seen by nobody.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key that `fill` writes in place, so that no copy stays behind.
    pub fn filled<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self::new([0; 32]);
        fill(&mut key.0)?;
        Ok(key)
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_grows_and_keeps_its_bytes() {
        let mut secret = Secret::with_capacity(2);
        for piece in ["one ", "", "two ", "three"] {
            secret.push(piece.as_bytes());
        }
        assert_eq!(secret.expose(), b"one two three");
    }

    #[test]
    fn line_breaks_at_the_end_do_not_belong_to_a_secret() {
        for (text, kept) in [("a\n", "a"), ("a b \r\n\n", "a b "), ("\na", "\na"), ("\n", "")] {
            assert_eq!(Secret::from(text).trimmed().expose(), kept.as_bytes());
        }
    }
}
