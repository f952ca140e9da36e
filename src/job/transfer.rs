//! How the bytes of disks travel, for all transfers of a run.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::ovirt::address::AddressMap;
use crate::ovirt::check::Way;
use crate::ovirt::transfer::{
    Bandwidth, Places, TicketKeeper, TransferOptions, TransferPatience, WireCounters,
};
use crate::ovirt::trust::Anchor;
use crate::repo::Repository;

/// How images travel.
#[derive(Clone)]
pub struct TransferSettings {
    /// By which way.
    pub way: Way,
    /// Other ways to hosts.
    pub map: AddressMap,
    /// Who must have signed the certificates of hosts and of the proxy.
    pub anchor: Anchor,
    /// Deadlines and tries.
    pub patience: TransferPatience,
    /// Most connections for a disk.
    pub connections: usize,
    /// Places for connections beyond the first of each disk, which all disks share.
    pub places: Arc<Places>,
    /// A limit that all disks share.
    pub bandwidth: Option<Arc<Bandwidth>>,
}

impl TransferSettings {
    /// The same for one transfer, of which `keeper` keeps the ticket.
    pub(super) fn options(
        &self,
        repo: &Repository,
        keeper: Arc<dyn TicketKeeper>,
        counters: &Arc<WireCounters>,
        cancel: &Cancel,
    ) -> TransferOptions {
        TransferOptions {
            way: self.way,
            map: self.map.clone(),
            anchor: self.anchor.clone(),
            patience: self.patience,
            connections: self.connections,
            places: Some(Arc::clone(&self.places)),
            bandwidth: self.bandwidth.clone(),
            may_use_unix_socket: true,
            keeper: Some(keeper),
            chance: Arc::clone(&repo.environment().chance),
            cancel: cancel.clone(),
            counters: Arc::clone(counters),
        }
    }
}
