//! Standard output, or any other stream.

use std::io::{self, Write};
use std::sync::Mutex;

use crate::base::limits::CHUNK_BYTES;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::restore::sink::ImageSink;

/// A stream that is being restored to. Takes the bytes in the order of the disk and writes zeros
/// out.
pub struct StreamSink {
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    position_bytes: u64,
    zeros: Vec<u8>,
}

impl StreamSink {
    /// Restores to `out`, from its present position on.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { state: Mutex::new(State { out, position_bytes: 0, zeros: Vec::new() }) }
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        act(&mut lock(&self.state))
    }
}

impl ImageSink for StreamSink {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.with_state(|state| {
            state.expect_at(offset_bytes)?;
            state.out.write_all(bytes).map_err(failed)?;
            state.position_bytes += bytes.len() as u64;
            Ok(())
        })
    }

    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        self.with_state(|state| {
            state.expect_at(offset_bytes)?;
            state.zeros.resize(CHUNK_BYTES, 0);
            let mut left = len_bytes;
            while left > 0 {
                let part = left.min(CHUNK_BYTES as u64);
                state.out.write_all(&state.zeros[..part as usize]).map_err(failed)?;
                state.position_bytes += part;
                left -= part;
            }
            Ok(())
        })
    }

    fn finish(&self) -> Result<()> {
        self.with_state(|state| state.out.flush().map_err(failed))
    }

    fn needs_order(&self) -> bool {
        true
    }
}

impl State {
    fn expect_at(&self, offset_bytes: u64) -> Result<()> {
        if self.position_bytes == offset_bytes {
            return Ok(());
        }
        let what = format!("a stream at byte {} cannot take other bytes", self.position_bytes);
        Err(Error::new(ErrorKind::Invalid, what).at_byte(offset_bytes))
    }
}

fn failed(error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::BrokenPipe => "whoever read the output has closed it",
        _ => "cannot write to the output",
    };
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn zeros_are_written_and_bytes_out_of_order_are_refused() {
        let out = Out::default();
        let sink = StreamSink::new(Box::new(out.clone()));
        sink.write_at(0, b"ab").unwrap();
        sink.zero(2, CHUNK_BYTES as u64 + 1).unwrap();
        assert_eq!(sink.write_at(2, b"c").unwrap_err().kind(), ErrorKind::Invalid);
        sink.write_at(CHUNK_BYTES as u64 + 3, b"c").unwrap();
        sink.finish().unwrap();
        let expected = [b"ab".as_slice(), &vec![0; CHUNK_BYTES + 1], b"c"].concat();
        assert!(*out.0.lock().unwrap() == expected);
    }

    #[test]
    fn a_reader_that_went_away_is_an_error_like_any_other() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = StreamSink::new(Box::new(writer));
        let error = sink.write_at(0, b"a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("closed"), "{error}");
    }
}
