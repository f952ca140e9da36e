//! Images that lie. Whatever they claim, the answer is an error or bytes, never a panic.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use backstop::error::{Error, ErrorKind, Result};
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::source::ExtentKind;
use proptest::prelude::{any, prop};
use proptest::test_runner::{Config, TestRunner};

use crate::qemu::{Images, field, patch};

const MIB: u64 = 1 << 20;
const L1_OFFSET_AT: u64 = 40;
const OFFSET_BITS: u64 = 0x00ff_ffff_ffff_fe00;

/// An image with one data cluster at its beginning, and where its tables are.
struct Victim {
    _images: Images,
    path: PathBuf,
    l1: u64,
    l2: u64,
}

fn victim(options: &str) -> Victim {
    let images = Images::new();
    let path = images.create("disk.qcow2", MIB, options);
    images.io("disk.qcow2", &["write -P 1 0 64k"]);
    let l1 = field(&path, L1_OFFSET_AT);
    let l2 = field(&path, l1) & OFFSET_BITS;
    Victim { _images: images, path, l1, l2 }
}

impl Victim {
    /// What reading says after 8 bytes of the image were changed.
    fn damage(&self, at: u64, value: u64) -> Error {
        let before = field(&self.path, at);
        patch(&self.path, at, &value.to_be_bytes());
        let error = read_all(&self.path).expect_err("the damage went unnoticed");
        patch(&self.path, at, &before.to_be_bytes());
        read_all(&self.path).expect("the image is good again");
        assert_eq!(error.path(), Some(&*self.path), "{error:?}");
        error
    }
}

/// Reads the image as a backup would; of a disk that claims to be huge, the beginning.
fn read_all(path: &Path) -> Result<()> {
    let source = open_image(path, Some(ImageFormat::Qcow2), Backing::Refuse)?.source;
    let mut out = vec![0; 40_000];
    let mut at = 0;
    while at < source.size_bytes().min(2 * MIB) {
        let extent = source.extent_at(at)?;
        assert!(extent.len_bytes > 0 && at + extent.len_bytes <= source.size_bytes());
        let len = extent.len_bytes.min(out.len() as u64);
        let part = &mut out[..len as usize];
        source.read_at(at, part)?;
        assert!(extent.kind == ExtentKind::Data || part.iter().all(|byte| *byte == 0));
        at += len;
    }
    source.finish()
}

#[test]
fn damaged_tables_are_errors_of_the_source_that_name_the_place() {
    let victim = victim("");
    let (l1, l2) = (victim.l1, victim.l2);
    let beyond = 1 << 40;
    let cases = [
        (L1_OFFSET_AT, l1 + 512, "cannot begin"),
        (L1_OFFSET_AT, beyond, "the L1 table lies beyond the end"),
        (l1, l2 + 512, "points into a cluster"),
        (l1, l2 | 1, "reserved bits"),
        (l1, beyond, "points beyond the end"),
        (l2, 0x5_0200, "points into a cluster"),
        (l2, 0x5_0000 | 1 << 60, "reserved bits"),
        (l2, beyond, "ends early"),
        (l2, 1 << 62 | beyond, "compressed cluster lies beyond the end"),
        (l2, 1 << 62 | 0x5_0000, "compressed cluster cannot be unpacked"),
        (20, 63 << 32, "cluster size"),
        (32, u64::from(u32::MAX), "L1 table of 4294967295 entries"),
        (96, 4 << 32 | 0xffff_fff8, "longer than a cluster"),
        (96, 4 << 32 | 8, "a header of 8 bytes"),
    ];
    for (at, value, says) in cases {
        let error = victim.damage(at, value);
        assert_eq!(error.kind(), ErrorKind::Source, "{error:?}");
        assert!(error.chain().contains(says) && error.chain().contains(" at byte "), "{error:?}");
    }
}

#[test]
fn damaged_subclusters_are_errors_of_the_source() {
    let victim = victim("-o extended_l2=on");
    for value in [1 | 1 << 32, u64::MAX] {
        assert_eq!(victim.damage(victim.l2 + 8, value).kind(), ErrorKind::Source);
    }
    assert_eq!(victim.damage(victim.l2, 0).kind(), ErrorKind::Source);
}

