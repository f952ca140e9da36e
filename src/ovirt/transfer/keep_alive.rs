//! Keeps a ticket from running out while nobody uses it: a repository may be slow for a while, and
//! the engine ends what rests.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::transfer::client::describe;
use crate::ovirt::transfer::pool::{Pool, Tries};
use crate::ovirt::transfer::trouble::Attempt;

/// Looks after a ticket until it is dropped.
pub(super) struct KeepAlive {
    /// Nothing is sent; its end is the message.
    _until_dropped: Sender<()>,
}

impl KeepAlive {
    /// Sees to it that the daemon hears something in every `period`.
    pub(super) fn start(pool: &Arc<Pool>, period: Duration) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let pool = Arc::downgrade(pool);
        let look = move || {
            while receiver.recv_timeout(period / 2) == Err(RecvTimeoutError::Timeout) {
                look_after(&pool, period / 2);
            }
        };
        let thread = thread::Builder::new().name("ticket".to_owned());
        thread
            .spawn(look)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start a thread").because(error))?;
        Ok(Self { _until_dropped: sender })
    }
}

fn look_after(pool: &Weak<Pool>, rest_max: Duration) {
    let Some(pool) = pool.upgrade() else { return };
    if !pool.has_rested(rest_max) {
        return;
    }
    // Whoever needs the ticket next finds out what is wrong, and what helps.
    if let Err(trouble) = touch(&pool) {
        log::debug!("image transfer: keeping the ticket: {trouble:?}");
    }
}

fn touch(pool: &Pool) -> Attempt<()> {
    let mut lease = pool.lease(&mut Tries::default())?;
    let url = Arc::clone(&lease.route.url);
    describe(&mut lease, &url, pool.options()).map(drop)
}
