//! What is read of the image, and how long it took.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use backstop::base::limits::CHUNK_BYTES;
use backstop::store::testing::SeededChance;

/// Bytes of one read at random.
pub(crate) const PAGE: usize = 4096;
/// Bytes of one read in order.
const PIECE: usize = 1 << 20;
/// Bytes of one read in order past the page cache, which nobody reads ahead of.
const DIRECT_PIECE: usize = 4 << 20;

/// A way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// All of it, in order.
    InOrder,
    /// All of it, in order, into the reader's own memory: no page cache is filled.
    PastCache,
    /// All of it, in order, for the second time.
    Again,
    /// One page in every chunk with data, in no order, by so many threads.
    AtRandom(usize),
}

impl Work {
    pub(crate) const ALL: [Self; 5] =
        [Self::InOrder, Self::PastCache, Self::Again, Self::AtRandom(1), Self::AtRandom(4)];
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// Bytes read in order, or pages at random.
    pub(crate) amount: f64,
}

/// What all contenders read.
pub(crate) struct Plan {
    pub(crate) image: PathBuf,
    pub(crate) image_bytes: u64,
    /// Where the pages that are read at random begin: one in each chunk that is no hole.
    pub(crate) pages: Vec<u64>,
}

impl Plan {
    pub(crate) fn new(image: &Path, data_chunks: &[u64]) -> Self {
        let chance = SeededChance::new(7);
        let image_bytes = fs::metadata(image).expect("the image").len();
        let mut pages: Vec<_> = data_chunks
            .iter()
            .map(|chunk| {
                let page = chance.below(CHUNK_BYTES / PAGE) * PAGE;
                chunk * CHUNK_BYTES as u64 + page as u64
            })
            .filter(|page| page + PAGE as u64 <= image_bytes)
            .collect();
        for place in (1..pages.len()).rev() {
            pages.swap(place, chance.below(place + 1));
        }
        Self { image: image.to_owned(), image_bytes, pages }
    }

    /// A plan with fewer reads at random, for those who take long.
    pub(crate) fn share(&self, of: usize) -> Self {
        let pages = self.pages.iter().copied().take(self.pages.len() / of).collect();
        Self { image: self.image.clone(), image_bytes: self.image_bytes, pages }
    }
}

/// Reads a file as `work` says, which others serve with the processes `servers`.
pub(crate) fn read_file(path: &Path, work: Work, plan: &Plan, servers: &[u32]) -> Timed {
    if work == Work::Again {
        read_in_order(path);
    }
    let processes: Vec<_> = servers.iter().copied().chain([std::process::id()]).collect();
    match work {
        Work::InOrder | Work::PastCache | Work::Again => {
            let read = if work == Work::PastCache { read_past_cache } else { read_in_order };
            let (timed, bytes) = timed(&processes, || read(path));
            assert_eq!(bytes, plan.image_bytes);
            Timed { amount: bytes as f64, ..timed }
        }
        Work::AtRandom(jobs) => {
            let file = File::open(path).expect("the disk");
            at_random(plan, jobs, &processes, |offset, page| {
                file.read_exact_at(page, offset).expect("the disk can be read");
            })
        }
    }
}

/// Reads the pages of the plan with `read`, and compares them with the image.
pub(crate) fn at_random(
    plan: &Plan,
    jobs: usize,
    processes: &[u32],
    read: impl Fn(u64, &mut [u8]) + Sync,
) -> Timed {
    let mut pages = vec![0; plan.pages.len() * PAGE];
    let share = plan.pages.len().div_ceil(jobs);
    let work = || {
        std::thread::scope(|scope| {
            let shares = plan.pages.chunks(share).zip(pages.chunks_mut(share * PAGE));
            for (offsets, pages) in shares {
                let read = &read;
                scope.spawn(move || {
                    let each = offsets.iter().zip(pages.chunks_mut(PAGE));
                    each.for_each(|(offset, page)| read(*offset, page));
                });
            }
        });
    };
    let (timed, ()) = timed(processes, work);
    let image = File::open(&plan.image).expect("the image");
    let mut expected = [0; PAGE];
    for (offset, page) in plan.pages.iter().zip(pages.chunks(PAGE)) {
        image.read_exact_at(&mut expected, *offset).expect("the image");
        assert!(page == expected, "wrong bytes at {offset}");
    }
    Timed { amount: plan.pages.len() as f64, ..timed }
}

fn read_in_order(path: &Path) -> u64 {
    read_all(File::open(path).expect("the disk"), &mut vec![0; PIECE])
}

fn read_past_cache(path: &Path) -> u64 {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
    let mut buffer = vec![0; DIRECT_PIECE + PAGE];
    let start = buffer.as_ptr().align_offset(PAGE);
    read_all(file.expect("the disk"), &mut buffer[start..start + DIRECT_PIECE])
}

fn read_all(mut file: File, buffer: &mut [u8]) -> u64 {
    let mut bytes = 0;
    loop {
        match file.read(buffer).expect("the disk can be read") {
            0 => return bytes,
            len => bytes += len as u64,
        }
    }
}

/// Runs something and says how long it took, and these processes.
pub(crate) fn timed<T>(processes: &[u32], work: impl FnOnce() -> T) -> (Timed, T) {
    let cpu = || processes.iter().map(|id| cpu_seconds(*id)).sum::<f64>();
    let before = cpu();
    let began = Instant::now();
    let value = work();
    let seconds = began.elapsed().as_secs_f64();
    (Timed { seconds, cpu_seconds: cpu() - before, amount: 0.0 }, value)
}

/// Seconds that a process has run, in it and in the kernel, those of ended threads too.
fn cpu_seconds(process: u32) -> f64 {
    /// The unit of the kernel's text: a hundredth of a second on every machine.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in brackets, may hold anything.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}
