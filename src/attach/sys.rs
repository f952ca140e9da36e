//! The calls of the operating system that loop devices take. `linux/loop.h` has the numbers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

pub(super) const LO_FLAGS_READ_ONLY: u32 = 1;
pub(super) const LO_FLAGS_PARTSCAN: u32 = 8;
pub(super) const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Longest name that a loop device keeps, with the NUL behind it.
pub(super) const NAME_BYTES: usize = 64;

/// `struct loop_info64`
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_BYTES],
    crypt_name: [u8; NAME_BYTES],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

impl LoopInfo {
    const fn new(flags: u32, file_name: [u8; NAME_BYTES]) -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name,
            crypt_name: [0; NAME_BYTES],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The number of a loop device that nobody has; another may take it meanwhile.
pub(super) fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: the call takes no argument; the descriptor is open while `control` is borrowed.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Puts a loop device over a file. EBUSY if it has one.
pub(super) fn configure_loop(
    device: &File,
    file: &File,
    flags: u32,
    name: [u8; NAME_BYTES],
) -> io::Result<()> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let info = LoopInfo::new(flags, name);
    let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: `config` has the layout that the kernel wants and lives until the call returns; both
    // descriptors are open for as long as their files are borrowed.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })
}

/// The name that a loop device keeps of what it lies over. ENXIO if that is nothing.
pub(super) fn loop_name(device: &File) -> io::Result<[u8; NAME_BYTES]> {
    let mut info = LoopInfo::new(0, [0; NAME_BYTES]);
    // SAFETY: `info` has the layout that the kernel fills, every value of which is valid, and lives
    // until the call returns; the descriptor is open while `device` is borrowed.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) })?;
    Ok(info.file_name)
}

/// Takes the file away from a loop device, at its last close at the latest.
pub(super) fn clear_loop(device: &File) -> io::Result<()> {
    // SAFETY: the call takes no argument; the descriptor is open while `device` is borrowed.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks a process to end.
pub(super) fn terminate(process: u32) -> io::Result<()> {
    let id = libc::pid_t::try_from(process).map_err(|_| io::ErrorKind::InvalidInput)?;
    if id <= 1 {
        // Those are not processes, but groups of them, or everybody's.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: numbers only.
    check(unsafe { libc::kill(id, libc::SIGTERM) })
}

/// A device's number as the kernel writes it in `/sys` and `/proc`: `major:minor`.
pub(super) fn device_number(number: u64) -> String {
    format!("{}:{}", libc::major(number), libc::minor(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernel_has_them() {
        assert_eq!((size_of::<LoopInfo>(), size_of::<LoopConfig>()), (232, 304));
    }
}
