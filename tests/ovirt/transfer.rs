//! Transfers of images from and to a daemon that misbehaves.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::chance::SystemChance;
use backstop::error::{Error, ErrorKind, Result};
use backstop::ingest::source::{ExtentKind, ImageSource};
use backstop::ovirt::address::AddressMap;
use backstop::ovirt::check::Way;
use backstop::ovirt::transfer::{
    Bandwidth, ImageClient, Pace, Places, TicketKeeper, TicketUrls, TransferOptions,
    TransferPatience, TransferSource, Transport, WireCounters,
};
use backstop::ovirt::trust::Anchor;
use tempfile::TempDir;

use crate::daemon::{FakeDaemon, TICKET, Trick};
use crate::engine::Authority;
use crate::patience;

pub(crate) const MIB: usize = 1 << 20;

/// A daemon with an image of so many MiB, and what trusts it.
pub(crate) struct Setup {
    pub(crate) daemon: FakeDaemon,
    pub(crate) image: Vec<u8>,
    dir: TempDir,
}

impl Setup {
    pub(crate) fn new(mib: usize) -> Self {
        Self::at("127.0.0.1:0", &["127.0.0.1"], mib)
    }

    fn at(address: &str, names: &[&str], mib: usize) -> Self {
        let authority = Authority::new(names);
        let image: Vec<u8> = (0..mib * MIB).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
        let daemon = FakeDaemon::start(address, &authority, image.clone());
        let setup = Self { daemon, image, dir: TempDir::new().unwrap() };
        setup.trust(&authority);
        setup
    }

    fn trust(&self, authority: &Authority) {
        fs::write(self.dir.path().join("ca.pem"), &authority.pem).unwrap();
    }

    pub(crate) fn options(&self) -> TransferOptions {
        let quiet = Duration::from_secs(20);
        TransferOptions {
            way: Way::Direct,
            map: AddressMap::default(),
            anchor: Anchor::File(self.dir.path().join("ca.pem")),
            patience: TransferPatience { retry: patience(), quiet, work: quiet, keep_alive: quiet },
            connections: 16,
            places: None,
            bandwidth: None,
            may_use_unix_socket: false,
            keeper: None,
            chance: Arc::new(SystemChance),
            cancel: Cancel::default(),
            counters: Arc::new(WireCounters::default()),
        }
    }

    pub(crate) fn source_with(&self, options: TransferOptions) -> TransferSource {
        TransferSource::full(ImageClient::open(&self.daemon.urls(), options).unwrap()).unwrap()
    }

    fn source(&self) -> TransferSource {
        self.source_with(self.options())
    }

    pub(crate) fn expect(&self, source: &TransferSource, from: usize, len: usize) {
        let mut bytes = vec![0; len];
        source.read_at(from as u64, &mut bytes).unwrap();
        assert!(bytes == self.image[from..from + len], "{len} bytes at {from}");
    }
}

/// Fails to read the first bytes; the error keeps the ticket to itself.
pub(crate) fn failed(source: &TransferSource) -> Error {
    let error = source.read_at(0, &mut vec![0; MIB]).unwrap_err();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    error
}

#[test]
fn a_body_that_is_cut_short_goes_on_at_the_byte_that_was_reached() {
    let setup = Setup::new(2);
    let source = setup.source();
    let tricks = [Trick::Cut(100_000), Trick::Cut(0), Trick::Close, Trick::Status(500)];
    setup.daemon.play(&tricks);
    let before = setup.daemon.ranges("GET ").len();
    setup.expect(&source, 4096, MIB);
    let (from, last) = (4096, 4096 + MIB - 1);
    let expected = [from, from + 100_000, from + 100_000, from + 100_000, from + 100_000];
    let expected = expected.map(|from| format!("bytes={from}-{last}"));
    assert_eq!(setup.daemon.ranges("GET ")[before..], expected);
    assert_eq!(source.client().counters().retries, 4);
}

#[test]
fn what_fails_again_and_again_fails_in_the_end_and_says_why() {
    for (trick, why) in [
        (Trick::Close, "closed before an answer"),
        (Trick::Cut(7), "bytes before its end"),
        (Trick::Status(500), "500: Trouble with ..."),
        (Trick::Status(429), "429"),
        (Trick::NoLength, "does not announce its length"),
    ] {
        let setup = Setup::new(1);
        let source = setup.source();
        setup.daemon.play(&[trick; 100]);
        let error = failed(&source);
        assert_eq!(error.kind(), ErrorKind::Remote);
        assert!(error.chain().contains(why), "{error:?} instead of {why}");
        assert!(setup.daemon.ranges("GET ").len() <= 6, "{:?}", setup.daemon.asked());
    }
}

