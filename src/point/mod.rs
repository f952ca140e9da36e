//! Restore points: their commits, and how people name them.

mod list;
mod selector;

pub use list::{PointEntry, candidates, committed, decision, dropped_points, points};
pub use selector::PointSelector;
