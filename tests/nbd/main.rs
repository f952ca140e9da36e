//! Disks of restore points over NBD: a client of our own that keeps to no rules, and the programs
//! that people use.

mod bench;
mod client;
mod damage;
mod hostile;
mod libnbd;
mod life;
mod protocol;
mod qemu;
mod qmp;
#[path = "../support/repo.rs"]
mod repo;
#[path = "../support/run.rs"]
mod run;
#[path = "../support/skip.rs"]
mod skip;
mod writing;