#[test]
fn answers_that_make_no_sense_are_believed_by_nobody_and_not_asked_for_again() {
    for trick in [Trick::OtherRange, Trick::Shorter, Trick::Whole, Trick::Status(416)] {
        let setup = Setup::new(2);
        let source = setup.source();
        setup.daemon.play(&[trick]);
        let before = setup.daemon.asked().len();
        assert_eq!(failed(&source).kind(), ErrorKind::Remote, "{trick:?}");
        assert_eq!(setup.daemon.asked().len(), before + 1, "{trick:?}");
        setup.expect(&source, 0, MIB);
    }
}

#[test]
fn a_transfer_ends_soon_when_that_is_asked_for() {
    let setup = Setup::new(1);
    let options = setup.options();
    let cancel = options.cancel.clone();
    let source = setup.source_with(options);
    setup.daemon.play(&[Trick::Silence]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.request();
        });
        assert_eq!(failed(&source).kind(), ErrorKind::Cancelled);
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn there_are_never_more_than_eight_connections_whatever_fails() {
    let setup = Setup::new(4);
    let source = setup.source();
    setup.daemon.play(&[Trick::Cut(1000), Trick::Close, Trick::Status(503)].repeat(8));
    let most = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..16)
            .map(|part| {
                let (setup, source) = (&setup, &source);
                scope.spawn(move || {
                    (0..8).for_each(|n| setup.expect(source, (part * 8 + n) * 32_768, 32_768));
                })
            })
            .collect();
        let mut most = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            // The table is no picture of one moment: while it is read, a connection may end after
            // it was seen, and another begin before that is.
            let count = || connections_to(setup.daemon.port);
            most = most.max(count().min(count()));
        }
        most
    });
    assert!((2..=8).contains(&most), "{most}");
    drop(source);
    let until = Instant::now() + Duration::from_secs(5);
    while setup.daemon.open_connections() > 0 {
        assert!(Instant::now() < until, "connections stay open");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Connections to that port whose near end is open.
fn connections_to(port: u16) -> usize {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        let (to, state) = (fields.next().unwrap(), fields.next().unwrap());
        to.ends_with(&format!(":{port:04X}")) && state == "01"
    };
    table.lines().skip(1).filter(is_one).count()
}

struct Keeper {
    urls: TicketUrls,
    asked: AtomicU32,
    replaced: AtomicU32,
}

impl Keeper {
    fn of(urls: TicketUrls) -> Arc<Self> {
        Arc::new(Self { urls, asked: AtomicU32::new(0), replaced: AtomicU32::new(0) })
    }
}

impl TicketKeeper for Keeper {
    fn renew(&self) -> Result<TicketUrls> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        Ok(self.urls.clone())
    }

    fn replace(&self) -> Result<TicketUrls> {
        self.replaced.fetch_add(1, Ordering::SeqCst);
        Ok(self.urls.clone())
    }
}

#[test]
fn another_ticket_is_asked_for_where_the_host_answers_again_and_again_that_it_cannot() {
    let setup = Setup::new(4);
    let url = setup.daemon.url("127.0.0.1", "canary-second");
    let keeper = Keeper::of(TicketUrls { direct: Some(url.into()), proxy: None });
    let mut options = TransferOptions { keeper: Some(keeper.clone()), ..setup.options() };
    options.patience.retry.tries = 3;
    let source = setup.source_with(options);
    setup.daemon.with(|state| state.tickets.push("canary-second".to_owned()));
    setup.daemon.play(&[Trick::Status(500); 2]);
    setup.expect(&source, 0, MIB);
    assert_eq!(keeper.replaced.load(Ordering::SeqCst), 0, "it passes");
    setup.daemon.play(&[Trick::Status(500); 3]);
    setup.expect(&source, 0, MIB);
    let asked = [&keeper.replaced, &keeper.asked].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(asked, [1, 0]);
    // One that fails for ever is given up.
    setup.daemon.play(&[Trick::Status(500); 100]);
    assert!(failed(&source).chain().contains("500"));
    assert!(keeper.replaced.load(Ordering::SeqCst) <= 5);
}

#[test]
fn one_thread_asks_for_a_new_ticket_and_all_go_on_with_it() {
    let setup = Setup::new(4);
    let url = setup.daemon.url("127.0.0.1", "canary-second");
    let urls = TicketUrls { direct: Some(url.into()), proxy: None };
    let keeper = Keeper::of(urls);
    let source =
        setup.source_with(TransferOptions { keeper: Some(keeper.clone()), ..setup.options() });
    setup.expect(&source, 0, MIB);
    setup.daemon.with(|state| state.tickets = vec!["canary-second".to_owned()]);
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (setup, source) = (&setup, &source);
            scope.spawn(move || setup.expect(source, part * MIB / 2, MIB / 2));
        }
    });
    assert_eq!(keeper.asked.load(Ordering::SeqCst), 1);
    // A new ticket that is no good either is not asked for without an end.
    setup.daemon.with(|state| state.tickets.clear());
    let error = failed(&source);
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.chain().contains("No such ticket ..."), "{error:?}");
    assert!(keeper.asked.load(Ordering::SeqCst) <= 5);
}

