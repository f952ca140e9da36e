//! How the bytes of disks travel between the engine's hosts and this machine.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::config::EngineConfig;
use crate::cli::duration;
use crate::cli::failure::{Failure, Result};
use crate::cli::size;
use crate::job::transfer::TransferSettings;
use crate::ovirt::transfer::{Bandwidth, CONNECTIONS_MAX, Places, TransferPatience};

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

    /// Longest time in which a host may move less than 256 KiB before the connection is given up
    /// and made anew
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse)]
    stall_timeout: Duration,
}

impl TransferArgs {
    /// With what the configuration says about hosts.
    pub(super) fn settings(&self, config: &EngineConfig) -> Result<TransferSettings> {
        if self.stall_timeout.is_zero() {
            return Err(Failure::usage("--stall-timeout must be at least 1s"));
        }
        let bandwidth = self.bandwidth.map(Bandwidth::new).transpose()?;
        Ok(TransferSettings {
            way: config.way,
            map: config.addresses.clone(),
            anchor: config.internal_anchor(),
            patience: self.patience(),
            connections: self.connections.into(),
            places: Arc::new(Places::new(CONNECTIONS_SHARED)),
            bandwidth: bandwidth.map(Arc::new),
        })
    }

    fn patience(&self) -> TransferPatience {
        TransferPatience { quiet: self.stall_timeout, ..TransferPatience::default() }
    }
}
