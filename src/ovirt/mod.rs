//! oVirt, RHV and OLVM: the engine that knows the VMs, and the rules for backing them up.
//!
//! | part | does |
//! |---|---|
//! | [`address`] | hosts, ports, the engine's URL, other ways to hosts |
//! | [`trust`] | certificates and who must have signed them |
//! | [`client`], [`poll`] | requests to the engine, the session around them, and waiting |
//! | [`wire`] | the engine's documents as values |
//! | [`facts`], [`gather`] | everything that decides about a VM; collecting it without a trace |
//! | [`configuration`] | what a restore needs to make a VM again, without secrets |
//! | [`eligibility`] | from facts to findings: pure |
//! | [`mod@backup`] | backups as the engine sees them: begin, wait, finalize, checkpoints |
//! | [`mod@restore`] | new disks, and VMs that get them |
//! | [`ticket`] | image transfers as the engine sees them: begin, keep open, end |
//! | [`transfer`] | the bytes of disks, to and from hosts |
//! | [`probe`], [`check`] | the way to the engine and its hosts, step by step |

pub mod address;
pub mod backup;
pub mod check;
pub mod client;
pub mod configuration;
pub mod eligibility;
pub mod facts;
pub mod gather;
pub mod poll;
pub mod probe;
pub mod restore;
pub mod ticket;
pub mod transfer;
pub mod trust;
pub mod wire;
