//! From a chunk id to the places where the chunk lies.
//!
//! The index is a set of write-once segments. It is a cache, derived from the packs: a segment
//! that is lost or damaged costs duplicates or a rebuild, never data. Opening it costs the same
//! for any number of entries, because a segment is mapped and its pages are checked on use.

pub mod builder;
pub mod lookup;
pub mod many;
pub mod marks;
pub mod merge;
pub mod plan;
pub mod segment;
pub mod union;
pub mod writer;

mod kway;
mod load;
mod page;
mod page_writer;
mod scan;
mod search;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
