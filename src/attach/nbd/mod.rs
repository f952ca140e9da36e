//! A disk of a restore point over NBD, for QEMU, libvirt, `qemu-img`, `nbdcopy` and the kernel.
//!
//! A server of our own, over [`BlockView`]: no mount, no second program. What is spoken is the
//! fixed newstyle of the NBD protocol with structured replies and block status, so that holes
//! travel as holes and an error says what is damaged. `wire`, `haggling`, `request` and `reply`
//! are the protocol, pure: bytes to values and back. The others move bytes.
//!
//! Every connection has threads of its own that take turns at reading a request, so that requests
//! are worked on beside each other, no hand-over lies between a request and its answer, and a
//! client that does not read its answers keeps nobody waiting but itself. It gets more of them
//! while those are held up by a medium.
//!
//! NBD knows neither passwords nor encryption: whoever reaches the socket has the disk.
//! `docs/semantics.md` says what clients can rely on.

mod address;
mod budget;
mod clients;
mod crew;
mod disk;
mod export;
mod haggling;
mod handshake;
mod reply;
mod request;
mod server;
mod socket;
mod transmission;
mod wire;

use crate::error::Result;
use crate::vfs::{Extent, ReadPiece};

pub use address::Address;
pub use clients::clients;
pub use export::{Export, ExportFacts};
pub use server::{Server, ServerOptions};
pub use socket::remove_dead;

/// What a server serves: bytes at places. All calls may come from many threads at once.
pub trait BlockView: Send + Sync {
    /// Calls `f` once with the `len` bytes from `offset` on, all of which are there.
    fn read(&self, offset: u64, len: usize, f: &mut dyn FnMut(&[ReadPiece<'_>])) -> Result<()>;
    /// Writes `bytes` from `offset` on.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Makes `len` bytes from `offset` on read as zero, and gives their space back.
    fn zero(&self, offset: u64, len: u64) -> Result<()>;
    /// Makes durable all that was written before, by whomever.
    fn flush(&self) -> Result<()>;
    /// Whether the byte at `offset` is data or in a hole, and where that ends, at `end` at the
    /// latest; none where there is nothing more.
    fn extent(&self, offset: u64, end: u64) -> Result<Option<Extent>>;
}
