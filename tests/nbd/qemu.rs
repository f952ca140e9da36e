//! QEMU's own programs as clients.

use std::fs;

use serde_json::Value;

use crate::bench::{Bench, disk_bytes};
use crate::repo::{MIB, noise};
use crate::run::run;

fn json(program: &str, args: &[&str]) -> Value {
    serde_json::from_str(&run(program, args)).unwrap()
}

#[test]
fn qemu_img_sees_a_raw_disk_of_the_right_length() {
    let bench = Bench::new();
    let server = bench.serve();
    let info = json("qemu-img", &["info", "--output=json", &server.address().uri()]);
    assert_eq!(info["format"], "raw");
    // QEMU counts in sectors.
    assert_eq!(info["virtual-size"], disk_bytes().len().next_multiple_of(512));
}

#[test]
fn qemu_img_map_shows_the_holes_of_the_disk_map() {
    let bench = Bench::new();
    let server = bench.serve();
    let map = json("qemu-img", &["map", "--output=json", &server.address().uri()]);
    let holes = map.as_array().unwrap().iter().filter(|range| range["data"] == false);
    let holes: Vec<_> = holes
        .map(|range| (range["start"].as_u64().unwrap(), range["length"].as_u64().unwrap()))
        // QEMU fills the last sector up with a hole of its own.
        .filter(|(start, _)| *start < disk_bytes().len() as u64)
        .collect();
    let mib = MIB as u64;
    assert_eq!(holes, [(2 * mib, 3 * mib), (6 * mib, mib), (8 * mib, mib)]);
}

#[test]
fn qemu_img_copies_in_parallel_and_out_of_order_byte_for_byte() {
    let bench = Bench::of(noise(40 * MIB, 6));
    let server = bench.serve();
    let out = bench.path("out");
    let uri = server.address().uri();
    let args = ["convert", "-O", "raw", "-m", "16", "-W", &uri, out.to_str().unwrap()];
    run("qemu-img", args);
    assert!(fs::read(&out).unwrap() == bench.bytes);
    run("qemu-img", ["compare", "-f", "raw", "-F", "raw", &uri, out.to_str().unwrap()]);
}

#[test]
fn qemu_io_writes_discards_and_flushes() {
    let bench = Bench::new();
    let server = bench.serve_writable();
    let uri = server.address().uri();
    let io = |commands: &[&str]| {
        let args = ["-f", "raw"].into_iter();
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        run("qemu-io", args.chain(commands).chain([uri.as_str()]))
    };
    io(&["write -P 7 4k 1M", "write -f -P 8 5M 64k", "write -z -u 0 4k", "discard 7M 1M", "flush"]);
    let said = io(&[
        "read -P 7 4k 1M",
        "read -P 8 5M 64k",
        "read -P 0 0 4k",
        "read -P 0 7M 1M",
        "aio_write -P 9 2M 1M",
        "aio_write -P 10 3M 1M",
        "aio_flush",
        "read -P 9 2M 1M",
        "read -P 10 3M 1M",
    ]);
    assert!(!said.contains("verification failed"), "{said}");
    let mut model = disk_bytes();
    model[..4096].fill(0);
    model[4096..4096 + MIB].fill(7);
    model[2 * MIB..3 * MIB].fill(9);
    model[3 * MIB..4 * MIB].fill(10);
    model[5 * MIB..5 * MIB + 65536].fill(8);
    model[7 * MIB..8 * MIB].fill(0);
    let out = bench.path("out");
    run("nbdcopy", [&uri, out.to_str().unwrap()]);
    assert!(fs::read(&out).unwrap() == model);
}

#[test]
fn qemu_img_writes_a_whole_image_into_a_writable_disk() {
    let bench = Bench::of(vec![0; 12 * MIB]);
    let server = bench.serve_writable();
    let image = bench.path("image");
    let mut bytes = noise(12 * MIB, 8);
    bytes[3 * MIB..7 * MIB].fill(0);
    fs::write(&image, &bytes).unwrap();
    let uri = server.address().uri();
    let path = image.to_str().unwrap();
    run("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", "-m", "8", "-W", path, &uri]);
    run("qemu-img", ["compare", "-f", "raw", "-F", "raw", path, &uri]);
}
