//! Images with other images behind them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use backstop::error::ErrorKind;
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::qcow2::Qcow2Image;
use backstop::ingest::source::ImageSource;

use crate::check::{check_source, open};
use crate::qemu::{Images, field, noise, patch};

const MIB: u64 = 1 << 20;

/// A raw base of 5 MiB and an odd rest with a hole, an overlay, and one on that.
fn chain_of_three(mid_size: u64, top_size: u64, options: &str) -> (Images, PathBuf) {
    let images = Images::new();
    let base = File::create(images.path("base.raw")).unwrap();
    base.write_all_at(&noise(1 << 20), 0).unwrap();
    base.write_all_at(&noise((1 << 20) + 77), 4 * MIB).unwrap();
    images.create("mid.qcow2", mid_size, &format!("{options} -b base.raw -F raw"));
    images.io("mid.qcow2", &["write -P 1 512k 100k", "write -z 3904k 96k", "write -P 2 2M 3k"]);
    let top = images.create("top.qcow2", top_size, &format!("{options} -b mid.qcow2 -F qcow2"));
    images.io("top.qcow2", &["write -P 3 540k 2k", "write -z 64k 64k", "discard 2M 64k"]);
    (images, top)
}

fn check_chain(mid_size: u64, top_size: u64, options: &str) {
    let (images, top) = chain_of_three(mid_size, top_size, options);
    let image = open(&top);
    assert_eq!(image.backing_files, [images.path("mid.qcow2"), images.path("base.raw")]);
    let zero_bytes = check_source(&*image.source, &images.disk("top.qcow2", "qcow2"));
    assert!(zero_bytes >= 2 * MIB, "the hole of the base is not known: {zero_bytes}");
}

#[test]
fn a_chain_that_grows_upwards_reads_as_qemu_reads_it() {
    check_chain(6 * MIB, 9 * MIB, "");
}

#[test]
fn a_chain_that_shrinks_upwards_reads_as_qemu_reads_it() {
    check_chain(5 * MIB, 4 * MIB + 512, "");
}

/// What the short one cut off must not come back from the base.
#[test]
fn a_chain_that_is_short_in_the_middle_reads_zeros_beyond_it() {
    check_chain(4 * MIB + 512, 6 * MIB, "");
}

#[test]
fn a_chain_with_subclusters_reads_as_qemu_reads_it() {
    check_chain(6 * MIB, 7 * MIB, "-o extended_l2=on");
}

#[test]
fn a_chain_of_version_2_reads_as_qemu_reads_it() {
    check_chain(6 * MIB, 7 * MIB, "-o compat=0.10,cluster_size=4k");
}

#[test]
fn a_compressed_base_is_read_through_an_overlay() {
    let images = Images::new();
    fs::write(images.path("disk.raw"), [&noise(1 << 20)[..], &[5; 1 << 20]].concat()).unwrap();
    images.img(
        "convert -c -f raw -O qcow2 -o compression_type=zstd,cluster_size=2M disk.raw base.qcow2",
    );
    let top = images.create("top.qcow2", 3 * MIB, "-b base.qcow2 -F qcow2");
    images.io("top.qcow2", &["write -P 3 1000000 100000"]);
    check_source(&*open(&top).source, &images.disk("top.qcow2", "qcow2"));
}

#[test]
fn names_are_seen_from_the_image_that_says_them() {
    let images = Images::new();
    fs::create_dir(images.path("below")).unwrap();
    images.create("below/base.qcow2", MIB, "");
    images.io("below/base.qcow2", &["write -P 1 0 64k"]);
    images.create("below/mid.qcow2", MIB, "-b base.qcow2 -F qcow2");
    let top = images.create("top.qcow2", MIB, "-b below/mid.qcow2 -F qcow2");
    check_source(&*open(&top).source, &images.disk("top.qcow2", "qcow2"));
}

#[test]
fn an_image_with_a_backing_file_is_refused_unless_that_is_wanted() {
    let (_images, top) = chain_of_three(4 * MIB, 4 * MIB, "");
    let error = open_image(&top, None, Backing::Refuse).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("\"mid.qcow2\"") && text.contains("only on request"), "{text}");
}

#[test]
fn a_change_of_any_file_of_the_chain_is_noticed_at_the_end() {
    for changed in ["top.qcow2", "mid.qcow2", "base.raw"] {
        let (images, top) = chain_of_three(4 * MIB, 4 * MIB, "");
        let image = Qcow2Image::open(&top, Backing::Follow).unwrap();
        image.finish().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        patch(&images.path(changed), 4000, &[1]);
        let error = image.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert_eq!(error.path(), Some(&*images.path(changed)));
    }
}

