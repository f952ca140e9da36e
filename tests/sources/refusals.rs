//! What cannot be read is refused when it is opened, by kind and with a name.

use std::fs;

use backstop::error::{Error, ErrorKind};
use backstop::ingest::open::{Backing, ImageFormat, open_image};

use crate::check::check_source;
use crate::qemu::{Images, patch};

const MIB: u64 = 1 << 20;

fn refusal(images: &Images, name: &str) -> Error {
    let error = open_image(&images.path(name), None, Backing::Follow).unwrap_err();
    assert!(error.path().is_some(), "{error:?}");
    error
}

#[test]
fn a_qcow2_image_under_another_name_is_refused_until_its_format_is_given() {
    let images = Images::new();
    images.create("disk.img", MIB, "");
    let error = refusal(&images, "disk.img");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let path = images.path("disk.img");
    let image = open_image(&path, Some(ImageFormat::Qcow2), Backing::Refuse).unwrap();
    check_source(&*image.source, &vec![0; 1 << 20]);
    let image = open_image(&path, Some(ImageFormat::Raw), Backing::Refuse).unwrap();
    check_source(&*image.source, &fs::read(&path).unwrap());
}

#[test]
fn a_raw_file_under_a_qcow2_name_is_refused() {
    let images = Images::new();
    fs::write(images.path("disk.qcow2"), vec![0; 1 << 20]).unwrap();
    assert_eq!(refusal(&images, "disk.qcow2").kind(), ErrorKind::Invalid);
    fs::write(images.path("disk.qcow2"), b"QFI").unwrap();
    assert_eq!(refusal(&images, "disk.qcow2").kind(), ErrorKind::Source);
}

#[test]
fn an_encrypted_image_is_refused() {
    let images = Images::new();
    let secret = "--object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s";
    images.create("disk.qcow2", MIB, &format!("{secret},encrypt.iter-time=10"));
    let error = refusal(&images, "disk.qcow2");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("encrypted"), "{error}");
}

#[test]
fn an_image_with_an_external_data_file_is_refused() {
    let images = Images::new();
    images.create("disk.qcow2", MIB, "-o data_file=data.raw");
    let error = refusal(&images, "disk.qcow2");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("external data file"), "{error}");
}

#[test]
fn an_image_of_a_later_time_is_refused_with_the_number_of_its_feature() {
    let images = Images::new();
    let path = images.create("disk.qcow2", MIB, "");
    patch(&path, 72, &(1_u64 << 40).to_be_bytes());
    let error = refusal(&images, "disk.qcow2");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("bit 40"), "{error}");
}

#[test]
fn an_image_that_qemu_marked_as_corrupt_is_refused() {
    let images = Images::new();
    let path = images.create("disk.qcow2", MIB, "");
    patch(&path, 79, &[2]);
    let error = refusal(&images, "disk.qcow2");
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("corrupt"), "{error}");
}

#[test]
fn a_disk_larger_than_64_tib_is_refused() {
    let images = Images::new();
    images.create("disk.qcow2", (64 << 40) + 512, "-o cluster_size=2M");
    assert_eq!(refusal(&images, "disk.qcow2").kind(), ErrorKind::Unsupported);
}

#[test]
fn a_missing_image_is_not_found() {
    let images = Images::new();
    assert_eq!(refusal(&images, "gone.qcow2").kind(), ErrorKind::NotFound);
}
