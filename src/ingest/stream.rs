//! An image that arrives through a pipe, a socket or any other reader.

use std::fmt;
use std::io::{self, Read};

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::source::ImageStream;

/// The bytes of a reader, up to its end, as a disk.
pub struct ReaderStream<R> {
    reader: R,
    offset_bytes: u64,
    ended: bool,
}

impl<R: Read + Send> ReaderStream<R> {
    /// A disk that begins with the next byte of `reader`. Needs no buffer of its own: it is asked
    /// for whole chunks.
    pub fn new(reader: R) -> Self {
        Self { reader, offset_bytes: 0, ended: false }
    }

    /// The next bytes, as many as come at once; 0 only at the end.
    fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            match self.reader.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("cannot read the stream after {} bytes", self.offset_bytes);
                    return Err(Error::new(ErrorKind::Source, what).because(error));
                }
                Ok(read) => return Ok(read),
            }
        }
    }
}

impl<R: Read + Send> ImageStream for ReaderStream<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        // The end is remembered: a terminal would go on after it.
        while done < out.len() && !self.ended {
            let read = self.read_some(&mut out[done..])?;
            self.ended = read == 0;
            self.offset_bytes += read as u64;
            done += read;
        }
        Ok(done)
    }
}

impl<R> fmt::Debug for ReaderStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderStream").field("offset_bytes", &self.offset_bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out what each step says: some bytes, an error, or the end.
    struct Script(Vec<io::Result<&'static [u8]>>);

    impl Read for Script {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let bytes = self.0.remove(0)?;
            out[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_buffer_is_filled_from_pieces_and_interruptions_until_the_end() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let script = Script(vec![Ok(b"ab"), interrupted(), Ok(b"cd"), Ok(b"e"), interrupted()]);
        let mut stream = ReaderStream::new(script);
        let mut out = [0; 4];
        assert_eq!(stream.read(&mut out).unwrap(), 4);
        assert_eq!(&out, b"abcd");
        assert_eq!(stream.read(&mut out).unwrap(), 1);
        assert_eq!(out[0], b'e');
        assert_eq!(stream.read(&mut out).unwrap(), 0);
    }

    #[test]
    fn nothing_is_read_after_the_end() {
        let mut stream = ReaderStream::new(Script(vec![Ok(b""), Ok(b"more")]));
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn a_failed_read_is_an_error_of_the_source_and_says_how_far_it_came() {
        let broken = io::Error::other("the line went dead");
        let mut stream = ReaderStream::new(Script(vec![Ok(b"abc"), Err(broken)]));
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert_eq!(error.chain(), "cannot read the stream after 3 bytes: the line went dead");
    }
}
