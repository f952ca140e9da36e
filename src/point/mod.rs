//! Restore points: their commits, and how people name them.

mod catalogue;
mod list;
mod selector;

pub use catalogue::{each_catalogue, with_catalogue};
pub use list::{
    Commits, PointEntry, Points, ReadDecision, candidates, committed, decision, decode, read_bytes,
    sort,
};
pub use selector::PointSelector;
