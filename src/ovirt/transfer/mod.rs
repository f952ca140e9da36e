//! The bytes of disks, to and from the service for transfers that runs on every host.
//!
//! [`ImageClient`] speaks with it: HTTP over connections of its own, because what matters here is
//! which connections there are. A ticket allows eight of them and hangs the ninth, a host behind
//! NAT is connected to at one address and must prove another, and every byte counts. On it stand
//! [`TransferSource`] and [`TransferSink`].
//!
//! Nothing waits for ever; what breaks is taken up at the byte that was reached; a ticket that is
//! refused is renewed by a [`TicketKeeper`]. The ticket itself, which stands in the URL, is in no
//! error and no log.

mod bandwidth;
mod client;
mod counters;
mod digest;
mod extents;
mod http;
mod keep_alive;
mod keeper;
mod listing;
mod local;
mod options;
mod places;
mod pool;
mod route;
mod run;
mod sink;
mod source;
mod trouble;
mod url;
mod wire;

pub use bandwidth::{Bandwidth, Pace};
pub use client::ImageClient;
pub use counters::{WireCounters, WireCounts};
pub use digest::ImageDigest;
pub use extents::Extents;
pub use keeper::{TicketKeeper, TicketUrls};
pub use options::{CONNECTIONS_MAX, TransferOptions, TransferPatience, Transport};
pub use places::Places;
pub use sink::TransferSink;
pub use source::TransferSource;
