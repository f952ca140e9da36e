//! Bytes of disks to and from the real daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use backstop::error::{ErrorKind, Result};
use backstop::ingest::source::{ExtentKind, ImageSource};
use backstop::ovirt::check::Way;
use backstop::ovirt::transfer::{
    ImageClient, TicketKeeper, TicketUrls, TransferOptions, TransferSink, TransferSource, Transport,
};
use backstop::restore::ImageSink;

use crate::export::{Export, For, options};
use crate::lab::Lab;

const MIB: u64 = 1 << 20;

/// Bytes in which every 4 KiB differ.
fn noise(len: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    for (number, word) in bytes.chunks_mut(8).enumerate() {
        let mixed = (number as u64 ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        word.copy_from_slice(&mixed[..word.len()]);
    }
    bytes
}

/// What a disk holds: `len` MiB, noise at some places, zeros elsewhere.
fn disk_bytes(mib: u64, data: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; (mib * MIB) as usize];
    for (number, (from, len)) in data.iter().enumerate() {
        let part = noise(*len, number as u64 + 1);
        bytes[*from as usize..][..part.len()].copy_from_slice(&part);
    }
    bytes
}

fn qemu_img(args: &[&str]) {
    let ran = Command::new("qemu-img").args(args).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// A qcow2 image of these bytes.
fn image(lab: &Lab, name: &str, bytes: &[u8]) -> PathBuf {
    let raw = lab.place.file(&format!("{name}.raw"), bytes);
    let path = lab.place.path(format!("{name}.qcow2"));
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &raw, text(&path)]);
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything that a source has to say.
fn read_all(source: &TransferSource) -> Vec<u8> {
    let mut bytes = vec![0; source.size_bytes() as usize];
    let mut at = 0;
    while at < source.size_bytes() {
        let extent = source.extent_at(at).unwrap();
        let part = &mut bytes[at as usize..(at + extent.len_bytes) as usize];
        match extent.kind {
            ExtentKind::Data | ExtentKind::Unchanged => source.read_at(at, part).unwrap(),
            ExtentKind::Zero => {}
        }
        at += extent.len_bytes;
    }
    bytes
}

fn open(urls: &TicketUrls, options: TransferOptions) -> ImageClient {
    ImageClient::open(urls, options).unwrap()
}

#[test]
fn a_disk_arrives_whole_and_no_zero_crosses_the_wire() {
    let Some(lab) = Lab::start("downloads") else { return };
    let bytes = disk_bytes(32, &[(0, 3 * MIB), (9 * MIB + 4096, 70_000), (31 * MIB, MIB)]);
    let export = Export::start(&lab, &image(&lab, "d", &bytes), "qcow2", For::Reading);
    let options = options(&lab);
    let counters = options.counters.clone();
    let source = TransferSource::full(open(&export.urls(), options)).unwrap();
    assert!(read_all(&source) == bytes);
    let asked = source.extents().data_bytes();
    assert!(asked < 5 * MIB, "{asked}");
    assert_eq!(export.seen_by_daemon()["transferred"], asked);
    let received = counters.counts().received_bytes;
    assert!(received >= asked && received < asked + asked / 20 + 20_000, "{received} of {asked}");
    assert_eq!(source.client().transport(), Transport::Direct);
}

#[test]
fn a_disk_is_uploaded_and_the_daemon_vouches_for_it() {
    let Some(lab) = Lab::start("uploads") else { return };
    let bytes = disk_bytes(16, &[(0, 5 * MIB + 512), (12 * MIB, MIB)]);
    // What was there before must not shine through zeros.
    let target = image(&lab, "u", &noise(16 * MIB, 99));
    let export = Export::start(&lab, &target, "qcow2", For::Writing);
    let sink = TransferSink::new(open(&export.urls(), options(&lab)), 16 * MIB).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (sink, bytes) = (&sink, &bytes);
            scope.spawn(move || {
                for at in (part..16).step_by(4).map(|number| (number * MIB) as usize) {
                    let piece = &bytes[at..at + MIB as usize];
                    match piece.iter().all(|byte| *byte == 0) {
                        true => sink.zero(at as u64, MIB).unwrap(),
                        false => sink.write_at(at as u64, piece).unwrap(),
                    }
                }
            });
        }
    });
    sink.finish().unwrap();
    assert!(sink.write_at(16 * MIB - 1, b"xx").is_err(), "past the end");
    let hash = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let blocks: Vec<u8> = bytes.chunks(4 << 20).flat_map(|b| hash(b).as_ref().to_vec()).collect();
    let expected: String = hash(&blocks).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let checksum = sink.client().checksum("sha256", 4 << 20, 16 * MIB).unwrap();
    assert_eq!(checksum, expected);
    drop(sink);
    export.end();
    let raw = lab.place.path("again.raw");
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", text(&target), text(&raw)]);
    assert!(std::fs::read(&raw).unwrap() == bytes);
}

