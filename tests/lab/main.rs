//! The product on an oVirt in small: the real transfer daemon, real QEMU exports and a simulated
//! engine (`tools/ovirt-lab`). Every test starts a lab of its own, which ends with the test.

mod backup;
mod eligibility;
mod engine;
mod export;
mod faults;
mod kills;
mod lab;
mod restore;
mod restore_vm;
mod secrets;
mod selftest;
mod transfer;
mod truth;
mod vm;

#[path = "../support/run.rs"]
mod run;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/program.rs"]
mod support;
