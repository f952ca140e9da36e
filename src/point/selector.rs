//! How people name a restore point: `VM@latest`, `VM@2026-11-23T013000Z`, or a prefix of its id.

use std::fmt;
use std::str::FromStr;

use crate::base::clock::UtcTime;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::PointRecord;

/// Fewest digits of an id that name a restore point.
const PREFIX_DIGITS_MIN: usize = 4;

/// The name of a restore point, as people give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointSelector {
    /// The newest of a VM.
    Latest {
        /// The VM.
        vm: String,
    },
    /// The one of a VM at that time.
    At {
        /// The VM.
        vm: String,
        /// The time.
        time: UtcTime,
    },
    /// The one whose id begins so.
    Id {
        /// Lower-case hexadecimal digits.
        prefix: String,
    },
}

impl PointSelector {
    /// Picks the restore point out of `points`, which are ordered by VM, then from the oldest to
    /// the newest.
    pub fn pick<'a>(&self, points: &'a [PointRecord]) -> Result<&'a PointRecord> {
        let matches: Vec<_> = points.iter().filter(|point| self.matches(point)).collect();
        match (self, matches.as_slice()) {
            (Self::Latest { .. }, [.., last]) => Ok(last),
            (_, [only]) => Ok(only),
            (_, []) => Err(Error::new(ErrorKind::NotFound, self.nothing_found(points))),
            (_, [_, ..]) => {
                let ids: Vec<_> = matches.iter().map(|point| point.id.to_string()).collect();
                let what = format!("{self} names {} restore points: {}", ids.len(), ids.join(", "));
                Err(Error::new(ErrorKind::Invalid, what))
            }
        }
    }

    fn matches(&self, point: &PointRecord) -> bool {
        match self {
            Self::Latest { vm } => point.vm == *vm,
            Self::At { vm, time } => point.vm == *vm && point.time == *time,
            Self::Id { prefix } => point.id.to_string().starts_with(prefix),
        }
    }

    fn nothing_found(&self, points: &[PointRecord]) -> String {
        let has_vm = |vm: &str| points.iter().any(|point| point.vm == vm);
        match self {
            Self::Latest { vm } | Self::At { vm, .. } if !has_vm(vm) => {
                format!("there is no restore point of a VM named {vm:?}")
            }
            Self::At { vm, time } => format!("VM {vm:?} has no restore point of {time}"),
            _ => format!("there is no restore point {self}"),
        }
    }
}

impl fmt::Display for PointSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { vm } => write!(f, "{vm}@latest"),
            Self::At { vm, time } => write!(f, "{vm}@{time}"),
            Self::Id { prefix } => f.write_str(prefix),
        }
    }
}

impl FromStr for PointSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let what = format!(
                "{text:?} names no restore point: give VM@latest, VM@2026-11-23T013000Z, or at \
                 least {PREFIX_DIGITS_MIN} digits of its id"
            );
            Error::new(ErrorKind::Invalid, what)
        };
        // The last @, because a VM's name may have one.
        let Some((vm, when)) = text.rsplit_once('@') else {
            let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_id =
                (PREFIX_DIGITS_MIN..=32).contains(&text.len()) && text.bytes().all(is_digit);
            return if is_id { Ok(Self::Id { prefix: text.to_owned() }) } else { Err(invalid()) };
        };
        let vm = vm.to_owned();
        match when {
            "latest" => Ok(Self::Latest { vm }),
            _ => Ok(Self::At { vm, time: when.parse().map_err(|_| invalid())? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_read_back_and_others_are_refused() {
        for text in ["db@latest", "a@b@2026-11-23T013000Z", "0af3", "VM with space@latest"] {
            assert_eq!(text.parse::<PointSelector>().unwrap().to_string(), text);
        }
        for text in ["", "db", "0af", "db@", "db@yesterday", "0AF3"] {
            assert_eq!(text.parse::<PointSelector>().unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
