//! What a medium was asked for, and what may be found on it when the power fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use backstop::store::testing::SeededChance;

/// What the medium writes whole or not at all, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;

type Block = Arc<[u8; BLOCK_BYTES]>;

/// The bytes of a medium. Blocks that nobody wrote are zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents(BTreeMap<u64, Block>);

/// Writes and flushes in their order.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    now: Contents,
    events: Vec<Event>,
}

#[derive(Debug, Clone)]
enum Event {
    /// A part of one block.
    Write {
        offset_bytes: u64,
        bytes: Vec<u8>,
    },
    Flush,
}

impl Contents {
    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let start = (offset_bytes % BLOCK_BYTES as u64) as usize;
        let block = self.0.entry(offset_bytes / BLOCK_BYTES as u64);
        let block = block.or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
        Arc::make_mut(block)[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, offset_bytes: u64, out: &mut [u8]) {
        for (offset_bytes, part) in parts(offset_bytes, out.len()) {
            let to = &mut out[part];
            let start = (offset_bytes % BLOCK_BYTES as u64) as usize;
            match self.0.get(&(offset_bytes / BLOCK_BYTES as u64)) {
                Some(block) => to.copy_from_slice(&block[start..start + to.len()]),
                None => to.fill(0),
            }
        }
    }

    /// Makes a file of that length with these bytes.
    pub(crate) fn save(&self, path: &Path, len_bytes: u64) {
        let file = File::create(path).unwrap();
        file.set_len(len_bytes).unwrap();
        for (number, block) in self.0.iter().filter(|(_, b)| b.iter().any(|byte| *byte != 0)) {
            file.write_all_at(&block[..], number * BLOCK_BYTES as u64).unwrap();
        }
    }
}

impl Journal {
    pub(crate) fn write(&mut self, offset_bytes: u64, bytes: &[u8]) {
        for (offset_bytes, part) in parts(offset_bytes, bytes.len()) {
            let bytes = bytes[part].to_vec();
            self.now.write(offset_bytes, &bytes);
            self.events.push(Event::Write { offset_bytes, bytes });
        }
    }

    pub(crate) fn read(&self, offset_bytes: u64, out: &mut [u8]) {
        self.now.read(offset_bytes, out);
    }

    pub(crate) fn flush(&mut self) {
        self.events.push(Event::Flush);
    }

    /// Number of events so far.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Number of flushes from one place on.
    pub(crate) fn flushes_since(&self, place: usize) -> usize {
        self.events[place..].iter().filter(|event| matches!(event, Event::Flush)).count()
    }

    /// What is found if the power fails after `place` events: all that was written before the last
    /// flush, and of what came later whatever the dice let through. Of two writes to one block the
    /// later one stays if both did.
    pub(crate) fn after_crash(&self, place: usize, dice: &SeededChance) -> Contents {
        let events = &self.events[..place];
        let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        let mut found = Contents::default();
        let mut apply = |event: &Event| {
            if let Event::Write { offset_bytes, bytes } = event {
                found.write(*offset_bytes, bytes);
            }
        };
        events[..flushed].iter().for_each(&mut apply);
        let later = &events[flushed..];
        match dice.below(4) {
            0 => {}
            1 => later[..dice.below(later.len() + 1)].iter().for_each(apply),
            // Few are lost, or many.
            kind => {
                let odds = if kind == 2 { 2 } else { 8 };
                later.iter().filter(|_| dice.below(odds) != 0).for_each(apply);
            }
        }
        found
    }
}

/// Cuts a range at the borders of blocks: where each part begins, and which bytes it has.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let room = BLOCK_BYTES - (at % BLOCK_BYTES as u64) as usize;
        let part = done..(done + room).min(len);
        done = part.end;
        (!part.is_empty()).then_some((at, part))
    })
}

#[test]
fn what_was_flushed_is_found_and_the_rest_in_part() {
    let mut journal = Journal::default();
    journal.write(BLOCK_BYTES as u64 - 2, b"flushed");
    journal.flush();
    let tail = 100 * BLOCK_BYTES as u64;
    journal.write(tail, &[1; 2 * BLOCK_BYTES]);
    let mut tails = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let found = journal.after_crash(journal.len(), &SeededChance::new(seed));
        let mut out = [0; 7];
        found.read(BLOCK_BYTES as u64 - 2, &mut out);
        assert_eq!(&out, b"flushed");
        let mut out = vec![9; 2 * BLOCK_BYTES];
        found.read(tail, &mut out);
        tails.insert([out[0], out[BLOCK_BYTES]]);
    }
    assert_eq!(tails.len(), 4, "every part of what was not flushed is found or not");
    assert!(journal.after_crash(0, &SeededChance::new(1)).0.is_empty());
}
