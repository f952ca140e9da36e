//! Which restore points there are. Nothing is read before somebody looks, and no commit twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Duration, Instant};

use crate::base::id::PointId;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::PointRecord;
use crate::point;
use crate::point::ReadDecision;
use crate::repo::Repository;
use crate::vfs::names::safe_name;
use crate::vfs::shown_point::ShownPoint;

/// The restore points at one moment.
#[derive(Default)]
pub(super) struct Snapshot {
    /// By the safe names of the VMs.
    pub(super) vms: BTreeMap<Arc<str>, VmDirectory>,
}

/// The restore points of a VM; at least one.
pub(super) struct VmDirectory {
    /// By the names of their directories.
    pub(super) points: BTreeMap<Arc<str>, Arc<ShownPoint>>,
    /// The name of the newest.
    pub(super) latest: Arc<str>,
}

/// Looks for restore points, at most once per interval.
///
/// A look costs two listings and one read per commit that is new; where many are new, the reads of
/// the catalogues that hold them.
pub(super) struct Listing {
    repo: Repository,
    interval: Duration,
    /// When the last look began, and what it saw.
    current: RwLock<Option<(Instant, Arc<Snapshot>)>>,
    looking: Mutex<Seen>,
    /// Every restore point that somebody may still hold.
    points: RwLock<HashMap<PointId, Weak<ShownPoint>>>,
}

/// What earlier looks found.
#[derive(Default)]
struct Seen {
    /// Sessions that are decided for good, with the restore point where there is one.
    decided: HashMap<PointId, Option<Arc<ShownPoint>>>,
    /// Commits whose damage was told.
    reported: HashSet<PointId>,
    /// Whether the last look failed, and that was told.
    is_failing: bool,
}

impl Listing {
    /// Reads nothing yet. A look that began within `interval` counts as new.
    pub(super) fn new(repo: Repository, interval: Duration) -> Self {
        Self {
            repo,
            interval,
            current: RwLock::default(),
            looking: Mutex::default(),
            points: RwLock::default(),
        }
    }

    /// The restore points, as they were less than an interval ago, or as somebody else is just
    /// about to replace them.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let last = self.last();
        if let Some((began, snapshot)) = &last
            && began.elapsed() < self.interval
        {
            return Ok(Arc::clone(snapshot));
        }
        let mut seen = match self.looking.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => match last {
                Some((_, snapshot)) => return Ok(snapshot),
                None => lock(&self.looking),
            },
        };
        // Whoever had the lock may have looked meanwhile.
        let before = last.map(|(began, _)| began);
        if let Some((began, snapshot)) = self.last()
            && Some(began) != before
        {
            return Ok(snapshot);
        }
        self.look(&mut seen)
    }

    /// The restore point of that id, if it is shown or somebody holds it.
    pub(super) fn point(&self, id: PointId) -> Option<Arc<ShownPoint>> {
        self.points.read().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    fn last(&self) -> Option<(Instant, Arc<Snapshot>)> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self, seen: &mut Seen) -> Result<Arc<Snapshot>> {
        let began = Instant::now();
        let looked = self.read_new(seen);
        let ids = match looked {
            Ok(ids) => ids,
            Err(error) => {
                if !std::mem::replace(&mut seen.is_failing, true) {
                    self.repo.monitor().problem(&error);
                }
                return Err(error);
            }
        };
        seen.is_failing = false;
        let shown = ids.iter().filter_map(|id| seen.decided.get(id)?.clone());
        let snapshot = Arc::new(Snapshot::of(shown));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Some((began, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Reads what earlier looks did not, and drops what is gone. Returns all that may be shown.
    fn read_new(&self, seen: &mut Seen) -> Result<Vec<PointId>> {
        let ids = point::candidates(&**self.repo.store())?;
        let Seen { decided, reported, .. } = &mut *seen;
        let new: Vec<_> = ids.iter().copied().filter(|id| !decided.contains_key(id)).collect();
        let problems = self.repo.commits().read(&new, |id, read| {
            if let Some(shown) = self.shown(id, read, reported) {
                decided.insert(id, shown);
            }
        });
        problems.iter().for_each(|problem| self.repo.monitor().problem(problem));
        let kept: HashSet<_> = ids.iter().copied().collect();
        seen.decided.retain(|id, _| kept.contains(id));
        let mut points = self.points.write().unwrap_or_else(PoisonError::into_inner);
        points.retain(|_, point| point.strong_count() > 0);
        for point in seen.decided.values().flatten() {
            points.entry(point.record.id).or_insert_with(|| Arc::downgrade(point));
        }
        drop(points);
        Ok(ids)
    }

    /// How a session was decided; none if the next look must try again.
    fn shown(
        &self,
        id: PointId,
        read: Result<Option<ReadDecision>>,
        reported: &mut HashSet<PointId>,
    ) -> Option<Option<Arc<ShownPoint>>> {
        match read {
            Ok(Some(ReadDecision { decision, is_copy, .. })) => {
                let point = decision.point();
                Some(point.map(|point| Arc::new(ShownPoint::new(point, is_copy))))
            }
            Ok(None) => None,
            Err(error) => {
                // Damage stays. What the operating system failed may work the next time.
                let is_settled = error.kind() == ErrorKind::Corrupt;
                if reported.insert(id) {
                    let what = format!("restore point {id} cannot be read and is not shown");
                    let kind = error.kind();
                    self.repo.monitor().problem(&Error::new(kind, what).because(error));
                }
                is_settled.then_some(None)
            }
        }
    }
}

impl Snapshot {
    fn of(points: impl Iterator<Item = Arc<ShownPoint>>) -> Self {
        let mut by_vm: BTreeMap<Arc<str>, Vec<Arc<ShownPoint>>> = BTreeMap::new();
        for point in points {
            by_vm.entry(safe_name(&point.record.vm).into()).or_default().push(point);
        }
        let vms = by_vm.into_iter().filter_map(|(vm, points)| Some((vm, VmDirectory::of(points)?)));
        Self { vms: vms.collect() }
    }
}

impl VmDirectory {
    fn of(mut points: Vec<Arc<ShownPoint>>) -> Option<Self> {
        points.sort_by_key(|point| age_order(&point.record));
        let mut named: BTreeMap<Arc<str>, Arc<ShownPoint>> = BTreeMap::new();
        let mut latest = None;
        for point in points {
            let time = point.record.time.to_string();
            // Two sessions that could not see each other's lock may share a second.
            let name: Arc<str> = match named.contains_key(time.as_str()) {
                true => format!("{time}-{}", point.record.id).into(),
                false => time.into(),
            };
            latest = Some(Arc::clone(&name));
            named.insert(name, point);
        }
        Some(Self { points: named, latest: latest? })
    }

    /// The newest restore point.
    pub(super) fn latest_point(&self) -> Option<&Arc<ShownPoint>> {
        self.points.get(&self.latest)
    }
}

/// From the oldest to the newest of one VM, as everywhere else.
fn age_order(record: &PointRecord) -> (u64, i64, PointId) {
    (record.sequence, record.time.unix_seconds(), record.id)
}

/// The error for a name or number that stands for nothing.
pub(super) fn not_found(what: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, what)
}
