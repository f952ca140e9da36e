//! One scrub from its beginning to its end.

use std::time::Instant;

use rayon::ThreadPoolBuilder;

use crate::base::cancel::Cancel;
use crate::base::id::PackId;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::PointRecord;
use crate::format::layout::ObjectName;
use crate::repo::Repository;
use crate::scrub::ScrubLevel;
use crate::scrub::entries::name_damage;
use crate::scrub::health::{Health, PackDamage};
use crate::scrub::listing::{Contents, ListedPack, confirm_missing, list_packs, read_index};
use crate::scrub::objects::{Objects, check_objects};
use crate::scrub::packs::PackChecks;
use crate::scrub::parity::lacking_parity;
use crate::scrub::points::MapWalk;
use crate::scrub::record::Recorder;
use crate::scrub::report::{AffectedDisk, Finding, Named, Recording, ScrubCounts, ScrubReport};
use crate::scrub::sweep::{SweepState, sweep};

/// Packs that are checked at once, at most. Each takes as much memory as it is long, which is
/// 32 MiB as a rule.
pub(super) const WORKERS_MAX: usize = 8;

/// How to scrub.
#[derive(Debug, Clone)]
pub struct ScrubOptions {
    /// How deep to look.
    pub level: ScrubLevel,
    /// Threads that read and check packs; more than 8 are not used.
    pub threads: usize,
    /// Ends the run early. What was found by then is written down, and not reported.
    pub cancel: Cancel,
}

/// Checks a repository. That something is damaged is no error; it is in the report, and written
/// down for the next backup.
///
/// # Errors
///
/// Where nothing can be said: the repository cannot be listed, reading is forbidden, a newer
/// release wrote it, or [`ErrorKind::Cancelled`].
pub fn scrub(repo: &Repository, options: &ScrubOptions) -> Result<ScrubReport> {
    let began = Instant::now();
    let _read_once = repo.store().read_once();
    let mut run = Run::new(repo, options);
    let (objects, contents) = run.read_lists()?;
    let swept = run.check_packs(&contents);
    let recording = run.record(&contents, &objects);
    swept?;
    let affected = match run.has_reason_to_walk(&contents, &objects.points) {
        true => run.walk(&objects.points)?,
        false => Named::default(),
    };
    run.findings.list.sort_unstable();
    Ok(ScrubReport {
        level: options.level,
        counts: run.counts,
        findings: run.findings.list,
        findings_omitted: run.findings.omitted,
        affected: affected.list,
        affected_omitted: affected.omitted,
        recording,
        duration_ms: began.elapsed().as_millis() as u64,
    })
}

