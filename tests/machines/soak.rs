//! Random commands, three at a time, and kills, beside a mount, for as long as it is told to.

use std::fs;
use std::process::{Child, Output};
use std::result::Result;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop::base::id::PointId;
use backstop::format::layout::Area;
use backstop::prune::prune;
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, SeededChance};

use crate::acts::{Ended, ended_of, files_below, id_of};
use crate::onlooker::Onlooker;
use crate::program::Lab;
use crate::repo::{back_up_bytes, environment, noise, read_back};
use crate::scale::{runs, seed};
use crate::told::{Broken, Told, next_disk, prune_options, said};

const VMS: [&str; 4] = ["web", "db", "mail", "dns"];
/// Rounds between two looks at everything.
const ROUNDS_PER_LOOK: usize = 12;
/// Beyond so many restore points more are dropped than are made.
const POINTS_MAX: usize = 12;
/// So many at once then.
const DROPPED_AT_ONCE: usize = 3;
/// Commands that change no restore point.
const OTHERS: &[&[&str]] = &[
    &["scrub", "--level", "list"],
    &["scrub", "--level", "points"],
    &["rebuild-index"],
    &["list"],
    &["stats"],
    &["restore", "disk", "web@latest", "disk", "out.raw", "--force"],
    &["prune", "--wait", "0s", "--live-share", "90"],
    &["repair", "--apply"],
];
/// A command that came too early, or beside one that excludes it, may end with these.
const ALLOWED: [&str; 2] = ["busy", "not_found"];
/// How much more than its restore points need a pruned repository may hold, in percent.
const SURPLUS_PERCENT_MAX: u64 = 2;

struct Soak {
    lab: Lab,
    dice: SeededChance,
    disks: [Vec<u8>; VMS.len()],
    told: Told,
    /// What was dropped since the last look, to be brought back.
    dropped: Vec<PointId>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    commands: usize,
    kills: usize,
    dropped: usize,
    brought_back: usize,
    looks: usize,
}

/// What a process is about to change.
enum Change {
    Nothing,
    /// Stores this disk.
    Adds(Vec<u8>),
    Drops(Vec<PointId>),
    Returns(PointId),
}

/// A process at work.
struct Running {
    child: Child,
    change: Change,
    args: String,
}

impl Soak {
    fn new() -> Self {
        let lab = Lab::in_memory();
        lab.run(["init", "--parity"]).expect(0);
        let mut told = Told::default();
        told.attempted(&next_disk());
        let disks = [1, 2, 3, 4].map(|number| noise(1_400_000, number));
        let dice = SeededChance::new(seed());
        Self { lab, dice, disks, told, dropped: Vec::new(), counts: Counts::default() }
    }

    fn start_backup(&mut self, vm: usize) -> Running {
        let disk = &mut self.disks[vm];
        let at = self.dice.below(disk.len() - 4000);
        disk[at..at + 4000].copy_from_slice(&noise(4000, self.dice.next()));
        let image = self.lab.file(&format!("{vm}.raw"), disk);
        let disk = disk.clone();
        self.told.attempted(&disk);
        let image = format!("disk={image}");
        self.start(&["backup", "image", "--vm", VMS[vm], &image], Change::Adds(disk))
    }

    fn start_other(&mut self) -> Running {
        self.start(OTHERS[self.dice.below(OTHERS.len())], Change::Nothing)
    }

    /// Drops a restore point, or brings one back, or makes room.
    fn start_upkeep(&mut self) -> Running {
        let mut there: Vec<_> = self.told.promised().copied().collect();
        let is_many = there.len() > POINTS_MAX;
        match self.dice.below(4) {
            0 if !self.dropped.is_empty() => {
                let point = self.dropped.swap_remove(self.dice.below(self.dropped.len()));
                self.told.in_doubt(point);
                self.start(&["forget", "--undo", &point.to_string()], Change::Returns(point))
            }
            1 if !is_many => self.start(&["prune", "--wait", "2s"], Change::Nothing),
            _ if there.is_empty() => self.start_other(),
            _ => {
                let count = if is_many { DROPPED_AT_ONCE } else { 1 };
                let pick = |_| there.swap_remove(self.dice.below(there.len()));
                let points: Vec<_> = (0..count).map(pick).collect();
                points.iter().for_each(|point| self.told.in_doubt(*point));
                let names: Vec<_> = points.iter().map(PointId::to_string).collect();
                let args = ["forget"].into_iter().chain(names.iter().map(String::as_str));
                self.start(&args.collect::<Vec<_>>(), Change::Drops(points))
            }
        }
    }

