//! Transfers of images from a daemon that keeps others waiting.

use std::time::{Duration, Instant};

use backstop::ingest::source::ImageSource;

use crate::daemon::Trick;
use crate::transfer::{MIB, Setup, failed};

#[test]
fn nothing_waits_for_ever_for_a_daemon_that_stalls() {
    for trick in [Trick::Silence, Trick::Stall(0), Trick::Stall(70_000)] {
        let setup = Setup::new(1);
        let mut options = setup.options();
        options.patience.quiet = Duration::from_millis(300);
        options.patience.retry.tries = 3;
        let source = setup.source_with(options);
        setup.daemon.play(&[trick]);
        setup.expect(&source, 0, MIB);
        setup.daemon.play(&[trick; 50]);
        let began = Instant::now();
        assert!(failed(&source).chain().contains("bytes came or went in 0.3 s"), "{trick:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn a_daemon_that_sends_a_byte_now_and_then_is_as_bad_as_a_silent_one() {
    let setup = Setup::new(1);
    let mut options = setup.options();
    options.patience.quiet = Duration::from_millis(300);
    options.patience.retry.tries = 3;
    let source = setup.source_with(options);
    setup.daemon.play(&[Trick::Trickle]);
    setup.expect(&source, 0, MIB);
    setup.daemon.play(&[Trick::Trickle; 50]);
    let began = Instant::now();
    assert!(failed(&source).chain().contains("bytes came or went in 0.3 s"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_reader_that_takes_its_time_does_not_make_the_daemon_a_slow_one() {
    let setup = Setup::new(1);
    let mut options = setup.options();
    options.patience.quiet = Duration::from_millis(300);
    let source = setup.source_with(options);
    let before = setup.daemon.ranges("GET ").len();
    let mut run = source.open_run(0, MIB as u64).unwrap();
    let mut part = vec![0; MIB / 4];
    for number in 0..4 {
        run.read_exact(&mut part).unwrap();
        assert!(part == setup.image[number * MIB / 4..][..MIB / 4]);
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(setup.daemon.ranges("GET ").len(), before + 1);
}
