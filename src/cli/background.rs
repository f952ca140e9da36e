//! Commands that go on in the background once what they were asked for is there.
//!
//! The process splits in two before it has threads, with the repository open: the new one needs
//! neither options nor secrets handed over. It prints the answer or the error itself; the old one
//! only waits for that and ends with its exit code.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::RawFd;
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::notify;
use crate::cli::sys;
use crate::error::{Error, ErrorKind, IoContext};

/// What whoever started the process has left open, and the background must not keep.
pub(super) struct Inherited(Vec<RawFd>);

impl Inherited {
    /// To be called before the process opens anything itself.
    pub(super) fn look() -> Result<Self> {
        let path = Path::new("/proc/self/fd");
        Ok(Self(sys::open_descriptors().context("cannot tell what is open", path)?))
    }
}

/// Which of the two processes this is.
pub(super) enum Side {
    /// The old one, when the new one has done its work or failed: how to end.
    Front(Exit),
    /// The new one.
    Back(Waiting),
}

/// Somebody who waits for the process, if it runs in the background.
pub(super) struct Waiting(Option<PipeWriter>);

impl Waiting {
    /// Nobody: the process runs in the foreground.
    pub(super) const fn nobody() -> Self {
        Self(None)
    }

    /// Tells that all is there and the answer was printed. From then on nothing is printed any
    /// more: what there is to say goes to the file that `log` makes. Fails if whoever waited is
    /// gone: then nobody knows of it. In the foreground systemd is told, where it wants to be.
    pub(super) fn release(&mut self, exit: Exit, log: impl FnOnce() -> Result<File>) -> Result<()> {
        let Some(mut pipe) = self.0.take() else {
            notify::ready();
            return Ok(());
        };
        let (log, null) = (log()?, Path::new("/dev/null"));
        let input = File::open(null).context("cannot open", null)?;
        let redirected = [(0, &input), (1, &log), (2, &log)];
        let redirected = redirected.into_iter().try_for_each(|(to, file)| sys::redirect(to, file));
        redirected.map_err(failed("cannot leave the terminal"))?;
        let told = pipe.write_all(&[exit.number()]);
        told.map_err(failed("whoever asked for it did not wait for it"))?;
        Ok(())
    }
}

/// Goes on in the background. To be called before there are threads.
pub(super) fn split(inherited: &Inherited) -> Result<Side> {
    let tasks = Path::new("/proc/self/task");
    let threads = fs::read_dir(tasks).context("cannot count the threads", tasks)?.count();
    if threads != 1 {
        let what = "a program with threads cannot go on in the background";
        return Err(Error::new(ErrorKind::Unsupported, what).into());
    }
    let cannot = "cannot go on in the background";
    let (reader, writer) = io::pipe().map_err(failed(cannot))?;
    match sys::fork().map_err(failed(cannot))? {
        Some(child) => {
            drop(writer);
            wait(reader, child).map(Side::Front)
        }
        None => {
            drop(reader);
            sys::leave_terminal().map_err(failed(cannot))?;
            sys::close_inherited(&inherited.0);
            Ok(Side::Back(Waiting(Some(writer))))
        }
    }
}

/// Waits until the background has told how it went, or has ended without that.
fn wait(mut reader: PipeReader, child: i32) -> Result<Exit> {
    let mut told = [0];
    let code = match reader.read_exact(&mut told) {
        Ok(()) => Some(told[0]),
        Err(_) => sys::wait_for(child).map_err(failed("cannot wait for the background"))?,
    };
    let exit = Exit::ALL.into_iter().find(|exit| Some(exit.number()) == code);
    exit.ok_or_else(|| {
        let what = "the process in the background was killed before it was ready";
        Error::new(ErrorKind::Io, what).into()
    })
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(ErrorKind::Io, what).because(error)
}
