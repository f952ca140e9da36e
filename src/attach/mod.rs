//! One disk of a restore point, at once: over NBD.

pub mod nbd;
