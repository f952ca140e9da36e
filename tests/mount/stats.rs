//! What readers have cost, as the mount shows it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::server::{Server, Way};

fn stats(server: &Server) -> serde_json::Value {
    serde_json::from_slice(&fs::read(server.path(".backstop/stats.json")).unwrap()).unwrap()
}

#[test]
fn the_file_of_stats_counts_what_readers_cost_and_is_always_new() {
    let Some(place) = Place::new("the_file_of_stats_counts_what_readers_cost_and_is_always_new")
    else {
        return;
    };
    let bytes = noise(8 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let way = Way { stats: true, ..Way::default() };
    let server = Server::mount_as(&place.path("repo"), &place.mount_dir(), way);
    let before = stats(&server);
    let page = include_str!("../../docs/semantics.md");
    for (key, value) in before.as_object().unwrap() {
        assert_eq!(value, 0, "{key}");
        assert!(page.contains(&format!("`{key}`")), "the page tells {key}");
    }
    let file = File::open(server.path("vms/vm/latest/sda.raw")).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 5 * MIB as u64 + 4096).unwrap();
    let after = stats(&server);
    let told = ["reads", "read_bytes", "failed_reads", "decoded_chunks", "decoded_slices"];
    assert_eq!(told.map(|key| after[key].as_u64().unwrap()), [1, 4096, 0, 0, 1]);
    file.read_exact_at(&mut page, 5 * MIB as u64 + 40_960).unwrap();
    assert_eq!(stats(&server)["cache_hits"], 1, "the slice was kept");
    assert!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap() == bytes);
    assert_eq!(stats(&server)["decoded_chunks"], 8);
    assert!(File::options().write(true).open(server.path(".backstop/stats.json")).is_err());
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn a_mount_shows_no_stats_unless_it_is_asked_to() {
    let Some(place) = Place::new("a_mount_shows_no_stats_unless_it_is_asked_to") else { return };
    let server = place.mount();
    assert!(!server.path(".backstop").exists());
    assert_eq!(fs::read_dir(server.path("")).unwrap().count(), 1);
}
