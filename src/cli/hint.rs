//! One sentence of advice for each kind of error. The library does not know the command line.

use crate::error::ErrorKind;

/// What to do next after an error of that kind, unless the command knows better.
#[must_use]
pub(super) const fn hint(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Corrupt => {
            "`backstop scrub` names every disk that damage reaches, and what to do"
        }
        ErrorKind::NotFound => "`backstop list` shows the restore points that are there",
        ErrorKind::AlreadyExists => "give another name: nothing is overwritten unasked",
        ErrorKind::Busy => "wait until the other session ends, then run the same command again",
        ErrorKind::Unsupported => {
            "if a newer release wrote this, use that release; this one is `backstop --version`"
        }
        ErrorKind::Source => {
            "no restore point was made; mend or replace the image and run the backup again"
        }
        ErrorKind::Full => {
            "make room on the medium and run the command again: what is stored is kept"
        }
        ErrorKind::Denied => {
            "run as the user that owns the repository and may read the image; `ls -ld` shows who"
        }
        ErrorKind::Remote => {
            "`backstop engine test` tries every step of the way to the engine and its hosts"
        }
        ErrorKind::Rollback => {
            "if you brought an older state back yourself, --accept-rollback takes it; if not, \
             somebody else may have: look at the storage before you back up to it"
        }
        ErrorKind::Refused => "`backstop eligibility VM` lists every rule and its remedy",
        ErrorKind::Cancelled => "nothing that was committed is lost; run the same command again",
        ErrorKind::Io => "the kernel's log (`dmesg`) may say more about the medium",
        _ => return None,
    })
}
