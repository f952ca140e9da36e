//! Writes past the page cache.
//!
//! For bytes that nobody reads again soon it saves the copy and the bookkeeping of pages. Only
//! whole pages go that way, and not on every file system; the rest is written as ever. What was
//! written is no more durable than anything else until it is synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::base::aligned::DIRECT_BYTES;
use crate::store::sys;

/// Writes as much of the beginning of `bytes` to `file` past the page cache as can go that way,
/// and says how much that was: the rest is still to be written.
///
/// Nothing goes that way unless `bytes` and `offset_bytes` are multiples of [`DIRECT_BYTES`], or
/// where the file system cannot do it. Nobody else may write to the open file meanwhile.
pub(crate) fn write_direct(file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<usize> {
    let is_aligned = bytes.as_ptr().addr().is_multiple_of(DIRECT_BYTES)
        && offset_bytes.is_multiple_of(DIRECT_BYTES as u64);
    if !is_aligned || bytes.len() < DIRECT_BYTES || sys::set_direct(file, true).is_err() {
        return Ok(0);
    }
    let whole = bytes.len() / DIRECT_BYTES * DIRECT_BYTES;
    let written = write_pages(file, &bytes[..whole], offset_bytes);
    // Whoever writes the rest relies on it.
    sys::set_direct(file, false)?;
    written
}

/// Writes until a write ends within a page, which only a file system does that has no more room.
fn write_pages(file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() && written.is_multiple_of(DIRECT_BYTES) {
        match file.write_at(&bytes[written..], offset_bytes + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => written += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_unsupported(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// What file systems and media say that want other alignments, or know no such writes.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::aligned::AlignedBuffer;

    /// Pages of which each has another number in it.
    fn pages(len: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::with_capacity(len).unwrap();
        let numbers = (0..len).map(|at| (at / DIRECT_BYTES + at % 7) as u8);
        buffer.extend_from_slice(&numbers.collect::<Vec<_>>());
        buffer
    }

    #[test]
    fn whole_pages_go_past_the_page_cache_and_the_rest_as_ever() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let file = temp.as_file();
        let bytes = pages(5 * DIRECT_BYTES + 100);
        let written = write_direct(file, &bytes, 0).unwrap();
        assert!([0, 5 * DIRECT_BYTES].contains(&written), "{written}");
        file.write_all_at(&bytes[written..], written as u64).unwrap();
        assert!(std::fs::read(temp.path()).unwrap() == *bytes);
        let again = write_direct(file, &bytes[..2 * DIRECT_BYTES], DIRECT_BYTES as u64).unwrap();
        assert!([0, 2 * DIRECT_BYTES].contains(&again), "{again}");
        file.write_all_at(&bytes[again..2 * DIRECT_BYTES], (DIRECT_BYTES + again) as u64).unwrap();
        let expected =
            [&bytes[..DIRECT_BYTES], &bytes[..2 * DIRECT_BYTES], &bytes[3 * DIRECT_BYTES..]];
        assert!(std::fs::read(temp.path()).unwrap() == expected.concat());
    }

    #[test]
    fn what_is_not_aligned_is_left_to_the_caller() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let bytes = pages(3 * DIRECT_BYTES);
        for (bytes, offset) in [(&bytes[1..], 0), (&bytes[..], 512), (&bytes[..100], 0)] {
            assert_eq!(write_direct(temp.as_file(), bytes, offset).unwrap(), 0);
        }
        assert_eq!(temp.as_file().metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_and_a_device_that_takes_no_pages_is_none() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let bytes = pages(2 * DIRECT_BYTES);
        let read_only = File::open(temp.path()).unwrap();
        let error = write_direct(&read_only, &bytes, 0).map_or_else(Some, |len| {
            // Where nothing goes past the page cache, the caller gets the error.
            assert_eq!(len, 0);
            None
        });
        assert!(error.is_none_or(|error| error.raw_os_error() == Some(libc::EBADF)));
        let null = File::options().write(true).open("/dev/null").unwrap();
        assert_eq!(write_direct(&null, &bytes, 0).unwrap(), 0);
    }
}
