//! A backup as the engine sees it: it holds the disks of a VM at one instant until it is finalized.
//!
//! | part | does |
//! |---|---|
//! | [`tag`] | says in the description of a backup whose it is |
//! | [`abilities`] | what an engine of that release can do |
//! | [`begin`] | begins a backup, and waits until the disks can be read |
//! | [`end`] | finalizes it, whatever it is doing |
//! | [`checkpoints`] | the marks that later backups begin from |
//! | [`shape`] | the disks as the engine has them |
//! | [`events`] | why something failed, in the words of the engine |
//!
//! A backup that nobody finalizes stays for ever and blocks its VM, so it carries the tag of its
//! session, and its id is chosen and written down before the engine hears of it where the engine
//! allows that (4.5).

pub mod abilities;
pub mod begin;
pub mod checkpoints;
pub mod end;
pub mod events;
pub mod shape;
pub mod tag;
