//! Decompression of clusters, into a buffer of the cluster's length and never beyond it.

use std::io;

use flate2::{Decompress, FlushDecompress};
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_error_name};

use crate::ingest::qcow2::header::Compression;

/// Fills `out` from the compressed cluster that `packed` begins with.
///
/// An image records the length of a compressed cluster in sectors, so other bytes may follow it in
/// `packed`. A cluster that is shorter than `out` is an error; nothing is allocated for what the
/// packed bytes claim about themselves.
pub(super) fn unpack(compression: Compression, packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    let filled = match compression {
        Compression::Deflate => inflate(packed, out)?,
        Compression::Zstd => unpack_zstd(packed, out)?,
    };
    if filled == out.len() as u64 {
        return Ok(());
    }
    let what = format!("the packed bytes make {filled} bytes instead of {}", out.len());
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Whether the end of the deflate stream was seen does not matter: writers stop when the cluster is
/// whole.
fn inflate(packed: &[u8], out: &mut [u8]) -> io::Result<u64> {
    let mut stream = Decompress::new(false);
    stream.decompress(packed, out, FlushDecompress::Finish)?;
    Ok(stream.total_out())
}

/// Decodes in one go, so that `out` itself is the window: a frame could ask a streaming decoder for
/// a window of 128 MiB.
fn unpack_zstd(packed: &[u8], out: &mut [u8]) -> io::Result<u64> {
    let frame_len = find_frame_compressed_size(packed)
        .map_err(|code| io::Error::new(io::ErrorKind::InvalidData, get_error_name(code)))?;
    let frame = packed.get(..frame_len).ok_or(io::ErrorKind::UnexpectedEof)?;
    let filled = Decompressor::new()?.decompress_to_buffer(frame, out)?;
    Ok(filled as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::DeflateEncoder;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn pack(compression: Compression, plain: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        }
    }

    fn sample() -> Vec<u8> {
        (0..65_536_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
    }

    const BOTH: [Compression; 2] = [Compression::Deflate, Compression::Zstd];

    #[test]
    fn a_cluster_unpacks_whatever_follows_it_in_its_last_sector() {
        for compression in BOTH {
            for tail in [&b""[..], &[0; 300], b"\xffthe next cluster"] {
                let packed = [&pack(compression, &sample()), tail].concat();
                let mut out = vec![0; sample().len()];
                unpack(compression, &packed, &mut out).unwrap();
                assert!(out == sample(), "{compression:?} with {} bytes", tail.len());
            }
        }
    }

    #[test]
    fn a_cluster_that_is_cut_short_is_an_error_at_every_length() {
        for compression in BOTH {
            let plain = &sample()[..4096];
            let packed = pack(compression, plain);
            // The last bytes of a deflate stream only mark its end.
            for len in 0..packed.len() - 5 {
                let mut out = vec![0; plain.len()];
                assert!(unpack(compression, &packed[..len], &mut out).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn a_packed_cluster_of_another_length_is_an_error() {
        for compression in BOTH {
            let packed = pack(compression, &sample());
            assert!(unpack(compression, &packed, &mut vec![0; sample().len() + 1]).is_err());
        }
        let packed = pack(Compression::Zstd, &sample());
        assert!(unpack(Compression::Zstd, &packed, &mut vec![0; sample().len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_packed_bytes_are_unpacked_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            zstd in any::<bool>(),
        ) {
            let compression = BOTH[usize::from(zstd)];
            let (mut first, mut second) = (vec![0; 4096], vec![0; 4096]);
            let outcome = unpack(compression, &bytes, &mut first).is_ok();
            prop_assert_eq!(unpack(compression, &bytes, &mut second).is_ok(), outcome);
            if outcome {
                prop_assert_eq!(first, second);
            }
        }
    }
}
