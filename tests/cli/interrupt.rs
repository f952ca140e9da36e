use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Lab, MIB, noise, signal, wait, wait_until};

/// How long an interrupted run may go on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_backup_of_a_silent_stream_ends_soon_and_what_it_stored_is_found_again() {
    let lab = Lab::new();
    for (number, name) in ["TERM", "INT"].into_iter().enumerate() {
        let bytes = noise(24 * MIB, number as u64);
        let mut stream = lab.start_stream("web", &[]);
        stream.feed(&bytes);
        stream.signal(name);
        let ran = stream.wait(PATIENCE).expect(1);
        assert_eq!(ran.json()["error"]["kind"], "cancelled");
        assert!(ran.stderr.contains("interrupt again to end at once"), "{ran:?}");
        assert_eq!(lab.point_count(), number);
        let next = lab.back_up("web", &bytes);
        // Of 24 chunks a few were still on their way.
        assert!(next["stats"]["duplicate_bytes"].as_u64().unwrap() >= 10 << 20, "{next}");
    }
}

#[test]
fn a_backup_of_a_large_image_ends_soon() {
    let lab = Lab::new();
    let image = lab.file("large.raw", &noise(192 * MIB, 1));
    let args = ["backup", "image", "--vm", "web", "--compression-level", "19", "--threads", "1"];
    let child = lab.command(args.iter().chain([&image.as_str()])).spawn().unwrap();
    let sessions = lab.repo().join("sessions");
    assert!(wait_until(LONG, || fs::read_dir(&sessions).unwrap().next().is_some()));
    signal(&child, "TERM");
    let ran = wait(child, PATIENCE).expect(1);
    assert!(ran.stderr.contains("error: the backup was interrupted"), "{ran:?}");
    assert_eq!(lab.point_count(), 0);
}

#[test]
fn a_run_that_was_killed_leaves_nothing_that_stands_in_the_way() {
    let lab = Lab::new();
    let mut stream = lab.start_stream("web", &[]);
    stream.feed(&noise(2 * MIB, 1));
    stream.kill();
    assert_eq!(lab.point_count(), 0);
    lab.back_up("web", &noise(MIB, 2));
    assert_eq!(lab.point_count(), 1);
}

#[test]
fn a_second_signal_ends_a_run_that_cannot_end_by_itself() {
    let lab = Lab::new();
    lab.back_up("web", &noise(4 * MIB, 1));
    // Nobody reads what the restore writes, so it hangs in the middle.
    let mut command: Command = lab.command(["restore", "disk", "web@latest", "disk", "-"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let _unread = child.stdout.take();
    let stderr = child.stderr.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    assert!(wait_until(LONG, || is_asleep_in_write(child.id())), "the restore hangs");
    signal(&child, "INT");
    assert!(lines.next().unwrap().unwrap().contains("interrupt again"));
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "INT");
    wait(child, PATIENCE).expect(1);
}

/// Whether a thread of the process waits for room in a pipe.
fn is_asleep_in_write(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let waits_in = |path| fs::read_to_string(path).unwrap_or_default();
    threads.flatten().any(|thread| waits_in(thread.path().join("wchan")).contains("pipe_write"))
}