#[test]
fn only_what_changed_since_the_checkpoint_is_asked_for() {
    let Some(lab) = Lab::start("changes") else { return };
    let image = image(&lab, "c", &noise(16 * MIB, 1));
    qemu_img(&["bitmap", "--add", "--enable", text(&image), "cp"]);
    let io = |command: &str| {
        let mut ran = Command::new("qemu-io");
        let ran = ran.args(["-f", "qcow2", "-c", command]).arg(&image).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    io("write -P 7 1M 64k");
    io("write -z 5M 128k");
    let export = Export::start(&lab, &image, "qcow2", For::ReadingChanges);
    let source = TransferSource::incremental(open(&export.urls(), options(&lab))).unwrap();
    let source = source.unwrap();
    let mut part = vec![0; 64 << 10];
    source.read_at(MIB, &mut part).unwrap();
    assert!(part.iter().all(|byte| *byte == 7));
    assert_eq!(source.extents().data_bytes(), 64 << 10);
    assert_eq!(source.extent_at(5 * MIB).unwrap().kind, ExtentKind::Zero);
    assert_eq!(export.seen_by_daemon()["transferred"], 64 << 10);
    drop((source, export));
    // Without a bitmap there is no list, and that is no error.
    let export = Export::start(&lab, &image, "qcow2", For::Reading);
    let client = open(&export.urls(), options(&lab));
    assert!(TransferSource::incremental(client).unwrap().is_none());
}

#[test]
fn every_way_leads_to_the_bytes_and_the_one_taken_is_told() {
    let Some(lab) = Lab::start("ways") else { return };
    let bytes = disk_bytes(4, &[(MIB, MIB)]);
    let export = Export::start(&lab, &image(&lab, "w", &bytes), "qcow2", For::Reading);
    let arrive = |urls: &TicketUrls, options: TransferOptions| {
        let source = TransferSource::full(open(urls, options)).unwrap();
        assert!(read_all(&source) == bytes);
        (source.client().transport(), source.client().fallbacks())
    };
    let direct = export.urls();
    let mut local = options(&lab);
    local.may_use_unix_socket = true;
    let counters = local.counters.clone();
    assert_eq!(arrive(&direct, local), (Transport::Unix, Vec::new()));
    assert!(counters.counts().received_bytes > MIB);

    // Nobody listens there, so it goes through the proxy.
    let both = TicketUrls { direct: Some(unreachable(&direct)), proxy: export.proxy_urls().proxy };
    let (transport, fallbacks) = arrive(&both, options(&lab));
    assert_eq!((transport, fallbacks.len()), (Transport::Proxy, 1));
    assert!(fallbacks[0].contains("127.0.0.1:1: no connection"), "{fallbacks:?}");
    assert!(!fallbacks[0].contains("canary"), "{fallbacks:?}");
    let only = TransferOptions { way: Way::Direct, ..options(&lab) };
    let error = ImageClient::open(&both, only).err().unwrap();
    assert!(error.chain().contains("refused") && !error.chain().contains("canary"), "{error:?}");
    let proxy = TransferOptions { way: Way::Proxy, ..options(&lab) };
    assert_eq!(arrive(&export.proxy_urls(), proxy).0, Transport::Proxy);
}

/// The same image at a port where nobody listens.
fn unreachable(urls: &TicketUrls) -> backstop::ovirt::wire::TicketUrl {
    let url = urls.direct.as_ref().unwrap().expose();
    let path = url.split_once("/images/").unwrap().1;
    format!("https://127.0.0.1:1/images/{path}").into()
}

/// Knows one other place, and how often it was asked.
struct Elsewhere {
    urls: TicketUrls,
    asked: AtomicU32,
}

impl TicketKeeper for Elsewhere {
    fn renew(&self) -> Result<TicketUrls> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.urls.clone())
    }
}

#[test]
fn an_export_that_was_restarted_and_a_ticket_that_was_taken_away_do_not_end_a_download() {
    let Some(lab) = Lab::start("restarts") else { return };
    let bytes = noise(8 * MIB, 3);
    let image = image(&lab, "r", &bytes);
    let mut first = Export::start(&lab, &image, "qcow2", For::Reading);
    let second = Export::start(&lab, &image, "qcow2", For::Reading);
    let keeper = Arc::new(Elsewhere { urls: second.urls(), asked: AtomicU32::new(0) });
    let options = TransferOptions { keeper: Some(keeper.clone()), ..options(&lab) };
    let source = TransferSource::full(open(&first.urls(), options)).unwrap();
    let mut part = vec![0; MIB as usize];
    let mut read = |number: u64| {
        source.read_at(number * MIB, &mut part).unwrap();
        assert!(part == bytes[(number * MIB) as usize..][..MIB as usize], "{number}");
    };
    read(0);
    // The connections so far are of no use any more.
    first.restart_server();
    (1..4).for_each(&mut read);
    assert_eq!(keeper.asked.load(Ordering::Relaxed), 0);
    first.take_ticket();
    (4..8).for_each(&mut read);
    assert_eq!(keeper.asked.load(Ordering::Relaxed), 1);
    // Nobody is left who has the bytes.
    second.take_ticket();
    let error = source.read_at(0, &mut part).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.chain().contains("403") && !error.chain().contains("canary"), "{error:?}");
}
