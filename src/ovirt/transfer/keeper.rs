//! Who knows where the bytes are when the ones who have them no longer say.

use crate::error::Result;
use crate::ovirt::wire::TicketUrl;

/// Where the bytes of a disk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketUrls {
    /// At the host.
    pub direct: Option<TicketUrl>,
    /// At the engine's proxy.
    pub proxy: Option<TicketUrl>,
}

/// Keeps a ticket usable.
pub trait TicketKeeper: Send + Sync {
    /// Where the bytes are now, after whatever was in the way is over. Asked when a ticket is
    /// refused or nobody answers; by one thread at a time. An error ends the transfer.
    fn renew(&self) -> Result<TicketUrls>;

    /// The same with another ticket for the same bytes, where one can be had. Asked when the host
    /// answers again and again that it cannot: what it has for the ticket may be broken.
    fn replace(&self) -> Result<TicketUrls> {
        self.renew()
    }
}
