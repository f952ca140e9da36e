//! What the process tells its caller. `docs/cli.md` lists the numbers; scripts depend on them.

use std::process::ExitCode;

use crate::error::ErrorKind;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// It is not done. Interrupted runs are in this class.
    Failed = 1,
    /// The command line makes no sense; nothing was begun.
    Usage = 2,
    /// Done, with problems that the output names.
    Problems = 3,
    /// A rule says that this cannot be backed up.
    Refused = 4,
    /// Another session has the VM.
    Busy = 5,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Failed, Self::Usage, Self::Problems, Self::Refused, Self::Busy];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// One or two words for tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Problems => "problems",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }

    /// How a run ends that fails with such an error.
    #[must_use]
    pub const fn of_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Refused => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_busy_and_refused_vms_have_failures_of_their_own() {
        assert_eq!(Exit::of_error(ErrorKind::Busy), Exit::Busy);
        assert_eq!(Exit::of_error(ErrorKind::Refused), Exit::Refused);
        for kind in [ErrorKind::Corrupt, ErrorKind::Cancelled, ErrorKind::Invalid, ErrorKind::Io] {
            assert_eq!(Exit::of_error(kind), Exit::Failed);
        }
    }
}
