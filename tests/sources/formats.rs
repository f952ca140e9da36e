//! Every kind of image that can be read, one by one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use backstop::ingest::open::ImageFormat;

use crate::check::{check_source, open};
use crate::qemu::{Images, noise, patch};
use crate::skip;

const MIB: u64 = 1 << 20;
/// No multiple of a cluster or of a chunk.
const DISK: u64 = 9 * MIB + 512;

/// Data, compressible and not, on and off the borders of clusters; zeros; discards.
const WRITES: [&str; 10] = [
    "write -s noise 0 1100k",
    "write -P 1 1536k 4k",
    "write -P 2 2000000 70000",
    "write -P 3 4M 2M",
    "write -s noise 6400k 300k",
    "write -z 4128k 512k",
    "write -z -u 5120k 64k",
    "discard 256k 128k",
    "discard 4608k 192k",
    "write -P 4 9M 512",
];

/// Makes an image with `options`, writes to it and compares.
fn check_written(options: &str) {
    let images = Images::new();
    images.noise("noise", 2 << 20);
    let path = images.create("disk.qcow2", DISK, options);
    images.io("disk.qcow2", &WRITES);
    let disk = images.disk("disk.qcow2", "qcow2");
    let image = open(&path);
    assert_eq!((image.format, image.backing_files.len()), (ImageFormat::Qcow2, 0));
    let zero_bytes = check_source(&*image.source, &disk);
    // Most of the disk was never written, whatever the cluster size.
    assert!(zero_bytes >= MIB, "only {zero_bytes} bytes are known to be zero");
}

/// Packs a disk with `options`, then writes over some of it, and compares.
fn check_compressed(options: &str) {
    let images = Images::new();
    let text: String = (0..300_000).map(|n| format!("line {n}\n")).collect();
    let mut disk = text.into_bytes();
    disk.truncate(2 << 20);
    disk.resize(4 << 20, 0);
    disk.extend(noise(1 << 20));
    disk.extend(vec![7; 700 * 512]);
    fs::write(images.path("disk.raw"), &disk).unwrap();
    images.img(&format!("convert -c -f raw -O qcow2 -o {options} disk.raw disk.qcow2"));
    let path = images.path("disk.qcow2");
    // The map of QEMU before 8.2 does not tell which clusters are compressed.
    let checked = images.run("qemu-img", vec!["check", "--output=json", "disk.qcow2"]).stdout;
    let packed = String::from_utf8_lossy(&checked).contains("\"compressed-clusters\": ");
    assert!(packed, "nothing was compressed");
    check_source(&*open(&path).source, &disk);
    images.io("disk.qcow2", &["write -P 9 100000 3000", "write -z 1M 256k"]);
    let disk = images.disk("disk.qcow2", "qcow2");
    check_source(&*open(&path).source, &disk);
}

#[test]
fn version_2_images_read_as_qemu_reads_them() {
    check_written("-o compat=0.10");
}

#[test]
fn version_3_images_read_as_qemu_reads_them() {
    check_written("");
}

#[test]
fn images_of_the_smallest_clusters_read_as_qemu_reads_them() {
    check_written("-o cluster_size=512");
}

#[test]
fn images_of_4_kib_clusters_read_as_qemu_reads_them() {
    check_written("-o cluster_size=4k");
}

#[test]
fn images_of_the_largest_clusters_read_as_qemu_reads_them() {
    check_written("-o cluster_size=2M");
}

#[test]
fn images_with_subclusters_read_as_qemu_reads_them() {
    check_written("-o extended_l2=on");
}

#[test]
fn images_with_the_smallest_subclusters_read_as_qemu_reads_them() {
    check_written("-o extended_l2=on,cluster_size=16k");
}

/// Writes, zeroes and discards of any place and length, in an image and in one on top of it.
#[test]
fn random_histories_read_as_qemu_reads_them() {
    let kinds =
        ["", "-o extended_l2=on,cluster_size=16k", "-o extended_l2=on", "-o cluster_size=1k"];
    let mut state = 7_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % limit
    };
    let mut history = |sectors: u64| {
        let mut one = || {
            let (at, verb) = (below(sectors), below(6));
            let len = (1 + below(300)).min(sectors - at) * 512;
            let verb =
                ["write -P 1", "write -P 2", "write -P 3", "write -z", "write -z -u", "discard"]
                    [verb as usize];
            format!("{verb} {} {len}", at * 512)
        };
        (0..60).map(|_| one()).collect::<Vec<_>>()
    };
    for round in 0..8 {
        let images = Images::new();
        let options = kinds[round % kinds.len()];
        images.create("base.qcow2", 3 * MIB, options);
        let top_size = 2 * MIB + MIB * (round as u64 % 3);
        let top =
            images.create("top.qcow2", top_size, &format!("{options} -b base.qcow2 -F qcow2"));
        for (name, size) in [("base.qcow2", 3 * MIB), ("top.qcow2", top_size)] {
            let commands = history(size / 512);
            images.io(name, &commands.iter().map(String::as_str).collect::<Vec<_>>());
        }
        check_source(&*open(&top).source, &images.disk("top.qcow2", "qcow2"));
    }
}

