//! Clients that keep to no rules.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use backstop::attach::nbd::ServerOptions;
use backstop::vfs::Access;

use crate::bench::Bench;
use crate::client::{Client, READ, WRITE, Wish};
use crate::repo::{MIB, noise};

#[track_caller]
fn assert_serves(bench: &Bench) {
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    assert!(client.read(0, 4096).unwrap() == bench.bytes[..4096]);
}

#[test]
fn noise_at_every_stage_ends_that_connection_and_no_other() {
    let bench = Bench::new();
    let server = bench.serve_writable();
    let mut steady = Client::connect(&bench.socket(), Wish::Structured);
    for seed in 0..60 {
        let bytes = noise(200, seed);
        let mut raw = UnixStream::connect(bench.socket()).unwrap();
        let _closed = raw.write_all(&bytes);
        let mut greeted = Client::greet(&bench.socket(), 3);
        let _closed = greeted.stream.write_all(&bytes);
        assert!(greeted.sees_the_end());
        let mut agreed = Client::connect(&bench.socket(), Wish::Allocation);
        let _closed = agreed.stream.write_all(&bytes);
        assert!(agreed.sees_the_end());
        assert!(
            steady.read(seed * 4096, 4096).unwrap() == bench.bytes[seed as usize * 4096..][..4096]
        );
    }
    drop(steady);
    let began = Instant::now();
    while server.connections() > 0 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.connections(), 0);
    assert_serves(&bench);
    assert_eq!(bench.monitor.recorded().problems, [""; 0]);
}

#[test]
fn promises_of_bytes_that_never_come_cost_nothing() {
    let bench = Bench::of(noise(33 * MIB, 1));
    let _server = bench.serve_writable();
    let before = resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut option = Client::greet(&bench.socket(), 3);
        let head = [&b"IHAVEOPT"[..], &7u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
        option.stream.write_all(&head).unwrap();
        let mut write = Client::connect(&bench.socket(), Wish::Structured);
        write.request(0, WRITE, 1, 0, 32 << 20);
        write.stream.write_all(&[1; 100]).unwrap();
        idle.push((option, write));
    }
    assert_serves(&bench);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for promises of 320 MiB and 40 GiB");
    drop(idle);
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    assert!(client.read(0, MIB as u32).unwrap() == bench.bytes[..MIB], "nothing was written");
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_client_that_takes_no_replies_stops_nobody_else_and_not_the_end() {
    let bench = Bench::of(noise(33 * MIB, 1));
    let server = bench.serve();
    let mut stalled = Client::connect(&bench.socket(), Wish::Structured);
    for cookie in 0..40 {
        stalled.request(0, READ, cookie, 0, 32 << 20);
    }
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    assert!(client.read(0, 32 << 20).unwrap() == bench.bytes[..32 << 20]);
    drop(client);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!bench.socket().exists());
}

#[test]
fn connections_beyond_the_limit_are_closed_and_places_become_free() {
    let bench = Bench::new();
    let options = ServerOptions { connections_max: 2, ..ServerOptions::default() };
    let server = bench.serve_as(Access::Read, &options);
    let first = Client::connect(&bench.socket(), Wish::Simple);
    let _second = Client::connect(&bench.socket(), Wish::Simple);
    let third = UnixStream::connect(bench.socket()).unwrap();
    let closed = Client { stream: third, flags: 0, size: 0 };
    assert!(closed.sees_the_end());
    assert_eq!(server.connections(), 2);
    drop(first);
    let began = Instant::now();
    while server.connections() > 1 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_serves(&bench);
}
