//! A request of a client: decoded, and judged before anything is done. Pure.

use crate::attach::nbd::export::ExportFacts;
use crate::attach::nbd::haggling::Agreed;
use crate::attach::nbd::wire::{
    Errno, MAX_PAYLOAD_BYTES, PREFERRED_BLOCK_BYTES, REQUEST_MAGIC, command, command_flag,
};

/// Bytes of a request without its payload.
pub(super) const REQUEST_BYTES: usize = 28;

/// What a client asks for, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What there is to do, once it makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// With `is_whole`, as one piece.
    Read {
        is_whole: bool,
    },
    Write,
    Disconnect,
    Flush,
    Trim,
    Cache,
    /// With `keeps_space`, so that later writes cannot lack room.
    WriteZeroes {
        keeps_space: bool,
    },
    /// With `only_one`, one stretch and no more.
    BlockStatus {
        only_one: bool,
    },
}

/// Why a request is not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) what: &'static str,
}

impl Request {
    /// None where it is no such thing.
    pub(super) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let [m0, m1, m2, m3, f0, f1, c0, c1, rest @ ..] = *bytes;
        let (cookie, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let len = rest.first_chunk()?;
        let request = Self {
            flags: u16::from_be_bytes([f0, f1]),
            command: u16::from_be_bytes([c0, c1]),
            cookie: u64::from_be_bytes(*cookie),
            offset: u64::from_be_bytes(*offset),
            len: u32::from_be_bytes(*len),
        };
        (u32::from_be_bytes([m0, m1, m2, m3]) == REQUEST_MAGIC).then_some(request)
    }

    /// Bytes that follow the request, whatever becomes of it.
    pub(super) fn payload_bytes(&self) -> u32 {
        if self.command == command::WRITE { self.len } else { 0 }
    }

    /// The end of its range. Saturated; a range that goes so far is refused.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len.into())
    }

    /// Whether what is changed must be durable before the answer.
    pub(super) fn is_forced(&self) -> bool {
        self.flags & command_flag::FUA != 0
    }

    /// What there is to do, or why nothing is done.
    pub(super) fn judge(&self, facts: &ExportFacts, agreed: Agreed) -> Result<Work, Refusal> {
        let work = self.work(agreed)?;
        match work {
            Work::Disconnect | Work::Flush => return Ok(work),
            Work::Write | Work::Trim | Work::WriteZeroes { .. } if !facts.is_writable => {
                return refuse(Errno::Perm, "the disk is attached read-only");
            }
            _ => {}
        }
        let is_inside =
            self.offset.checked_add(self.len.into()).is_some_and(|end| end <= facts.size_bytes);
        if !is_inside {
            let errno = match work {
                Work::Write | Work::WriteZeroes { .. } => Errno::NoSpace,
                _ => Errno::Invalid,
            };
            return refuse(errno, "the range goes beyond the end of the disk");
        }
        let is_carried = matches!(work, Work::Read { .. } | Work::Write);
        if is_carried && self.len > MAX_PAYLOAD_BYTES {
            let is_split = agreed.is_structured && matches!(work, Work::Read { .. });
            let errno = if is_split { Errno::Overflow } else { Errno::Invalid };
            return refuse(errno, "a request carries at most 32 MiB");
        }
        self.check_zeroes(facts, work)
    }

    fn work(&self, agreed: Agreed) -> Result<Work, Refusal> {
        let has = |flag: u16| self.flags & flag != 0;
        let (work, known) = match self.command {
            command::READ => {
                let known = if agreed.is_structured { command_flag::DF } else { 0 };
                (Work::Read { is_whole: has(command_flag::DF) }, known)
            }
            command::WRITE => (Work::Write, 0),
            command::DISC => return Ok(Work::Disconnect),
            command::FLUSH => (Work::Flush, 0),
            command::TRIM => (Work::Trim, 0),
            command::CACHE => (Work::Cache, 0),
            command::WRITE_ZEROES => {
                let known = command_flag::NO_HOLE | command_flag::FAST_ZERO;
                (Work::WriteZeroes { keeps_space: has(command_flag::NO_HOLE) }, known)
            }
            command::BLOCK_STATUS if !agreed.has_allocation => {
                return refuse(Errno::Invalid, "no metadata context was agreed on");
            }
            command::BLOCK_STATUS => {
                let only_one = has(command_flag::REQ_ONE);
                (Work::BlockStatus { only_one }, command_flag::REQ_ONE)
            }
            _ => return refuse(Errno::Invalid, "this server does not know this request"),
        };
        match self.flags & !(known | command_flag::FUA) {
            0 => Ok(work),
            _ => refuse(Errno::Invalid, "the request has a flag that does not belong to it"),
        }
    }

    /// Refuses to be fast where zeros must be written.
    fn check_zeroes(&self, facts: &ExportFacts, work: Work) -> Result<Work, Refusal> {
        let Work::WriteZeroes { keeps_space } = work else { return Ok(work) };
        let block = u64::from(PREFERRED_BLOCK_BYTES);
        let is_aligned = self.offset.is_multiple_of(block)
            && (self.end().is_multiple_of(block) || self.end() == facts.size_bytes);
        let must_be_fast = self.flags & command_flag::FAST_ZERO != 0;
        match must_be_fast && (keeps_space || !is_aligned) {
            true => refuse(Errno::NotSupported, "this would be no faster than a write"),
            false => Ok(work),
        }
    }
}

fn refuse<T>(errno: Errno, what: &'static str) -> Result<T, Refusal> {
    Err(Refusal { errno, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_judged_to_make_sense_lies_on_the_disk_and_is_not_too_much(
            bytes in prop::array::uniform24(prop_oneof![3 => Just(0u8), 1 => any::<u8>()]),
            is_structured: bool,
            is_writable: bool,
        ) {
            let agreed = Agreed { is_structured, has_allocation: is_structured };
            let facts = ExportFacts {
                name: String::new(),
                description: String::new(),
                size_bytes: 1 << 33,
                is_writable,
            };
            let mut request = [0; REQUEST_BYTES];
            request[4..].copy_from_slice(&bytes);
            prop_assert_eq!(Request::decode(&request), None);
            request[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
            let request = Request::decode(&request).unwrap();
            let Ok(work) = request.judge(&facts, agreed) else { return Ok(()) };
            if matches!(work, Work::Flush | Work::Disconnect) {
                return Ok(());
            }
            let is_change =
                matches!(work, Work::Write | Work::Trim | Work::WriteZeroes { .. });
            prop_assert!(is_writable || !is_change);
            prop_assert_eq!(request.end(), request.offset + u64::from(request.len));
            prop_assert!(request.end() <= facts.size_bytes);
            let is_carried = matches!(work, Work::Read { .. } | Work::Write);
            prop_assert!(!is_carried || request.len <= MAX_PAYLOAD_BYTES);
            let is_question = matches!(work, Work::BlockStatus { .. });
            prop_assert!(is_structured || !is_question);
        }
    }
}