#[test]
fn a_daemon_that_knows_little_is_read_in_full_over_one_connection() {
    let setup = Setup::new(1);
    setup.daemon.with(|state| state.abilities = None);
    let source = setup.source();
    assert_eq!(source.size_bytes(), MIB as u64);
    assert_eq!(source.extent_at(0).unwrap().kind, ExtentKind::Data);
    setup.expect(&source, 0, MIB);
    assert!(setup.daemon.asked().iter().all(|one| !one.what.contains("extents")));
    assert_eq!(setup.daemon.most_connections(), 1);
    let client = ImageClient::open(&setup.daemon.urls(), setup.options()).unwrap();
    assert!(TransferSource::incremental(client.clone()).unwrap().is_none());
    let error = client.checksum("sha256", 4 << 20, MIB as u64).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn zeros_that_an_old_daemon_does_not_tell_among_changes_are_asked_for_apart() {
    let setup = Setup::new(1);
    setup.daemon.with(|state| {
        let dirty = r#"[{"start":0,"length":65536,"dirty":true},
                        {"start":65536,"length":983040,"dirty":false}]"#;
        let zero = r#"[{"start":0,"length":4096,"zero":true,"hole":true},
                       {"start":4096,"length":1044480,"zero":false,"hole":false}]"#;
        state.lists.extend([("dirty", dirty.to_owned()), ("zero", zero.to_owned())]);
        // The list is asked for again when it breaks off.
        state.other_tricks.extend([Trick::Cut(0), Trick::Cut(40)]);
    });
    let mut options = setup.options();
    options.patience.retry.tries = 4;
    let client = ImageClient::open(&setup.daemon.urls(), options).unwrap();
    let source = TransferSource::incremental(client).unwrap().unwrap();
    let kinds = [0, 4096].map(|at| {
        let extent = source.extent_at(at).unwrap();
        (extent.kind, extent.len_bytes)
    });
    assert_eq!(kinds, [(ExtentKind::Zero, 4096), (ExtentKind::Data, 61440)]);
    assert_eq!(source.extents().data_bytes(), 61440);
}

#[test]
fn a_host_behind_nat_is_reached_elsewhere_and_proves_its_own_name() {
    let setup = Setup::at("127.0.0.1:0", &["192.0.2.7"], 1);
    let url = "https://192.0.2.7:54322/images/canary-ticket".to_owned();
    let urls = TicketUrls { direct: Some(url.into()), proxy: None };
    let route = format!("127.0.0.1:{}", setup.daemon.port);
    let map = AddressMap::parse([("192.0.2.7", route.as_str())]).unwrap();
    let options = TransferOptions { map, ..setup.options() };
    let client = ImageClient::open(&urls, options).unwrap();
    setup.expect(&TransferSource::full(client).unwrap(), 0, MIB);
    // By its real address it is somebody else.
    let error = ImageClient::open(&setup.daemon.urls(), setup.options()).err().unwrap();
    assert!(error.chain().contains("for another host"), "{error:?}");
}

#[test]
fn the_authority_is_read_again_for_every_connection() {
    let setup = Setup::new(1);
    let source = setup.source();
    setup.expect(&source, 0, 4096);
    let renewed = Authority::new(&["127.0.0.1"]);
    setup.daemon.change_authority(&renewed);
    setup.trust(&renewed);
    setup.daemon.play(&[Trick::Close]);
    setup.expect(&source, 0, MIB);
    setup.trust(&Authority::new(&["127.0.0.1"]));
    setup.daemon.play(&[Trick::Close]);
    assert!(failed(&source).chain().contains("not trusted"));
}

#[test]
fn hosts_with_addresses_of_ipv6_are_reached() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let setup = Setup::at("[::1]:0", &["::1"], 1);
    let url = setup.daemon.url("[::1]", TICKET);
    let urls = TicketUrls { direct: Some(url.into()), proxy: None };
    let client = ImageClient::open(&urls, setup.options()).unwrap();
    setup.expect(&TransferSource::full(client).unwrap(), 0, MIB);
}

