//! What must not hurt a mount: crowds, media that hang or go away, prunes, and a kill.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::clock::UtcTime;
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Forgotten;
use backstop::prune::{PruneOptions, prune};
use backstop::store::Published;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::run::{attempt, run};
use crate::server::{Server, is_mounted, wait_until};

/// How long a read may take that waits for nothing.
const SOON: Duration = Duration::from_secs(20);
/// Bytes that readers read at once while the server is killed.
const PIECE: usize = 64 << 10;
/// For how long the tree does not try again what failed, and a little more.
const FAILURE_FORGOTTEN: Duration = Duration::from_millis(5_500);

/// Lets the kernel forget what it has of a file.
fn forget_pages(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: no pointers; the descriptor is open.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0);
}

/// Bytes that do not come from pages that the kernel has.
fn read_cold(disk: &Path, offset: usize, len: usize) -> io::Result<Vec<u8>> {
    let file = File::open(disk)?;
    forget_pages(&file);
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset as u64)?;
    Ok(bytes)
}

fn forget(place: &Place, point: &PointRecord) {
    let tombstone = Forgotten { point: point.id, time: UtcTime::EPOCH }.encode();
    let created = place.repo.store().create(&ObjectName::forgotten(point.id), &tombstone);
    assert_eq!(created.unwrap(), Published::Created);
}

#[test]
fn ten_thousand_opens_at_once_are_served_and_forgotten() {
    let Some(place) = Place::new("ten_thousand_opens_at_once_are_served_and_forgotten") else {
        return;
    };
    let limit = libc::rlimit { rlim_cur: 12_000, rlim_max: 12_000 };
    // SAFETY: the value lives longer than the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let bytes = noise(2 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let mut server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    let files: Vec<_> = (0..10_000).map(|_| File::open(&disk).unwrap()).collect();
    for (n, file) in files.iter().enumerate() {
        let offset = n * 4801 % (bytes.len() - 100);
        let mut got = [0; 100];
        file.read_exact_at(&mut got, offset as u64).unwrap();
        assert!(got == bytes[offset..offset + 100], "file {n}");
    }
    // All of them read one restore point: one registration beside that of the mount.
    assert_eq!(place.repo.store().list(Area::Sessions).unwrap().len(), 2);
    drop(files);
    wait_until("all to be closed", || place.repo.store().list(Area::Sessions).unwrap().len() == 1);
    server.signal("TERM");
    assert!(server.wait().success());
    assert_eq!(server.log(), "ready\nended\n");
}