#[test]
fn images_that_were_preallocated_and_not_written_are_known_to_be_zero() {
    let images = Images::new();
    let path = images.create("disk.qcow2", 8 * MIB, "-o preallocation=metadata");
    images.io("disk.qcow2", &["write -P 5 1M 64k"]);
    let disk = images.disk("disk.qcow2", "qcow2");
    assert_eq!(check_source(&*open(&path).source, &disk), 8 * MIB - (64 << 10));
}

#[test]
fn deflated_images_read_as_what_was_packed() {
    check_compressed("cluster_size=64k");
}

#[test]
fn deflated_images_of_version_2_read_as_what_was_packed() {
    check_compressed("compat=0.10");
}

#[test]
fn deflated_images_of_small_clusters_read_as_what_was_packed() {
    check_compressed("cluster_size=4k");
}

#[test]
fn zstd_images_read_as_what_was_packed() {
    check_compressed("compression_type=zstd");
}

#[test]
fn zstd_images_of_the_largest_clusters_read_as_what_was_packed() {
    check_compressed("compression_type=zstd,cluster_size=2M");
}

#[test]
fn compressed_images_with_subclusters_read_as_what_was_packed() {
    check_compressed("compression_type=zstd,extended_l2=on");
}

#[test]
fn an_internal_snapshot_is_not_what_is_read() {
    let images = Images::new();
    let path = images.create("disk.qcow2", 2 * MIB, "");
    images.io("disk.qcow2", &["write -P 1 0 1M"]);
    images.img("snapshot -c before disk.qcow2");
    images.io("disk.qcow2", &["write -P 2 256k 512k", "write -z 0 64k"]);
    let disk = images.disk("disk.qcow2", "qcow2");
    assert_eq!(disk[300 << 10], 2);
    check_source(&*open(&path).source, &disk);
}

#[test]
fn an_image_that_was_not_closed_properly_is_read() {
    let images = Images::new();
    let path = images.create("disk.qcow2", MIB, "-o lazy_refcounts=on");
    images.io("disk.qcow2", &["write -P 1 0 100k"]);
    let disk = images.disk("disk.qcow2", "qcow2");
    patch(&path, 79, &[1]);
    check_source(&*open(&path).source, &disk);
}

#[test]
fn disks_of_a_sector_and_of_nothing_are_read() {
    let images = Images::new();
    for (size, options) in
        [(0, ""), (512, ""), (512, "-o cluster_size=2M"), (0, "-o cluster_size=512")]
    {
        let path = images.create("disk.qcow2", size, options);
        let disk = images.disk("disk.qcow2", "qcow2");
        assert_eq!(check_source(&*open(&path).source, &disk), size);
    }
}

#[test]
fn a_huge_empty_disk_is_known_to_be_zero_in_few_extents() {
    let images = Images::new();
    let path = images.create("disk.qcow2", 16 << 40, "");
    images.io("disk.qcow2", &["write -P 1 7T 64k"]);
    let image = open(&path);
    let (mut at, mut extents) = (0, 0);
    while at < image.source.size_bytes() {
        at += image.source.extent_at(at).unwrap().len_bytes;
        extents += 1;
    }
    assert!(extents < 300, "{extents} extents");
}

#[test]
fn a_sparse_raw_file_reads_as_itself_and_its_hole_is_known() {
    let images = Images::new();
    let path = images.path("disk.img");
    let file = File::create(&path).unwrap();
    file.write_all_at(&noise(300_000), 0).unwrap();
    file.set_len(7 * MIB + 333).unwrap();
    file.write_all_at(&noise(100_000), 5 * MIB).unwrap();
    let image = open(&path);
    assert_eq!(image.format, ImageFormat::Raw);
    let zero_bytes = check_source(&*image.source, &fs::read(&path).unwrap());
    assert!(zero_bytes > 6 * MIB, "only {zero_bytes} bytes are known to be zero");
}

#[test]
fn a_raw_file_without_holes_or_bytes_reads_as_itself() {
    let images = Images::new();
    for len in [0, 1, 511, 1 << 20, (1 << 20) + 1] {
        let path = images.path("disk");
        fs::write(&path, noise(len)).unwrap();
        assert_eq!(check_source(&*open(&path).source, &noise(len)), 0);
    }
}

#[test]
fn a_block_device_reads_as_the_file_below_it() {
    if !skip::is_root() {
        return skip::skip("a_block_device_reads_as_the_file_below_it", "needs root");
    }
    let images = Images::new();
    let disk = noise(3 << 20);
    fs::write(images.path("disk.raw"), &disk).unwrap();
    let output = images.run("losetup", vec!["--find", "--show", "--read-only", "disk.raw"]);
    let device = String::from_utf8(output.stdout).unwrap();
    let outcome = std::panic::catch_unwind(|| {
        let image = open(device.trim().as_ref());
        assert_eq!(check_source(&*image.source, &disk), 0);
    });
    images.run("losetup", vec!["--detach", device.trim()]);
    outcome.unwrap();
}
