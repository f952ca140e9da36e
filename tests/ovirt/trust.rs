use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use backstop::ovirt::address::{AddressMap, EngineUrl, Place};
use backstop::ovirt::client::{ApiPath, Engine, EngineOptions, Patience, fetch_internal_ca};
use backstop::ovirt::probe::{Prober, Reach};
use backstop::ovirt::trust::{Anchor, Handshake, certificates};
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::{Authority, FakeEngine};
use crate::{options, patience};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    fn anchor(&self, pem: &str) -> Anchor {
        fs::write(self.path(), pem).unwrap();
        Anchor::File(self.path())
    }
}

fn get(engine: &Engine) -> Result<Value, String> {
    engine.get(&ApiPath::new(&[])).map_err(|error| error.chain())
}

fn encrypted(url: &str, anchor: Anchor) -> Engine {
    // Distrust is not tried again: were it, tests would last for minutes.
    let pause = Duration::from_secs(60);
    let patience = Patience { first_pause: pause, longest_pause: pause, ..patience() };
    Engine::new(EngineOptions { anchor, patience, ..options(url) }).unwrap()
}

#[test]
fn an_engine_is_believed_if_the_authority_signed_for_its_name() {
    let files = Files::new();
    let authority = Authority::new(&["localhost"]);
    let fake = FakeEngine::encrypted("127.0.0.1:0", &authority).with_vm();
    let anchor = files.anchor(&authority.pem);
    get(&encrypted(&fake.url_by("localhost"), anchor.clone())).unwrap();
    let other_name = get(&encrypted(&fake.url_by("127.0.0.1"), anchor)).unwrap_err();
    assert!(other_name.contains("not valid for name"), "{other_name}");
    let stranger = files.anchor(&Authority::new(&["localhost"]).pem);
    let unknown = get(&encrypted(&fake.url_by("localhost"), stranger)).unwrap_err();
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
}

#[test]
fn an_engine_that_is_not_believed_is_sent_no_password() {
    let files = Files::new();
    let fake = FakeEngine::encrypted("127.0.0.1:0", &Authority::new(&["127.0.0.1"])).with_vm();
    let stranger = files.anchor(&Authority::new(&["127.0.0.1"]).pem);
    get(&encrypted(&fake.url(), stranger)).unwrap_err();
    let missing = Anchor::File("/nowhere/ca.pem".into());
    let error = get(&encrypted(&fake.url(), missing)).unwrap_err();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
    assert!(fake.seen().is_empty());
}

#[test]
fn a_changed_certificate_needs_no_new_session() {
    let files = Files::new();
    let before = Authority::new(&["127.0.0.1"]);
    let fake = FakeEngine::encrypted("127.0.0.1:0", &before).with_vm();
    let engine = encrypted(&fake.url(), files.anchor(&before.pem));
    get(&engine).unwrap();
    let after = Authority::new(&["127.0.0.1"]);
    fake.change_authority(&after);
    get(&engine).unwrap_err();
    files.anchor(&after.pem);
    get(&engine).unwrap();
    // While hosts get their new certificates one by one, both authorities hold.
    files.anchor(&(before.pem + &after.pem));
    get(&engine).unwrap();
}

#[test]
fn an_engine_at_an_address_of_ipv6_works() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let files = Files::new();
    let authority = Authority::new(&["::1"]);
    let fake = FakeEngine::encrypted("[::1]:0", &authority).with_vm();
    get(&encrypted(&fake.url_by("[::1]"), files.anchor(&authority.pem))).unwrap();
}

#[test]
fn the_internal_authority_can_be_fetched_before_anything_is_trusted() {
    let internal = Authority::new(&["host1.example.test"]);
    let fake = FakeEngine::encrypted("127.0.0.1:0", &Authority::new(&["127.0.0.1"]));
    fake.show_ca(&internal.pem);
    let url = EngineUrl::parse(&fake.url()).unwrap();
    let fetched = fetch_internal_ca(&url, &Anchor::Nobody, &patience()).unwrap();
    assert_eq!(fetched, certificates(internal.pem.as_bytes()).unwrap());
    let seen = &fake.seen()[0];
    assert!(seen.target.ends_with("resource=ca-certificate&format=X509-PEM-CA"), "{seen:?}");
    assert!(!seen.headers.contains_key("authorization") && seen.body.is_empty());
    fake.show_ca("<html>");
    let error = fetch_internal_ca(&url, &Anchor::Nobody, &patience()).unwrap_err();
    assert!(error.to_string().contains("is this its URL?"), "{error}");
}

fn prober(map: AddressMap) -> Prober {
    Prober { map, patience: Duration::from_secs(5) }
}

#[test]
fn a_host_is_probed_by_another_way_under_its_own_name() {
    let files = Files::new();
    let authority = Authority::new(&["host1.example.test"]);
    let fake = FakeEngine::encrypted("127.0.0.1:0", &authority);
    let anchor = files.anchor(&authority.pem);
    let way = format!("127.0.0.1:{}", fake.port());
    let map = [("host1.example.test", way.as_str()), ("host2.example.test", way.as_str())];
    let prober = prober(AddressMap::parse(map).unwrap());
    let probe = |host: &str| prober.probe(&Place::parse(host, 54322).unwrap(), Some(&anchor));
    assert_eq!(probe("host1.example.test"), Reach::Encrypted(Handshake::Proven));
    let names = vec!["host1.example.test".to_owned()];
    assert_eq!(probe("host2.example.test"), Reach::Encrypted(Handshake::OtherName(names)));
    let stranger = files.anchor(&Authority::new(&["x"]).pem);
    let reach = prober.probe(&Place::parse("host1.example.test", 1).unwrap(), Some(&stranger));
    assert_eq!(reach, Reach::Encrypted(Handshake::UnknownAuthority));
}

#[test]
fn a_probe_tells_how_far_it_came() {
    let prober = prober(AddressMap::default());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let probe = |place: &str| prober.probe(&Place::parse(place, 54322).unwrap(), None);
    assert!(matches!(probe(&closed.to_string()), Reach::NoConnection(_)));
    assert!(matches!(probe("no-such-host.invalid"), Reach::NoAddress(_)));
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = open.local_addr().unwrap().to_string();
    assert_eq!(probe(&place), Reach::Connected);
    drop(TcpStream::connect(place));
}
