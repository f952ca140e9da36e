//! A small file system that runs full, at every amount of room that is left to a command.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use backstop::repo::reserve_bytes;
use backstop::store::{DirStore, Store};

use crate::acts::{ACTS, Act, Ended};
use crate::filesystems::{EXT4, Mounted};
use crate::scale::runs;
use crate::skip::{is_root, skip};
use crate::stage::Stage;
use crate::told::Broken;

/// More than any command here writes. With so much room beyond the reserve none of them fails.
const ENOUGH_BYTES: u64 = 2 << 20;

/// A file that leaves so much room on its file system.
fn fill(filler: &Path, room_bytes: u64) {
    let file = File::create(filler).unwrap();
    let block = vec![1; 1 << 20];
    let mut len = 0;
    // What the file system needs for the file itself comes from the same room.
    for block in [&block[..], &block[..4096]] {
        while file.write_all_at(block, len).is_ok() {
            len += block.len() as u64;
        }
    }
    file.set_len(len.saturating_sub(room_bytes)).unwrap();
    let _full = file.sync_all();
}

/// Whether the command found too little room.
fn run_short_of_room(stage: &Stage, act: &Act, room_bytes: u64) -> Result<bool, Broken> {
    let repo = stage.lab.repo();
    let filler = repo.with_file_name("filler");
    let mut told = stage.set(act);
    fill(&filler, room_bytes);
    let out = stage.command(act).output().unwrap();
    let is_full = match stage.note(act, &out, &mut told)? {
        Ended::Failed(kind) if kind == "full" => true,
        Ended::Done(_) => false,
        _ => return Err(format!("it did not end in a proper way: {out:?}")),
    };
    stage.hold(act, &told)?;
    std::fs::remove_file(&filler).unwrap();
    stage.repeat(act, &mut told)?;
    told.go_on(&told.hold(&repo)?)?;
    Ok(is_full)
}

#[test]
fn a_file_system_that_runs_full_at_any_moment_loses_nothing() {
    if !is_root() {
        return skip("full", "mounting needs root");
    }
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (file, mount) = (dir.path().join("file"), dir.path().join("mount"));
    std::fs::create_dir(&mount).unwrap();
    File::create(&file).unwrap().set_len(EXT4.len_bytes).unwrap();
    EXT4.make(&file);
    let mounted = Mounted::new(&EXT4, &file, &mount).unwrap();
    let stage = Stage::new(Some(&mounted.repo()));
    let rooms = runs(6, 64);
    let space = DirStore::open(stage.lab.repo()).unwrap().space().unwrap().unwrap();
    let reserve = reserve_bytes(space.total_bytes);
    let (mut full, mut count) = (0, 0);
    for act in ACTS {
        for room in 0..rooms as u64 {
            // Most of what happens happens with little room left.
            let room_bytes = ENOUGH_BYTES * room * room / (rooms * rooms) as u64;
            // Backups stop at the reserve: every other time the room begins beyond it.
            let room_bytes = room_bytes + room % 2 * reserve;
            let survived = run_short_of_room(&stage, act, room_bytes);
            let is_full = survived.unwrap_or_else(|broken| {
                panic!("{} with {room_bytes} bytes of room: {broken}", act.name)
            });
            full += usize::from(is_full);
            count += 1;
        }
    }
    println!("full: {count} runs, {full} found too little room");
    assert!(full > 0, "it was never full");
    drop(stage);
    drop(mounted);
}
