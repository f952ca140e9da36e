//! Image sources against QEMU's own tools: what `qemu-img convert` makes of an image is what a
//! source must read from it.

mod chains;
mod check;
mod formats;
mod hostile;
mod qemu;
mod refusals;
#[path = "../support/skip.rs"]
mod skip;