/// Takes the backing format out of the header, as images of old releases are.
fn forget_backing_format(images: &Images, name: &str) {
    let path = images.path(name);
    let header_len = field(&path, 96) & 0xffff_ffff;
    assert_eq!(field(&path, header_len) >> 32, 0xe279_2aca, "no backing format");
    patch(&path, header_len, b"none");
}

#[test]
fn a_backing_file_without_a_format_is_what_its_name_says() {
    let images = Images::new();
    images.create("base.qcow2", MIB, "");
    images.io("base.qcow2", &["write -P 1 0 64k"]);
    let top = images.create("top.qcow2", MIB, "-b base.qcow2 -F qcow2");
    let disk = images.disk("top.qcow2", "qcow2");
    forget_backing_format(&images, "top.qcow2");
    check_source(&*open(&top).source, &disk);

    fs::write(images.path("base.img"), noise(1 << 20)).unwrap();
    let top = images.create("top.qcow2", MIB, "-b base.img -F raw");
    forget_backing_format(&images, "top.qcow2");
    check_source(&*open(&top).source, &noise(1 << 20));
}

/// A guest can write a qcow2 header into its raw disk and name any file of the host in it.
#[test]
fn a_raw_backing_file_that_looks_like_qcow2_is_raw_only_where_the_overlay_says_so() {
    let images = Images::new();
    images.create("base.img", MIB, "");
    let mut bytes = fs::read(images.path("base.img")).unwrap();
    bytes.resize(1 << 20, 0);
    fs::write(images.path("base.img"), &bytes).unwrap();
    let top = images.create("top.qcow2", MIB, "-b base.img -F raw");
    check_source(&*open(&top).source, &bytes);
    forget_backing_format(&images, "top.qcow2");
    let error = open_image(&top, None, Backing::Follow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.path(), Some(&*images.path("base.img")));
}

#[test]
fn a_backing_format_that_is_not_known_is_refused() {
    let images = Images::new();
    let top = images.create("top.qcow2", MIB, "-u -b base.vmdk -F vmdk");
    let error = open_image(&top, Some(ImageFormat::Qcow2), Backing::Follow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("vmdk"), "{error}");
}

#[test]
fn a_backing_file_that_is_no_path_is_refused() {
    let images = Images::new();
    for name in ["json:{\"driver\":\"raw\"}", "nbd://localhost/disk", "ssh://host/disk"] {
        let args =
            vec!["create", "-q", "-f", "qcow2", "-u", "-b", name, "-F", "raw", "t.qcow2", "1M"];
        images.run("qemu-img", args);
        let error = open_image(&images.path("t.qcow2"), None, Backing::Follow).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_backing_file_that_is_missing_is_named() {
    let images = Images::new();
    let top = images.create("top.qcow2", MIB, "-u -b gone.raw -F raw");
    let error = open_image(&top, None, Backing::Follow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.path(), Some(&*images.path("gone.raw")));
}

#[test]
fn a_chain_that_runs_in_a_circle_is_refused() {
    let images = Images::new();
    let own = images.create("own.qcow2", MIB, "-u -b OWN.qcow2 -F qcow2");
    patch(&own, field(&own, 8), b"own");
    images.create("first.qcow2", MIB, "-u -b second.qcow2 -F qcow2");
    let second = images.create("second.qcow2", MIB, "-u -b first.qcow2 -F qcow2");
    // Another name of the same file hides nothing.
    images.create("linked.qcow2", MIB, "-u -b alias.qcow2 -F qcow2");
    let linked = images.path("linked.qcow2");
    fs::hard_link(&linked, images.path("alias.qcow2")).unwrap();
    for path in [own, second, linked] {
        let error = open_image(&path, None, Backing::Follow).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert!(error.to_string().contains("circle"), "{error}");
    }
}

#[test]
fn a_chain_of_64_files_is_read_and_a_longer_one_refused() {
    let images = Images::new();
    images.create("00.qcow2", MIB, "");
    images.io("00.qcow2", &["write -P 7 0 1M"]);
    let model = images.create("model.qcow2", MIB, "-u -b ??.qcow2 -F qcow2");
    for number in 1..=64 {
        let path = images.path(&format!("{number:02}.qcow2"));
        fs::copy(&model, &path).unwrap();
        patch(&path, field(&path, 8), format!("{:02}", number - 1).as_bytes());
    }
    let image = open(&images.path("63.qcow2"));
    assert_eq!(image.backing_files.len(), 63);
    check_source(&*image.source, &vec![7; 1 << 20]);
    let error = open_image(&images.path("64.qcow2"), None, Backing::Follow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
