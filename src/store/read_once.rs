//! Takes what was read once out of the page cache again.
//!
//! A backup reads a disk, a scrub reads packs, and nobody on this machine need want the same bytes
//! soon. Kept in memory, they push out what others use. But pages that were there before are
//! somebody's. So the kernel is asked what it has of a part of a file before any of that is read,
//! and well ahead of its own read-ahead; what was not there is given up some time later. Where it
//! does not say, nothing is given up.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::store::sys;

/// Bytes of a file that the kernel is asked about at once; more than it reads ahead by itself.
const PART_BYTES: u64 = 32 << 20;
/// What is given up or left as one: a multiple of the longest pieces that page caches have, mostly.
const UNIT_BYTES: u64 = 1 << 20;
const UNITS: u64 = PART_BYTES / UNIT_BYTES;
/// Bytes read that may lie in parts which were not given up yet.
const KEPT_BYTES: u64 = 128 << 20;
/// Parts at most, whatever was read in them. Each keeps its file open.
const KEPT_PARTS: usize = 64;

/// Parts of files that are being read, by any number of threads. Dropping it gives all of them up.
#[derive(Debug, Default)]
pub struct ReadOnce {
    parts: Mutex<VecDeque<Part>>,
}

/// A part of a file. Dropping it gives up what was not cached before.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    number: u64,
    read_bytes: u64,
    /// A bit for each unit: whether some of it was in the page cache before.
    was_cached: u32,
}

impl ReadOnce {
    /// To be called before `len_bytes` bytes at `offset_bytes` of `file` are read.
    pub(crate) fn before_reading(&self, file: &Arc<File>, offset_bytes: u64, len_bytes: usize) {
        let last_byte = offset_bytes.saturating_add((len_bytes as u64).saturating_sub(1));
        let (first, last) = (offset_bytes / PART_BYTES, last_byte / PART_BYTES);
        let mut parts = lock(&self.parts);
        // The part that follows is what the kernel may read ahead.
        for number in first..=last + 1 {
            if !parts.iter().any(|part| part.is(file, number)) {
                parts.push_back(Part::look_at(file, number));
            }
        }
        if let Some(part) = parts.iter_mut().find(|part| part.is(file, last)) {
            part.read_bytes += len_bytes as u64;
        }
        let mut read_bytes: u64 = parts.iter().map(|part| part.read_bytes).sum();
        let mut done = Vec::new();
        while (read_bytes > KEPT_BYTES || parts.len() > KEPT_PARTS)
            && let Some(part) = parts.pop_front()
        {
            read_bytes -= part.read_bytes;
            done.push(part);
        }
        // Giving up takes a while, and other threads need not wait for it.
        drop(parts);
        drop(done);
    }
}

impl Part {
    fn look_at(file: &Arc<File>, number: u64) -> Self {
        let was_cached = units_in_cache(file, number * PART_BYTES);
        Self { file: Arc::clone(file), number, read_bytes: 0, was_cached }
    }

    fn is(&self, file: &Arc<File>, number: u64) -> bool {
        self.number == number && Arc::ptr_eq(&self.file, file)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let start = self.number * PART_BYTES;
        let is_ours = |unit: &u64| self.was_cached & (1 << unit) == 0;
        let mut unit = 0;
        // Runs of units, because a page cache keeps a piece of which only a part is given up.
        while unit < UNITS {
            let run = (unit..UNITS).take_while(is_ours).count() as u64;
            if run > 0 {
                let (from, len) = (start + unit * UNIT_BYTES, run * UNIT_BYTES);
                sys::forget_pages(&self.file, from, len);
            }
            unit += run + 1;
        }
    }
}

