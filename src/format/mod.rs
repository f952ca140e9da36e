//! Bytes to values and back, for every object of a repository. Pure: no I/O, no paths, no clock.

pub mod layout;