/// What is looked at, and what was found so far.
pub(super) struct Run<'a> {
    repo: &'a Repository,
    options: &'a ScrubOptions,
    pub(super) findings: Named<Finding>,
    pub(super) counts: ScrubCounts,
    pub(super) health: Health,
    /// Packs that have no good parity and should have, each with the reason; ascending.
    pub(super) without_parity: Vec<(PackId, String)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(repo: &'a Repository, options: &'a ScrubOptions) -> Self {
        Self {
            repo,
            options,
            findings: Named::default(),
            counts: ScrubCounts::default(),
            health: Health::default(),
            without_parity: Vec::new(),
        }
    }

    /// Reads the small objects and the index.
    pub(super) fn read_lists(&mut self) -> Result<(Objects, Contents)> {
        self.repo.monitor().phase("objects", None);
        let objects = check_objects(self.repo, &mut self.findings)?;
        self.counts.objects = objects.count;
        self.counts.points = objects.points.len() as u64;
        let level = self.options.level;
        let contents = read_index(self.repo, level, &mut self.findings, &mut self.counts)?;
        Ok((objects, contents))
    }

    /// Lists packs, checks their bytes if the level asks for it, and finds out which are missing.
    pub(super) fn check_packs(&mut self, contents: &Contents) -> Result<()> {
        let listed = list_packs(self.repo, contents, &mut self.health, &mut self.counts)?;
        let is_unseen = |pack: &&PackId| !self.health.listed.contains(pack);
        let mut unseen: Vec<PackId> = contents.packs.keys().filter(is_unseen).copied().collect();
        let checked = match self.options.level {
            ScrubLevel::List => {
                self.report_cut_packs();
                Ok(())
            }
            _ => self.sweep(contents, &listed, &mut unseen),
        };
        for pack in confirm_missing(self.repo, contents, unseen)? {
            self.health.damaged.insert(pack, PackDamage::Missing);
        }
        checked?;
        self.check_parity(contents)
    }

    /// Looks at the parity of all packs. A pack that the index does not name yet need not have any.
    fn check_parity(&mut self, contents: &Contents) -> Result<()> {
        let (level, cancel) = (self.options.level, &self.options.cancel);
        let (store, config) = (&**self.repo.store(), self.repo.config());
        let lacking = lacking_parity(store, config, &self.health.listed, level, cancel)?;
        for (pack, error) in lacking {
            if contents.packs.contains_key(&pack) {
                self.findings.push(Finding::object(ObjectName::parity(pack), &error));
            }
            self.without_parity.push((pack, error.chain()));
        }
        Ok(())
    }

    fn report_cut_packs(&mut self) {
        for (pack, damage) in &self.health.damaged {
            if let PackDamage::Cut(len) = damage {
                let problem = format!("the pack has {len} bytes, which cannot be all of them");
                self.findings.push(Finding::DamagedPack { pack: *pack, problem });
            }
        }
    }

    fn sweep(
        &mut self,
        contents: &Contents,
        listed: &[ListedPack],
        vanished: &mut Vec<PackId>,
    ) -> Result<()> {
        let options = self.options;
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads.clamp(1, WORKERS_MAX))
            .thread_name(|n| format!("scrub-{n}"))
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").because(error))?;
        self.repo.monitor().phase("packs", Some(self.counts.pack_bytes));
        let checks = PackChecks {
            store: &**self.repo.store(),
            sealing: self.repo.sealing(),
            monitor: self.repo.monitor(),
            index: &contents.index,
            is_index_whole: contents.is_whole,
            level: options.level,
            cancel: &options.cancel,
        };
        let state = SweepState {
            health: &mut self.health,
            findings: &mut self.findings,
            counts: &mut self.counts,
            vanished,
        };
        sweep(&pool, &checks, contents, listed, state)
    }

    fn record(&mut self, contents: &Contents, objects: &Objects) -> Recording {
        let mut recorder = Recorder::new(self.repo, objects);
        for finding in &self.findings.list {
            // So far these are entries that the index does not name; it may again.
            if let Finding::DamagedChunk { copy, .. } = finding {
                recorder.copy(*copy);
            }
        }
        name_damage(contents, &self.health, &mut self.findings, &mut recorder);
        recorder.finish()
    }

    /// Whether to find out which disks cannot be read: always at the level for it, at the others
    /// where something is damaged.
    fn has_reason_to_walk(&self, contents: &Contents, points: &[PointRecord]) -> bool {
        self.options.level >= ScrubLevel::Points
            || !self.health.damaged.is_empty()
            || !contents.is_whole
            || points.iter().any(|point| has_lost_root(contents, point))
    }

    /// Finds out which disks cannot be read.
    pub(super) fn walk(&mut self, points: &[PointRecord]) -> Result<Named<AffectedDisk>> {
        let total = points.iter().map(PointRecord::size_bytes).fold(0, u64::saturating_add);
        self.repo.monitor().phase("restore points", Some(total));
        let reader = self.repo.reader()?;
        let cancel = &self.options.cancel;
        let mut walk = MapWalk::new(reader, &self.health, self.repo.monitor(), cancel);
        points.iter().try_for_each(|point| walk.point(point))?;
        self.counts.disks = walk.disks;
        Ok(walk.affected)
    }
}

/// Whether the index does not know the root of a map, or cannot tell.
fn has_lost_root(contents: &Contents, point: &PointRecord) -> bool {
    let is_known = |root| contents.index.contains(root).unwrap_or(false);
    point.map_roots().any(|root| !is_known(root))
}
