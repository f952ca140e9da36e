//! File systems of guests, mounted from restore points.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::{DiskInput, Image};

use crate::Place;
use crate::guest::{
    FileSystem, GuestMount, PARTITION_OFFSET, Tree, assert_holds, build, file_tree, partition,
};
use crate::repo::disk_input;
use crate::run::run;

fn image_input(name: &str, image: &Path, format: ImageFormat) -> DiskInput {
    let opened = open_image(image, Some(format), Backing::Refuse).unwrap();
    DiskInput { image: Image::Source(opened.source), ..disk_input(name, b"") }
}

/// Builds a guest, backs it up raw, as compressed qcow2 and as a partitioned disk, and reads its
/// files from the mount.
fn read_guest(test: &str, kind: FileSystem) {
    let Some(place) = Place::new(test) else { return };
    let tree = file_tree();
    let [image, disk, qcow2] = ["image", "disk", "image.qcow2"].map(|name| place.path(name));
    build(kind, &tree, &image);
    partition(&image, &disk);
    let convert = ["convert", "-f", "raw", "-c", "-O", "qcow2"].map(OsStr::new);
    run("qemu-img", convert.into_iter().chain([image.as_os_str(), qcow2.as_os_str()]));
    let inputs = vec![
        image_input("plain", &image, ImageFormat::Raw),
        image_input("parts", &disk, ImageFormat::Raw),
        image_input("packed", &qcow2, ImageFormat::Qcow2),
    ];
    let point = place.back_up("guest", inputs);
    assert_eq!(point.disks[2].map_root, point.disks[0].map_root, "qcow2 and raw are one disk");
    let server = place.mount();
    let options = format!("loop,{}", kind.read_only_options());
    let plain = server.path("vms/guest/latest/plain.raw");
    check(&plain, &place.path("guest-plain"), &options, &tree);
    let kind_of = run("file", ["-Ls".as_ref(), plain.as_os_str()]).to_lowercase();
    assert!(kind_of.contains(&format!("{kind:?}").to_lowercase()), "{kind_of}");
    let at_offset = format!("{options},offset={PARTITION_OFFSET}");
    let parts = server.path("vms/guest/latest/parts.raw");
    check(&parts, &place.path("guest-parts"), &at_offset, &tree);
    assert!(run("sfdisk", ["-d".as_ref(), parts.as_os_str()]).contains("start=        8192"));
    assert_eq!(server.problems(), [""; 0]);
}

fn check(disk: &Path, dir: &Path, options: &str, tree: &Tree) {
    let mounted = GuestMount::new(disk, dir, options);
    assert_holds(mounted.dir(), tree);
}

#[test]
fn an_ext4_guest_is_read_through_a_loop_mount_whole_and_at_an_offset() {
    let test = "an_ext4_guest_is_read_through_a_loop_mount_whole_and_at_an_offset";
    read_guest(test, FileSystem::Ext4);
}

#[test]
fn an_xfs_guest_is_read_through_a_loop_mount_whole_and_at_an_offset() {
    let test = "an_xfs_guest_is_read_through_a_loop_mount_whole_and_at_an_offset";
    read_guest(test, FileSystem::Xfs);
}

#[test]
fn a_btrfs_guest_is_read_through_a_loop_mount_whole_and_at_an_offset() {
    let test = "a_btrfs_guest_is_read_through_a_loop_mount_whole_and_at_an_offset";
    read_guest(test, FileSystem::Btrfs);
}

/// A loop device, given back when the value is dropped.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        crate::run::attempt("losetup", ["-d", &self.0]);
    }
}

#[test]
fn a_loop_device_over_a_disk_reads_it_and_is_named_when_the_mount_should_end() {
    let name = "a_loop_device_over_a_disk_reads_it_and_is_named_when_the_mount_should_end";
    let Some(place) = Place::new(name) else { return };
    let bytes = crate::repo::noise(6 << 20, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let mut server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    let options = ["-r", "--direct-io=on", "--find", "--show"].map(str::to_owned);
    let said = run("losetup", options.into_iter().chain([disk.display().to_string()]));
    let path = said.trim().to_owned();
    let device = Loop(path.clone());
    assert!(fs::read(&path).unwrap() == bytes);
    server.signal("TERM");
    server.wait_for_log(|log| log.contains("in use by"));
    assert!(server.problems()[0].contains(&path), "{}", server.log());
    drop(device);
    server.signal("TERM");
    assert!(server.wait().success());
}