#[test]
fn two_hundred_readers_at_once_all_read_the_same_disk() {
    let Some(place) = Place::new("two_hundred_readers_at_once_all_read_the_same_disk") else {
        return;
    };
    let bytes = noise(24 * MIB + 4096, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    thread::scope(|scope| {
        for reader in 0..200usize {
            let (disk, bytes) = (&disk, &bytes);
            scope.spawn(move || {
                // Half of them go past the pages that the kernel keeps.
                let direct = if reader % 2 == 0 { libc::O_DIRECT } else { 0 };
                let file = OpenOptions::new().read(true).custom_flags(direct).open(disk).unwrap();
                let mut buffer = vec![0; 2 * 4096 + 300_000];
                let aligned = buffer.as_ptr().align_offset(4096);
                for n in 0..20 {
                    let page = (n * 7919 + reader * 104_729) % (bytes.len() / 4096);
                    let len = [4096, 69 * 4096][n % 2].min(bytes.len() - page * 4096);
                    let got = &mut buffer[aligned..aligned + len];
                    file.read_exact_at(got, (page * 4096) as u64).unwrap();
                    assert!(*got == bytes[page * 4096..][..len], "reader {reader}, read {n}");
                }
            });
        }
    });
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn a_repository_that_goes_away_is_an_error_and_comes_back_without_a_new_mount() {
    let name = "a_repository_that_goes_away_is_an_error_and_comes_back_without_a_new_mount";
    let Some(place) = Place::new(name) else { return };
    let disks = [noise(3 * MIB, 1), noise(3 * MIB, 2)];
    place.back_up("one", vec![disk_input("sda", &disks[0])]);
    place.back_up("two", vec![disk_input("sda", &disks[1])]);
    let mut server = place.mount();
    let [one, two] = ["one", "two"].map(|vm| server.path(&format!("vms/{vm}/latest/sda.raw")));
    assert!(read_cold(&one, 0, 4096).unwrap() == disks[0][..4096]);
    let file = File::open(&two).unwrap();
    let (here, away) = (place.path("repo"), place.path("away"));
    fs::rename(&here, &away).unwrap();
    let began = Instant::now();
    let mut page = [0; 4096];
    let error = file.read_exact_at(&mut page, MIB as u64).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    // What is open of the first disk's pack may go on; whatever comes of it is right.
    if let Ok(bytes) = read_cold(&one, 2 * MIB, 4096) {
        assert!(bytes == disks[0][2 * MIB..2 * MIB + 4096]);
    }
    // The listing may be there or not, but it is not waited for.
    drop(fs::read_dir(server.path("vms")));
    assert!(began.elapsed() < SOON);
    let problems = server.problems();
    assert!(
        problems.iter().any(|p| p.contains("\"two\"") && p.contains("\"sda\"")),
        "{problems:?}"
    );
    fs::rename(&away, &here).unwrap();
    thread::sleep(FAILURE_FORGOTTEN);
    assert!(fs::read(&two).unwrap() == disks[1]);
    drop(file);
    fs::rename(&here, &away).unwrap();
    wait_until("the mount to end without its repository", || {
        server.signal("TERM");
        thread::sleep(Duration::from_millis(50));
        !is_mounted(&place.mount_dir())
    });
    server.wait();
}

#[test]
fn prunes_that_move_what_is_read_do_not_hurt_readers() {
    let Some(place) = Place::new("prunes_that_move_what_is_read_do_not_hurt_readers") else {
        return;
    };
    let bytes = noise(6 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    let over = AtomicBool::new(false);
    let moved = thread::scope(|scope| {
        for reader in 0..3 {
            let (disk, bytes, over) = (&disk, &bytes, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let offset = reader * MIB;
                    let got = read_cold(disk, offset, bytes.len() - offset).unwrap();
                    assert!(got == bytes[offset..]);
                }
            });
        }
        let mut moved = 0;
        for n in 0..6 {
            // Shares packs with what is read, and goes: the rest of those packs is written anew.
            let mut more = bytes.clone();
            more[(n % 6) * MIB..][..MIB].copy_from_slice(&noise(MIB, 10 + n as u64));
            let point = place.back_up("other", vec![disk_input("d", &more)]);
            forget(&place, &point);
            let options = PruneOptions {
                dry_run: false,
                wait: Duration::from_secs(1),
                live_percent: 100,
                cancel: Cancel::default(),
            };
            moved += prune(&place.repo, &options).unwrap().deleted_packs;
        }
        over.store(true, Ordering::Relaxed);
        moved
    });
    assert!(moved > 0, "the prunes did something");
    assert!(read_cold(&disk, 0, bytes.len()).unwrap() == bytes);
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn a_medium_that_hangs_holds_up_no_read_of_another_pack() {
    let Some(place) = Place::new("a_medium_that_hangs_holds_up_no_read_of_another_pack") else {
        return;
    };
    let bytes = noise(8 * MIB, 1);
    place.back_up("stuck", vec![disk_input("sda", &bytes)]);
    let stuck = packs(&place.path("repo/packs"));
    place.back_up("free", vec![disk_input("sda", &noise(4 * MIB, 2))]);
    let mut server = place.mount();
    let disk = server.path("vms/stuck/latest/sda.raw");
    // Brings in the disk map, so that only the bytes of the disk are stuck.
    let files: Vec<_> = (0..6).map(|_| File::open(&disk).unwrap()).collect();
    assert!(disk.metadata().unwrap().len() == bytes.len() as u64);
    // Opening a pipe that nobody writes waits, as a server of files does that is gone.
    let pack = stuck.iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    fs::remove_file(pack).unwrap();
    run("mkfifo", [pack]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(n, file)| {
                scope.spawn(move || {
                    file.read_exact_at(&mut [0; 4096], (n * MIB + 8192) as u64).unwrap_err()
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        assert!(waiting.iter().all(|reader| !reader.is_finished()), "they wait");
        let vms = server.path("vms");
        let free = scope.spawn(move || {
            assert_eq!(fs::read_dir(&vms).unwrap().count(), 2);
            read_cold(&vms.join("free/latest/sda.raw"), 0, 4 * MIB).unwrap()
        });
        let began = Instant::now();
        while !free.is_finished() && began.elapsed() < SOON {
            thread::sleep(Duration::from_millis(10));
        }
        if !free.is_finished() {
            // Or else everybody waits for ever, this test too.
            server.kill();
        }
        assert!(free.join().unwrap() == noise(4 * MIB, 2));
        // The medium comes back, with nothing that can be read.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let nonblock = libc::O_NONBLOCK;
                let pipe = OpenOptions::new().write(true).custom_flags(nonblock).open(pack);
                thread::sleep(Duration::from_millis(20));
                drop(pipe);
            }
        });
        for reader in waiting {
            assert_eq!(reader.join().unwrap().raw_os_error(), Some(libc::EIO));
        }
        over.store(true, Ordering::Relaxed);
    });
    let problems = server.problems();
    assert!(problems.iter().all(|problem| problem.contains("\"stuck\"")), "{problems:?}");
    assert!(!problems.is_empty());
}

/// All packs.
pub(crate) fn packs(dir: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    below.flat_map(|path| if path.is_dir() { packs(&path) } else { vec![path] }).collect()
}

#[test]
fn a_kill_ends_every_read_with_an_error_and_loop_devices_can_be_given_back() {
    let name = "a_kill_ends_every_read_with_an_error_and_loop_devices_can_be_given_back";
    let Some(place) = Place::new(name) else { return };
    let bytes = noise(16 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let mut server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    let options = ["-r", "--direct-io=on", "--find", "--show"].map(str::to_owned);
    let said = run("losetup", options.into_iter().chain([disk.display().to_string()]));
    let device = LoopDevice(said.trim().to_owned());
    let files: Vec<_> = (0..8).map(|_| File::open(&disk).unwrap()).collect();
    thread::scope(|scope| {
        let readers: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(n, file)| {
                let bytes = &bytes;
                scope.spawn(move || {
                    let mut got = vec![0; PIECE];
                    for at in (n..).map(|n| n * PIECE % bytes.len()) {
                        forget_pages(file);
                        if let Err(error) = file.read_exact_at(&mut got, at as u64) {
                            return error;
                        }
                        assert!(got == bytes[at..at + PIECE]);
                    }
                    unreachable!("the offsets never end")
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        server.kill();
        let began = Instant::now();
        for reader in readers {
            let error = reader.join().unwrap().raw_os_error();
            let gone = [libc::ENOTCONN, libc::ECONNABORTED, libc::EIO].map(Some);
            assert!(gone.contains(&error), "{error:?}");
        }
        assert!(began.elapsed() < SOON);
    });
    let device_read = File::open(&device.0).unwrap().read_exact_at(&mut [0; 4096], 8 << 20);
    assert_eq!(device_read.unwrap_err().raw_os_error(), Some(libc::EIO));
    drop((files, device));
    let next = Server::mount(&place.path("repo"), &place.mount_dir());
    assert!(fs::read(next.path("vms/vm/latest/sda.raw")).unwrap() == bytes);
}

/// A loop device, given back when the value is dropped.
struct LoopDevice(String);

impl Drop for LoopDevice {
    fn drop(&mut self) {
        attempt("losetup", ["-d", &self.0]);
    }
}
