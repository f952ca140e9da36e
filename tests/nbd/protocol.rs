//! What the protocol says, word by word.

use std::io::Write;

use crate::bench::{Bench, disk_bytes};
use crate::client::{
    BLOCK_STATUS, CACHE, Client, DF, DISC, FAST_ZERO, FLUSH, FUA, NO_HOLE, Part, READ, REQ_ONE,
    Reply, TRIM, WRITE_ZEROES, Wish,
};
use crate::repo::MIB;

const SIZE: u64 = 9 * MIB as u64 + 5000;

fn error(errno: u32) -> impl Fn(&[Part]) -> bool {
    move |parts| matches!(parts, [Part::Error { errno: found, .. }] if *found == errno)
}

#[test]
fn a_simple_client_reads_every_byte() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Simple);
    assert_eq!(client.size, SIZE);
    for (offset, len) in [(0, 4096), (MIB - 7, 2 * MIB), (0, SIZE as usize), (SIZE as usize, 0)] {
        client.request(0, READ, 5, offset as u64, len as u32);
        assert_eq!(client.reply(), Reply::Simple { cookie: 5, errno: 0 });
        assert!(client.take(len) == bench.bytes[offset..offset + len], "{offset}");
    }
}

#[test]
fn holes_travel_as_holes_and_a_whole_reply_as_one_part() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    let parts = client.ask(0, READ, MIB as u64, 5 * MIB as u32);
    let holes: Vec<_> = parts.iter().filter(|part| matches!(part, Part::Hole(..))).collect();
    let at = |chunk: usize| Part::Hole((chunk * MIB) as u64, MIB as u32);
    assert_eq!(holes, [&at(2), &at(3), &at(4)]);
    assert!(client.read(0, SIZE as u32).unwrap() == bench.bytes);
    let whole = client.ask(DF, READ, 100, 3 * MIB as u32);
    assert!(whole == [Part::Data(100, bench.bytes[100..100 + 3 * MIB].to_vec())]);
    assert_eq!(client.ask(0, READ, 9, 0), [Part::None]);
}

#[test]
fn stretches_are_those_of_the_disk_map() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Allocation);
    let mib = MIB as u32;
    let all =
        [(2 * mib, 0), (3 * mib, 3), (mib, 0), (mib, 3), (mib, 0), (mib, 3), (5000, 0)].to_vec();
    assert_eq!(client.ask(0, BLOCK_STATUS, 0, SIZE as u32), [Part::Status(all)]);
    let one = client.ask(REQ_ONE, BLOCK_STATUS, u64::from(2 * mib) + 512, 2 * mib);
    assert_eq!(one, [Part::Status(vec![(2 * mib, 3)])]);
    let mut other = Client::connect(&bench.socket(), Wish::Structured);
    assert!(error(22)(&other.ask(0, BLOCK_STATUS, 0, 4096)), "without a context");
}

#[test]
fn requests_that_make_no_sense_fail_and_the_connection_goes_on() {
    let bench = Bench::new();
    let _server = bench.serve_writable();
    let mut client = Client::connect(&bench.socket(), Wish::Allocation);
    let huge = (32 << 20) + 1;
    for (what, errno, flags, command, offset, len) in [
        ("behind the end", 22, 0, READ, SIZE, 1),
        ("over the end", 22, 0, READ, SIZE - 1, 2),
        ("over the end of numbers", 22, 0, READ, u64::MAX, 2),
        ("a trim over the end", 22, 0, TRIM, SIZE - 1, 2),
        ("zeros over the end", 28, 0, WRITE_ZEROES, SIZE - 1, 2),
        ("a status over the end", 22, 0, BLOCK_STATUS, SIZE - 1, 2),
        ("a status of nothing", 22, 0, BLOCK_STATUS, 0, 0),
        ("a flag of another request", 22, NO_HOLE, READ, 0, 1),
        ("an unknown flag", 22, 1 << 9, FLUSH, 0, 0),
        ("an unknown request", 22, 0, 99, 0, 1),
        ("zeros that are not fast", 95, FAST_ZERO | NO_HOLE, WRITE_ZEROES, 0, 4096),
        ("zeros that are no blocks", 95, FAST_ZERO, WRITE_ZEROES, 1, 4096),
    ] {
        let parts = client.ask(flags, command, offset, len);
        assert!(error(errno)(&parts), "{what}: {parts:?}");
    }
    assert!(error(28)(&client.write(0, SIZE - 1, b"ab")));
    assert!(client.read(0, SIZE as u32).unwrap() == disk_bytes());
    drop(client);
    let big = Bench::of(vec![7; huge]);
    let _server = big.serve_writable();
    let mut client = Client::connect(&big.socket(), Wish::Structured);
    assert!(error(75)(&client.ask(0, READ, 0, huge as u32)));
    assert!(error(22)(&client.write(0, 0, &vec![1; huge])));
    assert_eq!(client.read(huge as u64 - 1, 1), Ok(vec![7]));
}

