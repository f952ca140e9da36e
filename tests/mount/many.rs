//! Many restore points cost nothing until somebody looks at them.

use std::fs;
use std::time::{Duration, Instant};

use backstop::base::clock::UtcTime;
use backstop::base::id::PointId;
use backstop::format::commit::Decision;
use backstop::format::layout::ObjectName;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};

const POINTS: u32 = 1000;

/// The shortest of three mounts.
fn mount_time(place: &Place) -> Duration {
    let times = (0..3).map(|_| {
        let began = Instant::now();
        let server = place.mount();
        let time = began.elapsed();
        assert!(server.path("vms").is_dir());
        time
    });
    times.min().unwrap()
}

#[test]
fn a_thousand_restore_points_mount_as_fast_as_one_and_are_all_there() {
    let Some(place) =
        Place::new("a_thousand_restore_points_mount_as_fast_as_one_and_are_all_there")
    else {
        return;
    };
    let bytes = noise(2 * MIB, 1);
    let first = place.back_up("vm0", vec![disk_input("sda", &bytes)]);
    let one = mount_time(&place);
    for n in 1..POINTS {
        let mut point = first.clone();
        point.id = PointId::from_bytes(u128::from(n).to_be_bytes());
        point.vm = format!("vm{}", n % 10);
        point.sequence = u64::from(n) + 1;
        let seconds = first.time.unix_seconds() + i64::from(n) * 60;
        point.time = UtcTime::from_unix_seconds(seconds).unwrap();
        let commit = Decision::Committed { point: Box::new(point) }.encode();
        let _created = place
            .repo
            .store()
            .create(&ObjectName::commit(PointId::from_bytes(u128::from(n).to_be_bytes())), &commit)
            .unwrap();
    }
    let thousand = mount_time(&place);
    println!("mounting one restore point: {one:?}, {POINTS}: {thousand:?}");
    // A commit takes at least 20 microseconds to read; twice the time or 20 ms more is noise.
    assert!(thousand < one * 2 + Duration::from_millis(20), "{one:?} and {thousand:?}");
    let server = place.mount();
    let began = Instant::now();
    let vms = fs::read_dir(server.path("vms")).unwrap().map(|vm| vm.unwrap().path());
    let count = vms.map(|vm| fs::read_dir(vm).unwrap().count() - 1).sum::<usize>();
    assert_eq!(count, POINTS as usize);
    println!("the first look at all of them: {:?}", began.elapsed());
    assert!(fs::read(server.path("vms/vm7/latest/sda.raw")).unwrap() == bytes);
}
