//! libnbd's programs as clients.

use std::fs;

use serde_json::Value;

use crate::bench::{Bench, disk_bytes};
use crate::repo::{MIB, noise};
use crate::run::run;

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&run("nbdinfo", args)).unwrap()
}

#[test]
fn nbdinfo_is_told_what_the_disk_is_and_can_do() {
    let bench = Bench::new();
    let server = bench.serve();
    let info = json(&["--json", &server.address().uri()]);
    assert_eq!(info["protocol"], "newstyle-fixed");
    assert_eq!(info["structured"], true);
    let export = &info["exports"][0];
    assert_eq!(export["export-size"], disk_bytes().len());
    for (able, expected) in [
        ("is_read_only", true),
        ("can_multi_conn", true),
        ("can_df", true),
        ("can_cache", true),
        ("can_trim", false),
    ] {
        assert_eq!(export[able], expected, "{able}");
    }
    assert_eq!(export["contexts"][0], "base:allocation");
    let listed = json(&["--json", "--list", &server.address().uri()]);
    assert_eq!(listed["exports"][0]["export-name"], "disk");
    assert!(listed["exports"][0]["description"].as_str().unwrap().contains("VM \"vm\""));
}

#[test]
fn nbdinfo_maps_the_holes_of_the_disk_map() {
    let bench = Bench::new();
    let server = bench.serve();
    let map = json(&["--map", "--json", &server.address().uri()]);
    let found: Vec<_> = map
        .as_array()
        .unwrap()
        .iter()
        .map(|range| (range["length"].as_u64().unwrap(), range["type"].as_u64().unwrap()))
        .collect();
    let mib = MIB as u64;
    let all = [(2 * mib, 0), (3 * mib, 3), (mib, 0), (mib, 3), (mib, 0), (mib, 3), (5000, 0)];
    assert_eq!(found, all);
}

#[test]
fn nbdcopy_copies_over_several_connections_byte_for_byte_both_ways() {
    let bench = Bench::of(noise(40 * MIB + 512, 6));
    let server = bench.serve_writable();
    let (uri, out) = (server.address().uri(), bench.path("out"));
    let path = out.to_str().unwrap();
    run("nbdcopy", ["--connections=4", "--requests=16", &uri, path]);
    assert!(fs::read(&out).unwrap() == bench.bytes);
    let mut other = noise(40 * MIB + 512, 9);
    other[5 * MIB..20 * MIB].fill(0);
    fs::write(&out, &other).unwrap();
    run("nbdcopy", ["--connections=4", "--flush", path, &uri]);
    let again = bench.path("again");
    run("nbdcopy", [&uri, again.to_str().unwrap()]);
    assert!(fs::read(&again).unwrap() == other);
}
