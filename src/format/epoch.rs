//! Which keys sealed an object.

use std::fmt;
use std::num::NonZeroU32;

/// Which keys of an encrypted repository sealed an object: 1 are the first, and every rotation adds
/// one. 0 stands in an object that is not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyEpoch(NonZeroU32);

impl KeyEpoch {
    /// The epoch of this number; none for 0.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The epoch at this position of a keyring.
    ///
    /// # Panics
    ///
    /// If there is no such number: keyrings are far shorter.
    #[must_use]
    pub fn nth(position: usize) -> Self {
        let number = u32::try_from(position + 1).ok().and_then(Self::from_number);
        number.expect("keyrings have few epochs")
    }

    /// The number that stands for it.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Its position in a keyring.
    #[must_use]
    pub fn position(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The number in an object that may be plain.
    #[must_use]
    pub fn encode(epoch: Option<Self>) -> [u8; 4] {
        epoch.map_or(0, Self::number).to_le_bytes()
    }
}

impl fmt::Display for KeyEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
