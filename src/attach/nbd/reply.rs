//! The heads of replies. Pure: the bytes of the disk are sent from where they lie.

use crate::attach::nbd::wire::{
    self, ALLOCATION_ID, Errno, FLAG_DONE, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk_type,
};

/// A reply without parts; `errno` if the request failed.
pub(super) fn simple(cookie: u64, errno: Option<Errno>) -> Vec<u8> {
    let mut out = SIMPLE_REPLY_MAGIC.to_be_bytes().to_vec();
    out.extend_from_slice(&errno.map_or(0, |errno| errno as u32).to_be_bytes());
    out.extend_from_slice(&cookie.to_be_bytes());
    out
}

/// The head of a part with `len` bytes of the disk, which follow.
pub(super) fn data(cookie: u64, offset: u64, len: u32, is_last: bool) -> Vec<u8> {
    let mut out = head(cookie, chunk_type::OFFSET_DATA, is_last, 8 + len);
    out.extend_from_slice(&offset.to_be_bytes());
    out
}

/// A part that says that `len` bytes are zero.
pub(super) fn hole(cookie: u64, offset: u64, len: u32, is_last: bool) -> Vec<u8> {
    let mut out = head(cookie, chunk_type::OFFSET_HOLE, is_last, 12);
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out
}

/// The last part of a structured reply that has nothing more to say.
pub(super) fn done(cookie: u64) -> Vec<u8> {
    head(cookie, chunk_type::NONE, true, 0)
}

/// The last part of a structured reply: the request failed, at `offset` if that is known.
pub(super) fn error(cookie: u64, errno: Errno, text: &str, offset: Option<u64>) -> Vec<u8> {
    let text = wire::cut(text, wire::TEXT_BYTES_MAX).as_bytes();
    let (kind, place) = match &offset {
        Some(offset) => (chunk_type::ERROR_OFFSET, offset.to_be_bytes().to_vec()),
        None => (chunk_type::ERROR, Vec::new()),
    };
    let mut out = head(cookie, kind, true, (6 + text.len() + place.len()) as u32);
    out.extend_from_slice(&(errno as u32).to_be_bytes());
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(&place);
    out
}

/// The reply to a question for stretches: the length and the state of each.
pub(super) fn block_status(cookie: u64, stretches: &[(u32, u32)]) -> Vec<u8> {
    let len = 4 + 8 * stretches.len() as u32;
    let mut out = head(cookie, chunk_type::BLOCK_STATUS, true, len);
    out.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
    for (len, state) in stretches {
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&state.to_be_bytes());
    }
    out
}

fn head(cookie: u64, kind: u16, is_last: bool, len: u32) -> Vec<u8> {
    let mut out = STRUCTURED_REPLY_MAGIC.to_be_bytes().to_vec();
    let flags = if is_last { FLAG_DONE } else { 0 };
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&cookie.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out
}
