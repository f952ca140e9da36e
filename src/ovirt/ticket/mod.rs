//! A ticket: the right to read or write the bytes of one disk, which the engine gives and takes.
//!
//! It is the engine's side of an image transfer; the bytes themselves travel elsewhere. The id of a
//! transfer is the engine's choice, so it is written down ([`TicketLog`]) as soon as it is known,
//! and the engine is asked to end a transfer by itself when nobody uses it.
//!
//! An engine answers every action on a transfer with success, also one that it does not carry out:
//! only the phase tells.

mod end;
mod open;

pub use end::{Ended, cancel, finish};
pub use open::{Ticket, TicketLog, TicketRequest};
