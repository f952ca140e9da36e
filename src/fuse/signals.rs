//! What can end a mount: the kernel's session, and signals.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::error::{Error, ErrorKind, Result};

/// Something happened to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The kernel is through with it.
    Ended,
    /// Somebody asks for its end.
    Signal,
}

/// Tells that the session ended, by being dropped.
pub(super) struct Lifeline(Sender<Event>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        // Nobody listens once the mount was given up.
        let _ = self.0.send(Event::Ended);
    }
}

/// Catches SIGINT, SIGTERM and SIGHUP from its creation on; they no longer end the process.
pub(super) struct Events {
    /// What happens, in order.
    pub(super) receiver: Receiver<Event>,
    sender: Sender<Event>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Events {
    /// Starts to listen.
    pub(super) fn listen() -> Result<Self> {
        let cannot = "cannot listen for signals";
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Error::new(ErrorKind::Io, cannot).because(error))?;
        let handle = signals.handle();
        let (sender, receiver) = channel();
        let to = sender.clone();
        let thread = Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                signals.forever().for_each(|_| {
                    let _ = to.send(Event::Signal);
                })
            })
            .map_err(|error| Error::new(ErrorKind::Io, cannot).because(error))?;
        Ok(Self { receiver, sender, signals: handle, thread: Some(thread) })
    }

    /// What the session holds on to.
    pub(super) fn lifeline(&self) -> Lifeline {
        Lifeline(self.sender.clone())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
