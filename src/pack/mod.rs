//! Packs: built in memory, sealed and published in the background, read by entry.

mod builder;
mod parity;
mod reader;
mod writer;

pub use parity::{bring_back, parity_of};
pub use reader::{
    PackContents, parse_pack, read_entry, read_head, read_pack, read_stored, read_what_can_be,
    scan_entries,
};
pub use writer::{PackSink, PackTotals, PackWriter, PackWriterOptions};
