//! However many reads a medium holds up, everything else is answered.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backstop::vfs::OverlayOptions;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::robust::packs;
use crate::server::{Server, Way, is_mounted, wait_until};

/// More than threads of the mount receive requests, and than the kernel sends at once by default.
const READERS: usize = 200;
/// Bytes between two readers: no two want the same slice.
const APART: usize = 128 << 10;
/// How long anything may take that waits for nothing, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A mount of two VMs, `stuck` and `free`, and readers of the first who wait for its pack.
struct Stall {
    place: Place,
    server: Server,
    stuck: Vec<u8>,
    free: Vec<u8>,
    readers: Vec<JoinHandle<Vec<u8>>>,
}

impl Stall {
    fn new(test: &str, is_writable: bool) -> Option<Self> {
        let place = Place::new(test)?;
        let (stuck, free) = (noise(READERS * APART, 1), noise(9 * MIB, 2));
        place.back_up("stuck", vec![disk_input("sda", &stuck)]);
        let packs = packs(&place.path("repo/packs"));
        let held = packs.into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
        place.back_up("free", vec![disk_input("sda", &free)]);
        fs::create_dir(place.path("overlay")).unwrap();
        let overlay = OverlayOptions { dir: place.path("overlay"), limit_bytes: None, keep: true };
        let way = Way {
            held: Some((held, place.path("over"))),
            overlay: is_writable.then_some(overlay),
            ..Way::default()
        };
        let server = Server::mount_as(&place.path("repo"), &place.mount_dir(), way);
        Some(Self { place, server, stuck, free, readers: Vec::new() })
    }

    fn disk(&self, vm: &str) -> PathBuf {
        self.server.path(&format!("vms/{vm}/latest/sda.raw"))
    }

    /// Lets readers come until all of them wait, each with a file of its own; half of them past the
    /// page cache.
    fn begin(&mut self) {
        let disk = self.disk("stuck");
        let read = |reader: usize| {
            let direct = if reader.is_multiple_of(2) { libc::O_DIRECT } else { 0 };
            let file = OpenOptions::new().read(true).custom_flags(direct).open(&disk).unwrap();
            thread::spawn(move || {
                let mut buffer = vec![0; 3 * 4096];
                let start = buffer.as_ptr().align_offset(4096);
                let page = &mut buffer[start..start + 4096];
                file.read_exact_at(page, (reader * APART) as u64).unwrap();
                page.to_vec()
            })
        };
        self.readers = (0..READERS).map(read).collect();
        let began = Instant::now();
        while self.server.held() < READERS && began.elapsed() < SOON {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(self.readers.iter().all(|reader| !reader.is_finished()), "they wait");
    }

    /// What `act` gives, which must not wait for anything. If it does, the mount is killed, as
    /// nobody else would ever end that.
    fn at_once<T: Send + 'static>(
        &mut self,
        what: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (sender, came) = channel();
        thread::spawn(move || sender.send(act()));
        came.recv_timeout(SOON).unwrap_or_else(|_| {
            let held = self.server.held();
            self.server.kill();
            panic!("{what} waits behind {held} reads that are held up");
        })
    }

    fn end(&mut self) {
        fs::write(self.place.path("over"), "").unwrap();
        for (reader, thread) in self.readers.drain(..).enumerate() {
            let page = thread.join().unwrap();
            assert!(page == self.stuck[reader * APART..][..4096], "reader {reader}");
        }
        assert_eq!(self.server.problems(), [""; 0]);
    }
}

#[test]
fn two_hundred_reads_that_are_held_up_stop_no_other_request_and_end_with_the_right_bytes() {
    let name =
        "two_hundred_reads_that_are_held_up_stop_no_other_request_and_end_with_the_right_bytes";
    let Some(mut stall) = Stall::new(name, false) else { return };
    stall.begin();
    let (vms, free) = (stall.server.path("vms"), stall.disk("free"));
    let names = stall.at_once("a listing", move || fs::read_dir(&vms).unwrap().count());
    assert_eq!(names, 2);
    let stuck = stall.disk("stuck");
    let len = stall.at_once("stat", move || stuck.metadata().unwrap().len());
    assert_eq!(len, stall.stuck.len() as u64);
    let bytes = stall.at_once("a read in order", move || fs::read(&free).unwrap());
    assert!(bytes == stall.free);
    assert_eq!(stall.server.held(), READERS, "all of them wait in the medium");
    stall.end();
}

#[test]
fn writes_and_syncs_do_not_wait_for_reads_that_are_held_up() {
    let name = "writes_and_syncs_do_not_wait_for_reads_that_are_held_up";
    let Some(mut stall) = Stall::new(name, true) else { return };
    stall.begin();
    let free = stall.disk("free");
    let written = noise(3 * MIB, 3);
    let bytes = written.clone();
    let read = stall.at_once("a write", move || {
        let file = OpenOptions::new().read(true).write(true).open(&free).unwrap();
        file.write_all_at(&bytes, 4096).unwrap();
        file.sync_all().unwrap();
        let mut read = vec![0; bytes.len()];
        file.read_exact_at(&mut read, 4096).unwrap();
        read
    });
    assert!(read == written);
    stall.end();
}

#[test]
fn a_mount_ends_though_reads_are_held_up_once_they_no_longer_are() {
    let name = "a_mount_ends_though_reads_are_held_up_once_they_no_longer_are";
    let Some(mut stall) = Stall::new(name, false) else { return };
    stall.begin();
    stall.server.signal("TERM");
    stall.server.wait_for_log(|log| log.contains("in use"));
    stall.server.signal("TERM");
    let dir = stall.place.mount_dir();
    wait_until("the mount to be out of sight", || !is_mounted(&dir));
    fs::write(stall.place.path("over"), "").unwrap();
    stall.readers.drain(..).for_each(|thread| assert_eq!(thread.join().unwrap().len(), 4096));
    assert!(stall.server.wait().success());
    assert!(stall.server.log().ends_with("ended\n"), "{}", stall.server.log());
}

#[test]
fn a_third_signal_ends_a_mount_whose_reads_are_held_up() {
    let name = "a_third_signal_ends_a_mount_whose_reads_are_held_up";
    let Some(mut stall) = Stall::new(name, false) else { return };
    stall.begin();
    stall.server.signal("TERM");
    stall.server.wait_for_log(|log| log.contains("in use"));
    stall.server.signal("TERM");
    let dir = stall.place.mount_dir();
    wait_until("the mount to be out of sight", || !is_mounted(&dir));
    stall.server.signal("TERM");
    assert!(stall.server.wait().success());
    assert!(stall.server.log().contains("failed: Cancelled"), "{}", stall.server.log());
    assert!(stall.readers.drain(..).all(|thread| thread.join().is_err()), "no read succeeds");
}
