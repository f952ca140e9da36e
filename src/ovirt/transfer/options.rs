//! How a disk is to be transferred.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::chance::Chance;
use crate::ovirt::address::AddressMap;
use crate::ovirt::check::Way;
use crate::ovirt::client::Patience;
use crate::ovirt::transfer::bandwidth::Bandwidth;
use crate::ovirt::transfer::counters::WireCounters;
use crate::ovirt::transfer::keeper::TicketKeeper;
use crate::ovirt::transfer::places::Places;
use crate::ovirt::trust::Anchor;

/// Most connections to one ticket, whatever anybody says: the export behind it has eight places,
/// and a ninth connection would wait for ever.
pub const CONNECTIONS_MAX: usize = 8;

/// Deadlines, and the number and distance of tries.
#[derive(Debug, Clone, Copy)]
pub struct TransferPatience {
    /// For connections, and for trying again. `tries` counts failures in a row.
    pub retry: Patience,
    /// Longest time in which no byte comes or goes while one should.
    pub quiet: Duration,
    /// Longest time for an answer that takes work: extents, zeroing, flushing.
    pub work: Duration,
    /// Longest time in which the daemon hears nothing of a ticket.
    pub keep_alive: Duration,
}

impl Default for TransferPatience {
    fn default() -> Self {
        Self {
            retry: Patience::default(),
            quiet: Duration::from_secs(60),
            work: Duration::from_secs(600),
            // Tickets last a minute at the least unless somebody asked for less.
            keep_alive: Duration::from_secs(40),
        }
    }
}

/// How a disk is to be transferred.
#[derive(Clone)]
pub struct TransferOptions {
    /// By which way.
    pub way: Way,
    /// Other ways to hosts.
    pub map: AddressMap,
    /// Who must have signed the certificates of hosts and of the proxy.
    pub anchor: Anchor,
    /// Deadlines and tries.
    pub patience: TransferPatience,
    /// Most connections at once; the daemon may want fewer.
    pub connections: usize,
    /// Places for connections beyond the first, shared with other disks.
    pub places: Option<Arc<Places>>,
    /// A limit to the bytes of images per second.
    pub bandwidth: Option<Arc<Bandwidth>>,
    /// Whether to go past the network where the daemon runs on this machine.
    pub may_use_unix_socket: bool,
    /// Who is asked when the ticket is refused.
    pub keeper: Option<Arc<dyn TicketKeeper>>,
    /// Random numbers for pauses.
    pub chance: Arc<dyn Chance>,
    /// Ends waiting.
    pub cancel: Cancel,
    /// Counts what goes over the wire.
    pub counters: Arc<WireCounters>,
}

/// By which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// From the host.
    Direct,
    /// Through the engine.
    Proxy,
    /// Through a socket of this machine, which is the host.
    Unix,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Unix => "unix",
        })
    }
}