#[test]
fn a_host_that_goes_away_in_the_middle_is_read_through_the_proxy() {
    let authority = Authority::new(&["127.0.0.1"]);
    let proxy = Setup::new(1);
    let host = FakeDaemon::start("127.0.0.1:0", &authority, proxy.image.clone());
    proxy.daemon.change_authority(&authority);
    proxy.trust(&authority);
    let urls = TicketUrls { direct: host.urls().direct, proxy: proxy.daemon.urls().direct };
    let options = TransferOptions { way: Way::Auto, ..proxy.options() };
    let source = TransferSource::full(ImageClient::open(&urls, options).unwrap()).unwrap();
    proxy.expect(&source, 0, 4096);
    assert_eq!(source.client().transport(), Transport::Direct);
    host.play(&[Trick::Close]);
    drop(host);
    proxy.expect(&source, 0, MIB);
    assert_eq!(source.client().transport(), Transport::Proxy);
    let fallbacks = source.client().fallbacks();
    assert!(fallbacks[0].starts_with("proxy instead of direct: 127.0.0.1:"), "{fallbacks:?}");
}

#[test]
fn a_ticket_that_nobody_uses_for_a_while_is_kept_alive() {
    let setup = Setup::new(1);
    let mut options = setup.options();
    options.patience.keep_alive = Duration::from_millis(200);
    let source = setup.source_with(options);
    let asked = || setup.daemon.ranges("OPTIONS ").len();
    let until = Instant::now() + Duration::from_secs(10);
    while asked() < 4 {
        assert!(Instant::now() < until, "{} requests", asked());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(setup.daemon.most_connections(), 1);
    drop(source);
    std::thread::sleep(Duration::from_millis(100));
    let at_the_end = asked();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(asked(), at_the_end, "of a transfer that is over");
}

#[test]
fn disks_share_the_places_of_a_run_and_none_waits_for_another() {
    let (one, other) = (Setup::new(2), Setup::new(2));
    let places = Arc::new(Places::new(3));
    let placed =
        |setup: &Setup| TransferOptions { places: Some(Arc::clone(&places)), ..setup.options() };
    let sources =
        [(&one, one.source_with(placed(&one))), (&other, other.source_with(placed(&other)))];
    let most = std::thread::scope(|scope| {
        let read = |n: usize| {
            let (setup, source) = &sources[n % 2];
            (0..16).for_each(|piece| setup.expect(source, piece * 65_536, 65_536));
        };
        let readers: Vec<_> = (0..16).map(|n| scope.spawn(move || read(n))).collect();
        let mut most = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            most = most.max(connections_to(one.daemon.port) + connections_to(other.daemon.port));
        }
        most
    });
    assert!((3..=5).contains(&most), "{most}");
}

#[test]
fn a_local_socket_at_which_somebody_else_listens_is_not_used() {
    let setup = Setup::new(1);
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"features\": []}",
        "",
    ] {
        let path = setup.dir.path().join(format!("socket{}", answer.len()));
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes()));
        });
        let socket = serde_json::json!({"features": ["extents"], "unix_socket": path}).to_string();
        setup.daemon.with(|state| state.abilities = Some(socket));
        let options = TransferOptions { may_use_unix_socket: true, ..setup.options() };
        let source = setup.source_with(options);
        assert_eq!(source.client().transport(), Transport::Direct);
        setup.expect(&source, 0, MIB);
    }
}

/// Counts the time that is waited, and waits for none.
#[derive(Clone, Default)]
struct Waited(Arc<std::sync::Mutex<Duration>>);

impl Pace for Waited {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn wait(&self, pause: Duration, _cancel: &Cancel) -> Result<()> {
        *self.0.lock().unwrap() += pause;
        Ok(())
    }
}

#[test]
fn disks_that_share_a_limit_stay_below_it_together() {
    let waited = Waited::default();
    let limit = Bandwidth::with_pace(256 << 10, Box::new(waited.clone())).unwrap();
    let limit = Some(Arc::new(limit));
    let setup = Setup::new(2);
    let limited = || TransferOptions { bandwidth: limit.clone(), ..setup.options() };
    let (one, other) = (setup.source_with(limited()), setup.source_with(limited()));
    setup.expect(&one, 0, MIB);
    setup.expect(&other, MIB, MIB);
    let seconds = waited.now().as_secs_f64();
    assert!((7.9..8.5).contains(&seconds), "2 MiB at 256 KiB per second took {seconds}");
}

#[test]
fn abilities_and_lists_that_make_no_sense_end_a_transfer_before_it_begins() {
    for (abilities, list) in [("no json", "[]"), (r#"{"features": 7}"#, "[]")] {
        let setup = Setup::new(1);
        setup.daemon.with(|state| {
            state.abilities = Some(abilities.to_owned());
            state.lists.insert("zero", list.to_owned());
        });
        let error = ImageClient::open(&setup.daemon.urls(), setup.options()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Remote);
    }
    let setup = Setup::new(1);
    setup.daemon.with(|state| {
        state.lists.insert("zero", r#"[{"start":0,"length":1,"zero":3}]"#.to_owned());
    });
    let client = ImageClient::open(&setup.daemon.urls(), setup.options()).unwrap();
    let error = TransferSource::full(client).err().unwrap();
    assert!(error.chain().contains("list of extents makes no sense"), "{error:?}");
}
