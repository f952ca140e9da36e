//! The end of attachments: of living ones, and of what killed ones have left.

use std::thread;
use std::time::{Duration, Instant};

use crate::attach::loop_device::LoopDevice;
use crate::attach::nbd::{self, Address};
use crate::attach::registry::{Attachment, Place, Registry, tag};
use crate::attach::sys;
use crate::error::{Error, ErrorKind, Result};
use crate::fuse;

/// How long a process may take to end once its device is gone.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Ends an attachment and waits until nothing of it is left. [`ErrorKind::Busy`], with who it is,
/// while somebody uses the device.
pub fn detach(registry: &Registry, attachment: &Attachment) -> Result<()> {
    let place = attachment.facts.as_ref().map(|facts| &facts.place);
    let server = match place {
        Some(Place::Nbd { address, .. }) => Some(Address::parse(address)?),
        _ => None,
    };
    if let Some(address) = server.as_ref().filter(|_| attachment.is_alive) {
        check_clients(address)?;
    }
    let shown = match place {
        Some(Place::Device { shown, .. }) => Some(shown.as_str()),
        _ => None,
    };
    match LoopDevice::find(&tag(&attachment.id), shown) {
        Some(device) => device.release(attachment.is_alive)?,
        None if attachment.is_alive => ask_for_the_end(registry, attachment)?,
        None => {}
    }
    wait_for_the_end(registry, attachment)?;
    fuse::remove_dead(&registry.mount_dir(&attachment.id))?;
    if let Some(Address::Unix(path)) = server {
        nbd::remove_dead(&path)?;
    }
    registry.remove_dead(&attachment.id)?;
    Ok(())
}

/// Fails with [`ErrorKind::Busy`] while somebody has the disk over NBD.
fn check_clients(address: &Address) -> Result<()> {
    match nbd::clients(address)? {
        0 => Ok(()),
        1 => Err(in_use(format!("a client is connected to {address}"))),
        many => Err(in_use(format!("{many} clients are connected to {address}"))),
    }
}

fn in_use(what: String) -> Error {
    Error::new(ErrorKind::Busy, what)
}

/// A process that has no device of its own ends when it is asked to: one that serves the disk in
/// another way, or one that has not come so far.
fn ask_for_the_end(registry: &Registry, attachment: &Attachment) -> Result<()> {
    let Some(facts) = &attachment.facts else {
        let what = format!("the attachment {} is just being made", attachment.id);
        return Err(Error::new(ErrorKind::Busy, what));
    };
    // Whoever has the lock is that process, and the number is its own.
    if registry.is_alive(&attachment.id)? {
        sys::terminate(facts.process).map_err(|error| {
            let what = format!("cannot ask process {} to end", facts.process);
            Error::new(ErrorKind::Denied, what).because(error)
        })?;
    }
    Ok(())
}

fn wait_for_the_end(registry: &Registry, attachment: &Attachment) -> Result<()> {
    let began = Instant::now();
    while registry.is_alive(&attachment.id)? {
        if began.elapsed() > PATIENCE {
            let process = attachment.facts.as_ref().map_or(0, |facts| facts.process);
            let what = format!("process {process} still serves the disk: something has it open");
            return Err(Error::new(ErrorKind::Busy, what));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Clears what killed processes have left, as far as nobody uses it. Returns what was cleared, and
/// why others were not.
pub fn clear_dead(registry: &Registry) -> Result<(Vec<Attachment>, Vec<Error>)> {
    let (mut cleared, mut problems) = (Vec::new(), Vec::new());
    for dead in registry.list()?.into_iter().filter(|attachment| !attachment.is_alive) {
        match detach(registry, &dead) {
            Ok(()) => cleared.push(dead),
            Err(error) => problems.push(error),
        }
    }
    Ok((cleared, problems))
}
