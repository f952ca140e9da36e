//! Plain values that every other module speaks in: ids, units, verified bytes, time, limits.
//!
//! Nothing here does I/O or decides anything.

pub mod aligned;
pub mod cache;
pub mod cancel;
pub mod chance;
pub mod clock;
pub mod hash;
pub mod id;
pub mod limits;
pub mod pack_set;
pub mod secret;
pub mod sync;
pub mod units;
pub mod verified;
pub mod zone;
