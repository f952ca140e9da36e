//! How the bytes of disks travel between the engine's hosts and this machine.

use std::sync::Arc;

use crate::cli::config::EngineConfig;
use crate::cli::failure::Result;
use crate::cli::size;
use crate::job::transfer::TransferSettings;
use crate::ovirt::transfer::{Bandwidth, CONNECTIONS_MAX, Places};

/// Connections beyond the first of each disk, for all VMs of a run: hosts and this machine have
/// other work as well.
const CONNECTIONS_SHARED: usize = 32;

/// Options of commands that transfer disks.
#[derive(clap::Args, Debug)]
pub(super) struct TransferArgs {
    /// Connections for a disk
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=CONNECTIONS_MAX as i64))]
    connections: u16,

    /// Most bytes that go over the wire in a second, all disks together, as in 100MiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    bandwidth: Option<u64>,
}

impl TransferArgs {
    /// With what the configuration says about hosts.
    pub(super) fn settings(&self, config: &EngineConfig) -> Result<TransferSettings> {
        let bandwidth = self.bandwidth.map(Bandwidth::new).transpose()?;
        Ok(TransferSettings {
            way: config.way,
            map: config.addresses.clone(),
            anchor: config.internal_anchor(),
            connections: self.connections.into(),
            places: Arc::new(Places::new(CONNECTIONS_SHARED)),
            bandwidth: bandwidth.map(Arc::new),
        })
    }
}
