//! The proving machines: a fault at every place, and what must hold after each.
//!
//! Each has a short run, which is a test like any other, and a long one by `tools/machines`.
//! `docs/durability.md` has the figures of the long runs.

mod acts;
mod errors;
mod filesystems;
mod full;
mod history;
mod interleave;
mod kill;
mod onlooker;
mod power;
mod preload;
mod rows;
mod scale;
mod soak;
mod stage;
mod steps;
mod told;

#[path = "../support/program.rs"]
mod program;
#[path = "../support/repo.rs"]
mod repo;
#[path = "../support/run.rs"]
mod run;
#[path = "../support/skip.rs"]
mod skip;
