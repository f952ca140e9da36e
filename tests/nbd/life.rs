//! From the socket's beginning to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use backstop::attach::nbd::{Address, Export, Server, ServerOptions};
use backstop::error::ErrorKind;
use backstop::prune::forget::forget;
use backstop::vfs::Access;

use crate::bench::Bench;
use crate::client::{Client, READ, Wish};
use crate::run::run;

fn bind(
    bench: &Bench,
    address: &Address,
    options: &ServerOptions,
) -> backstop::error::Result<Server> {
    let export = bench.export(&bench.tree(None), Access::Read);
    Server::bind(address, export, options, Arc::clone(&bench.monitor) as _)
}

#[test]
fn a_socket_is_for_its_user_and_goes_with_its_server() {
    let bench = Bench::new();
    let server = bench.serve();
    let mode = fs::metadata(bench.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(server);
    assert!(!bench.socket().exists());
}

#[test]
fn a_dead_socket_is_replaced_and_everything_else_in_the_way_stays() {
    let bench = Bench::new();
    drop(UnixListener::bind(bench.socket()).unwrap());
    assert!(bench.socket().exists(), "a process that is gone leaves it");
    let server = bench.serve();
    let address = Address::Unix(bench.socket());
    let second = bind(&bench, &address, &ServerOptions::default()).err().unwrap();
    assert_eq!(second.kind(), ErrorKind::AlreadyExists);
    let mut client = Client::connect(&bench.socket(), Wish::Simple);
    client.request(0, READ, 1, 0, 16);
    client.reply();
    drop(server);
    let file = bench.path("file");
    fs::write(&file, "precious").unwrap();
    let refused = bind(&bench, &Address::Unix(file.clone()), &ServerOptions::default());
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let long = Address::Unix(bench.path(&"n".repeat(120)));
    let refused = bind(&bench, &long, &ServerOptions::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
}

#[test]
fn what_took_the_place_of_a_socket_is_not_removed_with_it() {
    let bench = Bench::new();
    let server = bench.serve();
    fs::remove_file(bench.socket()).unwrap();
    fs::write(bench.socket(), "of somebody else").unwrap();
    drop(server);
    assert!(bench.socket().exists());
}

#[test]
fn tcp_listens_on_this_machine_alone_and_says_which_port() {
    let bench = Bench::new();
    let options = ServerOptions::default();
    let server = bind(&bench, &Address::parse("127.0.0.1:0").unwrap(), &options).unwrap();
    let Address::Tcp { port, .. } = server.address() else { panic!() };
    assert_ne!(*port, 0);
    let info = run("nbdinfo", ["--size", &server.address().uri()]);
    assert_eq!(info.trim(), bench.bytes.len().to_string());
    let taken = bind(&bench, server.address(), &options).err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::Busy);
    let any = Address::parse("0.0.0.0:0").unwrap();
    assert_eq!(bind(&bench, &any, &options).err().unwrap().kind(), ErrorKind::Denied);
    let open = ServerOptions { is_open_to_others: true, ..options };
    assert!(bind(&bench, &any, &open).is_ok());
}

#[test]
fn a_disk_stays_readable_when_its_restore_point_is_dropped() {
    let bench = Bench::new();
    let server = bench.serve();
    let mut before = Client::connect(&bench.socket(), Wish::Structured);
    forget(&bench.repo, bench.point.id).unwrap();
    assert!(before.read(0, 4096).unwrap() == bench.bytes[..4096]);
    let mut after = Client::connect(&bench.socket(), Wish::Structured);
    assert!(after.read(0, 4096).unwrap() == bench.bytes[..4096]);
    drop(server);
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let bench = Bench::new();
    let tree = bench.tree(None);
    let missing = Export::of_disk(&tree, &bench.point, "sdz", Access::Read).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("\"sdz\""));
    let refused = Export::of_disk(&tree, &bench.point, "disk", Access::Write).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Denied, "the tree has no overlays");
}
