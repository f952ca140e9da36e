//! Sealing what a repository stores, and opening it again.
//!
//! `docs/format/sealing.md` is the page. Keys come from a [`Keyring`]; a [`Sealing`] holds those of
//! one repository, or none where the repository is plain, and everything that reads or writes
//! objects is given one.

mod aead;
mod entry;
mod kdf;
mod keyring;
mod keys;
mod object;
mod page;
mod recovery;
mod sealing;
mod slot;
mod table;

pub use entry::{EntrySealer, SliceOpener};
pub use keyring::{KEYRING_EPOCHS_MAX, Keyring};
pub use page::PageSeal;
pub use recovery::{RecoveryText, read_recovery_code, recovery_code};
pub use sealing::Sealing;
pub use slot::{SlotSecret, open_slot, wrap_keyring};
