//! The real program, run on repositories of its own: what it prints, and how it exits.

mod attach;
mod attach_loop;
mod backup_image;
mod compare;
mod concurrency;
mod damage;
mod eligibility;
mod engine_commands;
mod errors;
mod forget;
mod help;
mod init;
mod interrupt;
mod keys;
mod list_show;
mod mount;
mod page;
mod prune;
mod rebuild_stats;
mod repair;
mod restore_disk;
mod scrub;

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/program.rs"]
mod support;
