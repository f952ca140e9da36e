//! Uploads of images to a daemon that misbehaves.

use std::time::{Duration, Instant};

use backstop::ovirt::transfer::{ImageClient, TransferOptions, TransferSink};
use backstop::restore::ImageSink;

use crate::daemon::Trick;
use crate::transfer::{MIB, Setup};

fn sink_with(setup: &Setup, options: TransferOptions) -> TransferSink {
    let client = ImageClient::open(&setup.daemon.urls(), options).unwrap();
    TransferSink::new(client, setup.image.len() as u64).unwrap()
}

fn sink(setup: &Setup) -> TransferSink {
    sink_with(setup, setup.options())
}

#[test]
fn uploads_survive_broken_connections_and_zeros_are_no_data() {
    let setup = Setup::new(4);
    let sink = sink(&setup);
    setup.daemon.play(&[Trick::Close, Trick::Status(500)]);
    sink.write_at(4096, &vec![7; MIB]).unwrap();
    setup.daemon.play(&[Trick::Close]);
    sink.zero(2 << 20, 2 << 20).unwrap();
    sink.finish().unwrap();
    let mut expected = setup.image.clone();
    expected[4096..4096 + MIB].fill(7);
    expected[2 << 20..].fill(0);
    assert!(setup.daemon.with(|state| state.image.clone()) == expected);
    assert_eq!(setup.daemon.ranges("PUT ?flush=n").len(), 3);
    assert_eq!(setup.daemon.ranges("PATCH ").len(), 3);
    assert!(sink.zero(4 << 20, 1).is_err() && sink.write_at(u64::MAX, b"x").is_err());
}

#[test]
fn a_connection_whose_body_was_refused_unread_is_not_used_again() {
    let setup = Setup::new(4);
    let sink = sink(&setup);
    setup.daemon.play(&[Trick::Refuse(400)]);
    let error = sink.write_at(0, &vec![7; 3 * MIB]).unwrap_err();
    assert!(error.chain().contains("the host answered 400: no"), "{error:?}");
    sink.write_at(0, &vec![8; 3 * MIB]).unwrap();
    assert!(setup.daemon.with(|state| state.image[..3 * MIB].iter().all(|byte| *byte == 8)));
}

#[test]
fn a_daemon_that_stops_listening_in_the_middle_of_an_upload_is_left() {
    let setup = Setup::new(8);
    let mut options = setup.options();
    options.patience.quiet = Duration::from_millis(500);
    let sink = sink_with(&setup, options);
    setup.daemon.play(&[Trick::Deaf]);
    let began = Instant::now();
    sink.write_at(0, &vec![9; 8 << 20]).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(setup.daemon.with(|state| state.image.iter().all(|byte| *byte == 9)));
}

#[test]
fn a_daemon_that_cannot_zero_or_flush_is_sent_zeros_and_flushes_by_itself() {
    let setup = Setup::new(3);
    setup.daemon.with(|state| state.abilities = Some(r#"{"features": []}"#.to_owned()));
    let sink = sink(&setup);
    sink.zero(5, 2 << 20).unwrap();
    sink.finish().unwrap();
    let mut expected = setup.image.clone();
    expected[5..5 + (2 << 20)].fill(0);
    assert!(setup.daemon.with(|state| state.image.clone()) == expected);
    assert_eq!(setup.daemon.ranges("PUT ").len(), 2);
    assert!(setup.daemon.ranges("PATCH ").is_empty());
}