#[test]
fn a_damaged_packed_cluster_is_an_error_with_its_cause() {
    for kind in ["zlib", "zstd"] {
        let images = Images::new();
        fs::write(images.path("disk.raw"), "seven words of a text ".repeat(50_000)).unwrap();
        let options = format!("-o compression_type={kind}");
        images.img(&format!("convert -c -f raw -O qcow2 {options} disk.raw disk.qcow2"));
        let path = images.path("disk.qcow2");
        let l2 = field(&path, field(&path, L1_OFFSET_AT)) & OFFSET_BITS;
        let packed = field(&path, l2) & ((1 << 54) - 1);
        patch(&path, packed, &[0xff; 16]);
        let error = read_all(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    }
}

/// Small images of all kinds, as bytes.
fn models() -> Vec<Vec<u8>> {
    let images = Images::new();
    let text: String = (0..3000).map(|n| format!("line {n}\n")).collect();
    fs::write(images.path("disk.raw"), text).unwrap();
    let made = |options: &str, name: &str| {
        images.img(&format!("convert -f raw -O qcow2 {options} disk.raw {name}"));
        fs::read(images.path(name)).unwrap()
    };
    vec![
        made("-o cluster_size=512", "plain"),
        made("-o compat=0.10,cluster_size=1k", "old"),
        made("-c -o cluster_size=4k", "deflated"),
        made("-c -o cluster_size=4k,compression_type=zstd", "zstd"),
        made("-o cluster_size=16k,extended_l2=on", "extended"),
    ]
}

#[test]
fn an_image_that_is_cut_short_at_any_length_is_read_or_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for model in models() {
        fs::write(file.path(), &model).unwrap();
        read_all(file.path()).expect("the whole image is good");
        let writer = OpenOptions::new().write(true).open(file.path()).unwrap();
        // Every length of the header, and then one in each sector and its end.
        let lengths = (0..model.len()).rev().filter(|len| *len < 600 || len % 512 < 2);
        for len in lengths {
            writer.set_len(len as u64).unwrap();
            let outcome = read_all(file.path());
            let kind = outcome.as_ref().err().map(Error::kind);
            assert!(kind.is_none_or(|kind| kind == ErrorKind::Source), "{len}: {outcome:?}");
        }
    }
}

#[test]
fn images_with_random_damage_are_read_or_refused_and_never_break_the_reader() {
    let models = models();
    let file = tempfile::NamedTempFile::new().unwrap();
    let change = (any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let damage = (0..models.len(), prop::collection::vec(change, 1..8));
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&damage, |(model, changes)| {
        let mut bytes = models[model].clone();
        let tables = bytes.len().min(4096);
        for (at, byte, anywhere) in changes {
            // Most bytes of an image are data; the interesting ones are at its beginning.
            let reach = if anywhere { bytes.len() } else { tables };
            bytes[at.index(reach)] = byte;
        }
        fs::write(file.path(), &bytes).unwrap();
        let _ = read_all(file.path());
        Ok(())
    });
    outcome.unwrap();
}

/// Entries of tables are what a reader follows: here they alone are changed, to likely lies.
#[test]
fn images_with_random_table_entries_are_read_or_refused_and_never_break_the_reader() {
    let models = models();
    let file = tempfile::NamedTempFile::new().unwrap();
    let entry = (any::<prop::sample::Index>(), any::<u64>(), 0..64_u32, any::<bool>());
    let damage = (0..models.len(), prop::collection::vec(entry, 1..6));
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&damage, |(model, entries)| {
        let mut bytes = models[model].clone();
        for (index, value, shift, flip) in entries {
            let at = index.index(bytes.len() / 8) * 8;
            let old = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            let new = if flip { old ^ (1 << shift) } else { value >> shift };
            bytes[at..at + 8].copy_from_slice(&new.to_be_bytes());
        }
        fs::write(file.path(), &bytes).unwrap();
        let _ = read_all(file.path());
        Ok(())
    });
    outcome.unwrap();
}
