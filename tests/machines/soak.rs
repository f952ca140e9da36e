//! Random commands, two at a time, and kills, beside a mount, for as long as it is told to.

use std::fs;
use std::process::{Child, Output};
use std::result::Result;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop::store::testing::SeededChance;

use crate::acts::{Ended, ended_of, files_below, id_of};
use crate::onlooker::Onlooker;
use crate::program::Lab;
use crate::repo::noise;
use crate::scale::{runs, seed};
use crate::told::{Broken, Told, next_disk};

const VMS: [&str; 4] = ["web", "db", "mail", "dns"];
/// Rounds between two looks at everything.
const ROUNDS_PER_LOOK: usize = 12;
/// Commands that change no restore point.
const OTHERS: &[&[&str]] = &[
    &["scrub", "--level", "list"],
    &["scrub", "--level", "points"],
    &["rebuild-index"],
    &["list"],
    &["stats"],
    &["restore", "disk", "web@latest", "disk", "out.raw", "--force"],
];
/// A command that came too early, or beside one that excludes it, may end with these.
const ALLOWED: [&str; 2] = ["busy", "not_found"];

struct Soak {
    lab: Lab,
    dice: SeededChance,
    disks: [Vec<u8>; VMS.len()],
    told: Told,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    commands: usize,
    kills: usize,
    looks: usize,
}

/// A process, and the disk that it stores.
struct Running {
    child: Child,
    disk: Option<Arc<Vec<u8>>>,
    args: String,
}

impl Soak {
    fn new() -> Self {
        let lab = Lab::new_in_memory();
        let mut told = Told::default();
        told.attempted(&Arc::new(next_disk()));
        let disks = [1, 2, 3, 4].map(|number| noise(1_400_000, number));
        let dice = SeededChance::new(seed());
        Self { lab, dice, disks, told, counts: Counts::default() }
    }

    fn start_backup(&mut self, vm: usize) -> Running {
        let disk = &mut self.disks[vm];
        let at = self.dice.below(disk.len() - 4000);
        disk[at..at + 4000].copy_from_slice(&noise(4000, self.dice.next()));
        let image = self.lab.file(&format!("{vm}.raw"), disk);
        let disk = Arc::new(disk.clone());
        self.told.attempted(&disk);
        let image = format!("disk={image}");
        self.start(&["backup", "image", "--vm", VMS[vm], &image], Some(disk))
    }

    fn start(&mut self, args: &[&str], disk: Option<Arc<Vec<u8>>>) -> Running {
        self.counts.commands += 1;
        let child = self.lab.command(args).arg("--json").spawn().unwrap();
        Running { child, disk, args: args.join(" ") }
    }

    /// Lets a process end, or kills it after a while. Takes down what it says.
    fn end(&mut self, running: Running) -> Result<(), Broken> {
        let Running { mut child, disk, args } = running;
        if self.dice.below(3) == 0 {
            sleep(Duration::from_millis(self.dice.below(60) as u64));
            child.kill().unwrap();
            self.counts.kills += 1;
        }
        let out: Output = child.wait_with_output().unwrap();
        match (ended_of(0, &out), disk) {
            (Some(Ended::Done(document)), Some(disk)) => {
                self.told.committed(id_of(&document), &disk);
                Ok(())
            }
            (Some(Ended::Done(_) | Ended::Killed), _) => Ok(()),
            (Some(Ended::Failed(kind)), _) if ALLOWED.contains(&&*kind) => Ok(()),
            _ => Err(format!("{args}: {out:?}")),
        }
    }

    fn round(&mut self) -> Result<(), Broken> {
        let vm = self.dice.below(VMS.len());
        let first = self.start_backup(vm);
        let second = match self.dice.below(3) {
            0 => self.start_backup((vm + 1) % VMS.len()),
            _ => self.start(OTHERS[self.dice.below(OTHERS.len())], None),
        };
        self.end(first)?;
        self.end(second)
    }

    /// Everything that was told is there, and nothing is left that nobody needs.
    fn look(&mut self) -> Result<(), Broken> {
        self.counts.looks += 1;
        let repo = self.told.hold(&self.lab.repo())?;
        self.told.go_on(&repo)?;
        let left = files_below(&self.lab.repo().join("tmp"));
        if left.is_empty() { Ok(()) } else { Err(format!("temporary files are left: {left:?}")) }
    }
}

/// Open descriptors of this process, which looks at the repository through the library.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn random_commands_and_kills_lose_nothing_and_leave_nothing_behind() {
    let patience = Duration::from_secs(runs(8, 600) as u64);
    let began = Instant::now();
    let mut soak = Soak::new();
    let onlooker = Onlooker::new(&soak.lab);
    let mut after_first_look = None;
    while began.elapsed() < patience {
        for _ in 0..ROUNDS_PER_LOOK {
            soak.round().unwrap_or_else(|broken| panic!("{:?}: {broken}", soak.counts));
        }
        let seen = |mount: &Onlooker| mount.look(&soak.told, &soak.dice);
        let seen = onlooker.as_ref().map_or(Ok(()), seen);
        let looked = soak.look().and(seen);
        looked.unwrap_or_else(|broken| panic!("{:?}: {broken}", soak.counts));
        let open = *after_first_look.get_or_insert_with(descriptors);
        assert_eq!(descriptors(), open, "descriptors leak");
    }
    onlooker.into_iter().for_each(Onlooker::end);
    println!("soak: {} s, {:?}", began.elapsed().as_secs(), soak.counts);
    assert!(soak.counts.kills > 0 && soak.counts.looks > 0);
}