/// A bit for each unit of the part at `start`: whether some of it is in the page cache, or may be.
fn units_in_cache(file: &File, start: u64) -> u32 {
    // Nearly always the answer for all is the answer for each.
    match sys::cached_pages(file, start, PART_BYTES) {
        Ok(0) => return 0,
        Ok(pages) if pages * sys::page_bytes() >= PART_BYTES => return u32::MAX,
        Ok(_) => {}
        Err(_) => return u32::MAX,
    }
    let is_cached = |unit: &u64| {
        let pages = sys::cached_pages(file, start + unit * UNIT_BYTES, UNIT_BYTES);
        pages.map_or(true, |pages| pages > 0)
    };
    (0..UNITS).filter(is_cached).fold(0, |bits, unit| bits | 1 << unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    const MIB: u64 = 1 << 20;

    /// A file of so many MiB of which nothing is cached; none where that cannot be had, as in
    /// memory.
    fn cold_file(mib: u64) -> Option<Arc<File>> {
        let file = tempfile::tempfile().unwrap();
        (0..mib).for_each(|n| file.write_all_at(&[7; MIB as usize], n * MIB).unwrap());
        file.sync_all().unwrap();
        sys::forget_pages(&file, 0, 0);
        let is_cold = sys::cached_pages(&file, 0, mib * MIB).is_ok_and(|pages| pages == 0);
        if !is_cold {
            eprintln!("skipped: pages of temporary files cannot be given up or asked for here");
        }
        is_cold.then(|| Arc::new(file))
    }

    fn read(once: &ReadOnce, file: &Arc<File>, from_mib: u64, to_mib: u64) {
        let mut buffer = vec![0; MIB as usize];
        for at in (from_mib..to_mib).map(|n| n * MIB) {
            once.before_reading(file, at, buffer.len());
            file.read_exact_at(&mut buffer, at).unwrap();
        }
    }

    fn cached_mib(file: &File, from_mib: u64, to_mib: u64) -> f64 {
        let pages = sys::cached_pages(file, from_mib * MIB, (to_mib - from_mib) * MIB).unwrap();
        (pages * sys::page_bytes()) as f64 / MIB as f64
    }

    #[test]
    fn what_was_read_once_is_given_up_and_what_was_there_before_is_not() {
        let Some(file) = cold_file(80) else { return };
        // Somebody else reads around: as much as the kernel makes of it stays.
        let mut buffer = vec![0; 4 * MIB as usize];
        file.read_exact_at(&mut buffer, 40 * MIB).unwrap();
        let before: Vec<f64> = (0..80).map(|n| cached_mib(&file, n, n + 1)).collect();
        assert!(before[40..44].iter().all(|mib| *mib == 1.0), "{before:?}");
        let once = ReadOnce::default();
        read(&once, &file, 0, 80);
        assert!(cached_mib(&file, 0, 80) > 70.0);
        drop(once);
        for (n, before) in before.iter().enumerate() {
            let after = cached_mib(&file, n as u64, n as u64 + 1);
            match *before > 0.0 {
                true => assert!(after >= *before, "{n}: {before} MiB, then {after}"),
                false => assert!(after == 0.0, "{n}: {after} MiB are left"),
            }
        }
    }

    #[test]
    fn pages_are_given_up_behind_the_reader_and_not_only_at_the_end() {
        let Some(file) = cold_file(260) else { return };
        let once = ReadOnce::default();
        read(&once, &file, 0, 260);
        assert_eq!(cached_mib(&file, 0, 100), 0.0);
        // The last of it is still being read.
        assert!(cached_mib(&file, 230, 260) > 29.0);
    }

    #[test]
    fn many_files_read_here_and_there_keep_few_of_them_open() {
        let files: Vec<_> = (0..80).filter_map(|_| cold_file(1)).collect();
        let once = ReadOnce::default();
        files.iter().for_each(|file| read(&once, file, 0, 1));
        assert!(lock(&once.parts).len() <= KEPT_PARTS);
        drop(once);
        assert!(files.iter().all(|file| Arc::strong_count(file) == 1));
        assert!(files.iter().all(|file| cached_mib(file, 0, 1) == 0.0));
    }

    #[test]
    fn a_file_that_says_nothing_keeps_its_pages() {
        let mut options = File::options();
        let options = options.read(true).custom_flags(libc::O_PATH);
        let silent = options.open("/proc/self/exe").unwrap();
        assert_eq!(units_in_cache(&silent, 0), u32::MAX);
    }
}