#[test]
fn a_read_only_disk_refuses_changes_and_takes_the_bytes_that_come_with_them() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    assert_eq!(client.flags & 0b10, 0b10, "read-only");
    assert_eq!(client.flags & (1 << 8), 1 << 8, "many connections");
    assert!(error(1)(&client.write(0, 0, &[1; 70_000])));
    assert!(error(1)(&client.ask(0, TRIM, 0, 4096)));
    assert!(error(1)(&client.ask(0, WRITE_ZEROES, 0, 4096)));
    assert_eq!(client.ask(0, FLUSH, 0, 0), [Part::None]);
    assert_eq!(client.ask(FUA, CACHE, 0, SIZE as u32), [Part::None]);
    assert!(client.read(0, 70_000).unwrap() == bench.bytes[..70_000]);
    client.request(0, DISC, 0, 0, 0);
    assert!(client.sees_the_end());
}

#[test]
fn replies_to_what_was_asked_before_leaving_are_sent() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Simple);
    for cookie in 0..20 {
        client.request(0, READ, cookie, 0, 4096);
    }
    client.request(0, DISC, 0, 0, 0);
    let mut cookies = Vec::new();
    for _ in 0..20 {
        let Reply::Simple { cookie, errno: 0 } = client.reply() else { panic!() };
        cookies.push(cookie);
        client.take(4096);
    }
    cookies.sort_unstable();
    assert_eq!(cookies, (0..20).collect::<Vec<_>>());
    assert!(client.sees_the_end());
}

#[test]
fn options_are_answered_as_the_protocol_says() {
    let bench = Bench::new();
    let _server = bench.serve();
    let mut client = Client::greet(&bench.socket(), 3);
    let kinds = |answers: Vec<(u32, Vec<u8>)>| answers.iter().map(|a| a.0).collect::<Vec<_>>();
    let failed = |n: u32| vec![(1 << 31) + n];
    let listed = client.option(3, &[]);
    assert_eq!(&listed[0].1[..8], b"\0\0\0\x04disk");
    assert!(String::from_utf8_lossy(&listed[0].1).contains("restore point"));
    assert_eq!(kinds(client.option(3, b"x")), failed(3));
    assert_eq!(kinds(client.option(5, &[])), failed(1), "TLS");
    assert_eq!(kinds(client.option(11, &[])), failed(1), "extended headers");
    assert_eq!(kinds(client.option(9, &[0; 8])), failed(3), "no structured replies yet");
    assert_eq!(kinds(client.option(8, b"x")), failed(3));
    assert_eq!(kinds(client.option(8, &[])), [1]);
    assert_eq!(kinds(client.option(9, &[0; 8])), [4, 1]);
    assert_eq!(kinds(client.option(10, &[0; 8])), [1], "nothing chosen");
    assert_eq!(kinds(client.option(6, b"\0\0\0\x05other\0\0")), failed(6));
    assert_eq!(kinds(client.option(6, b"\0\0\0\x04disk\0\x02\0\x01\0\x02")), [3, 3, 3, 3, 1]);
    assert_eq!(kinds(client.option(6, b"\0\0\0\x09disk\0\0")), failed(3));
    assert_eq!(kinds(client.option(6, &vec![0; 100_000])), failed(9));
    assert_eq!(kinds(client.option(2, &[])), [1]);
    assert!(client.sees_the_end());
}

#[test]
fn old_clients_choose_by_name() {
    let bench = Bench::new();
    let _server = bench.serve();
    for (flags, padding) in [(3, 0), (1, 124)] {
        let mut client = Client::greet(&bench.socket(), flags);
        client.send_option(1, b"disk");
        let export = client.take(10 + padding);
        assert_eq!(export[..8], SIZE.to_be_bytes());
        client.request(0, READ, 1, 0, 16);
        assert_eq!(client.reply(), Reply::Simple { cookie: 1, errno: 0 });
        assert_eq!(client.take(16), bench.bytes[..16]);
    }
    let mut client = Client::greet(&bench.socket(), 3);
    client.send_option(1, b"other");
    assert!(client.sees_the_end());
    let mut client = Client::greet(&bench.socket(), 1 << 7);
    let _closed = client.stream.write_all(&[0; 16]);
    assert!(client.sees_the_end(), "an unknown flag");
}