    fn start(&mut self, args: &[&str], change: Change) -> Running {
        self.counts.commands += 1;
        let child = self.lab.command(args).arg("--json").spawn().unwrap();
        Running { child, change, args: args.join(" ") }
    }

    /// Lets a process end, or kills it after a while. Takes down what it says.
    fn end(&mut self, running: Running) -> Result<(), Broken> {
        let Running { mut child, change, args } = running;
        if self.dice.below(3) == 0 {
            sleep(Duration::from_millis(self.dice.below(60) as u64));
            child.kill().unwrap();
            self.counts.kills += 1;
        }
        let out: Output = child.wait_with_output().unwrap();
        match ended_of(0, &out) {
            Some(Ended::Done(document)) => match change {
                Change::Nothing => {}
                Change::Adds(disk) => self.told.committed(id_of(&document), &disk),
                Change::Drops(points) => {
                    self.counts.dropped += points.len();
                    points.iter().for_each(|point| self.told.dropped(*point));
                    self.dropped.extend(points);
                }
                Change::Returns(point) => {
                    self.counts.brought_back += 1;
                    self.told.returned(point);
                }
            },
            Some(Ended::Killed) => {}
            Some(Ended::Failed(kind)) if ALLOWED.contains(&&*kind) => match change {
                Change::Nothing | Change::Adds(_) => {}
                Change::Drops(_) => return Err(format!("{args}: {out:?}")),
                // A prune has it, or has begun to take it.
                Change::Returns(point) => self.told.dropped(point),
            },
            _ => return Err(format!("{args}: {out:?}")),
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), Broken> {
        let vm = self.dice.below(VMS.len());
        let first = self.start_backup(vm);
        let second = match self.dice.below(3) {
            0 => self.start_backup((vm + 1) % VMS.len()),
            _ => self.start_other(),
        };
        let third = self.start_upkeep();
        self.end(first)?;
        self.end(second)?;
        self.end(third)
    }

    /// Everything that was told is there, and nothing is left that nobody needs.
    fn look(&mut self) -> Result<(), Broken> {
        self.counts.looks += 1;
        let repo = self.told.hold(&self.lab.repo())?;
        self.told.go_on(&repo)?;
        // It was brought back, or pruned.
        self.dropped.clear();
        let left = files_below(&self.lab.repo().join("tmp"));
        if left.is_empty() { Ok(()) } else { Err(format!("temporary files are left: {left:?}")) }
    }

    /// After a last prune the repository takes hardly more than one would into which its restore
    /// points were just backed up. In percent.
    fn surplus(&self) -> Result<u64, Broken> {
        let repo = self.told.hold(&self.lab.repo())?;
        prune(&repo, &prune_options(100)).map_err(said("the last prune fails"))?;
        let fresh = Arc::new(MemoryStore::new());
        let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&fresh);
        let model =
            crate::repo::create_repo_with_parity(store, environment(1)).map_err(said("model"))?;
        for point in repo.points().map_err(said("the restore points cannot be listed"))? {
            let bytes =
                read_back(&repo, &point.disks[0], false).map_err(said("it is not whole"))?;
            back_up_bytes(&model, &point.vm, &bytes).map_err(said("model"))?;
        }
        let (found, needed) = (data_bytes(&**repo.store()), data_bytes(&*fresh));
        println!("soak: {found} bytes of packs, parity and index; {needed} are needed");
        Ok(found.saturating_sub(needed) * 100 / needed)
    }
}

fn data_bytes(store: &dyn Store) -> u64 {
    let areas = [Area::Packs, Area::Parity, Area::Index].into_iter();
    let names = areas.flat_map(|area| store.list(area).unwrap());
    names.map(|name| store.len_bytes(&name).unwrap()).sum()
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
    assert!(soak.counts.dropped > 0, "nothing was dropped");
    let surplus = soak.surplus().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(surplus < SURPLUS_PERCENT_MAX, "{surplus} % more than is needed");
}
