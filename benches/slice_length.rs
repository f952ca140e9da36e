//! What do slices cost, and what does a random read gain by them? The question behind 64 KiB.
//!
//! For slices of 64, 128, 256 KiB and the whole chunk, at the zstd levels that come into question:
//! the stored size, the time to compress on one core, and the time of one verified 4 KiB read
//! (decompress one slice, hash it, merge the stored chaining values).
//!
//! `cargo bench --bench slice_length -- [IMAGE]`. Without an image, one of 1.5 GiB is made from
//! files of this system; one chunk of four is taken.

#[path = "support/corpus.rs"]
mod corpus;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use zstd::bulk::{Compressor, Decompressor};

const CHUNK: usize = 1 << 20;
const SLICES: [usize; 4] = [64 << 10, 128 << 10, 256 << 10, CHUNK];
const LEVELS: [i32; 4] = [-3, 1, 2, 3];
const RUNS: usize = 5;

fn main() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let image = given.map_or_else(|| corpus::system_image(scratch.path()), PathBuf::from);
    let chunks = sample(&image);
    println!("{} chunks that are not zero, medians of {RUNS} runs", chunks.len());
    println!("level   slice  stored/plain  against 1 MiB  compress GB/s  4 KiB read us");
    for level in LEVELS {
        let rows: Vec<_> = SLICES.iter().map(|slice| measure(&chunks, *slice, level)).collect();
        let whole = rows[SLICES.len() - 1].stored as f64;
        for (slice, row) in SLICES.iter().zip(&rows) {
            let plain = (chunks.len() * CHUNK) as f64;
            println!(
                "{level:>5}{:>4} KiB{:>14.4}{:>+13.2} %{:>15.3}{:>15.1}",
                slice >> 10,
                row.stored as f64 / plain,
                (row.stored as f64 / whole - 1.0) * 100.0,
                plain / row.compress_seconds / 1e9,
                row.read_seconds * 1e6,
            );
        }
    }
}

struct Row {
    stored: usize,
    compress_seconds: f64,
    read_seconds: f64,
}

fn measure(chunks: &[Vec<u8>], slice: usize, level: i32) -> Row {
    let mut compress = Vec::new();
    let mut read = Vec::new();
    let mut stored = 0;
    for _ in 0..RUNS {
        let mut frames = Vec::new();
        let began = Instant::now();
        let mut zstd = Compressor::new(level).expect("zstd");
        stored = 0;
        for chunk in chunks {
            for plain in chunk.chunks(slice) {
                let frame = store(&mut zstd, plain);
                stored += frame.len() + 40;
                frames.push((frame, plain.len()));
            }
        }
        compress.push(began.elapsed().as_secs_f64());
        read.push(read_one_slice(&frames, CHUNK / slice));
    }
    Row { stored, compress_seconds: median(&mut compress), read_seconds: median(&mut read) }
}

/// A frame, or the bytes themselves where a frame saves less than 3 %.
fn store(zstd: &mut Compressor<'_>, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plain.len() / 100 * 97];
    match zstd.compress_to_buffer(plain, &mut out[..]) {
        Ok(len) => {
            out.truncate(len);
            out
        }
        Err(_) => plain.to_vec(),
    }
}

/// Seconds that one verified read inside one slice takes, over one slice of every chunk.
fn read_one_slice(frames: &[(Vec<u8>, usize)], slices_per_chunk: usize) -> f64 {
    let mut zstd = Decompressor::new().expect("zstd");
    let picked = frames.iter().step_by(slices_per_chunk + 1).collect::<Vec<_>>();
    let mut plain = vec![0; CHUNK];
    let began = Instant::now();
    for (frame, len) in &picked {
        let out = &mut plain[..*len];
        if frame.len() == *len {
            out.copy_from_slice(frame);
        } else {
            zstd.decompress_to_buffer(frame, out).expect("what was compressed");
        }
        std::hint::black_box(blake3::hash(out));
        // Merging the chaining values: one hash of 64 bytes for each inner node.
        for _ in 1..slices_per_chunk {
            std::hint::black_box(blake3::hash(&out[..64]));
        }
    }
    began.elapsed().as_secs_f64() / picked.len() as f64
}

fn sample(image: &Path) -> Vec<Vec<u8>> {
    let file = File::open(image).expect("the image");
    let chunks = file.metadata().expect("the image").len() / CHUNK as u64;
    let read = |index: u64| {
        let mut chunk = vec![0; CHUNK];
        file.read_exact_at(&mut chunk, index * CHUNK as u64).expect("the image can be read");
        chunk
    };
    let all = (0..chunks).step_by(4).map(read);
    all.filter(|chunk| chunk.iter().any(|byte| *byte != 0)).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
