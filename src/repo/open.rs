//! Makes and opens repositories.

use std::sync::Arc;

use crate::base::id::{RepoId, SlotId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::base::units::ChunkGrid;
use crate::crypto::{Keyring, Sealing, SlotSecret};
use crate::diskmap::DiskMap;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::format::config::{CONFIG_COPIES, Config};
use crate::format::layout::ObjectName;
use crate::monitor::Monitor;
use crate::point::{self, Commits, PointEntry, PointSelector};
use crate::repo::keys::{Wrap, clear_leftovers, write_slot};
use crate::repo::room::stow_ballast;
use crate::repo::{ChunkReader, Environment, TrustStore, keys, trust};
use crate::store::{Published, SealingStore, Store};

/// Release that this is, as repositories remember it.
pub(super) const RELEASE: &str = concat!("backstop ", env!("CARGO_PKG_VERSION"));

/// An open repository. Opening reads the configuration and nothing else.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn Store>,
    config: Config,
    sealing: Sealing,
    environment: Environment,
}

/// What a new repository is to be.
#[derive(Default)]
pub struct NewRepository<'a> {
    /// Whether its packs have parity.
    pub has_parity: bool,
    /// The keys that everything in it is sealed with; none for a plain one.
    pub keyring: Option<&'a Keyring>,
    /// What opens the first key slot of an encrypted one; without it none is made.
    pub secret: Option<&'a SlotSecret>,
}

impl Repository {
    /// Makes an empty plain repository in `store`. [`ErrorKind::AlreadyExists`] if there is one.
    pub fn create(store: Arc<dyn Store>, environment: Environment) -> Result<Self> {
        Self::create_as(store, environment, &NewRepository::default())
    }

    /// The same for one that is as `new` says.
    pub fn create_as(
        store: Arc<dyn Store>,
        environment: Environment,
        new: &NewRepository<'_>,
    ) -> Result<Self> {
        let repo = RepoId::random(&*environment.chance);
        let mut config = Config::new(repo, environment.clock.now(), RELEASE);
        if new.has_parity {
            config = config.with_parity();
        }
        if new.keyring.is_some() {
            config = config.with_encryption();
        }
        let slot = make_first_slot(&*store, &environment, repo, new)?;
        for copy in 0..CONFIG_COPIES {
            if store.create(&ObjectName::config(copy), &config.encode())? == Published::Existed {
                slot.map_or(Ok(()), |slot| keys::delete(&*store, slot))?;
                let what = "there is a repository already";
                return Err(Error::new(ErrorKind::AlreadyExists, what));
            }
        }
        slot.map_or(Ok(()), |slot| clear_leftovers(&*store, slot))?;
        let repo = Self::with_keys(store, config, new.keyring, environment)?;
        if let Err(problem) = stow_ballast(&repo) {
            repo.monitor().problem(&problem);
        }
        Ok(repo)
    }

    /// Opens the plain repository in `store`. One good copy of the configuration is enough; copies
    /// that are damaged or missing are reported. [`ErrorKind::Denied`] if it is encrypted.
    pub fn open(store: Arc<dyn Store>, environment: Environment) -> Result<Self> {
        let config = read_config(&*store, &environment)?;
        Self::with_keys(store, config, None, environment)
    }

    /// Opens the encrypted repository in `store`. [`ErrorKind::Denied`] if it is plain: whoever can
    /// write to the medium could have put it in the place of an encrypted one.
    pub fn unlock(
        store: Arc<dyn Store>,
        environment: Environment,
        keyring: &Keyring,
    ) -> Result<Self> {
        let config = read_config(&*store, &environment)?;
        Self::with_keys(store, config, Some(keyring), environment)
    }

    fn with_keys(
        store: Arc<dyn Store>,
        config: Config,
        keyring: Option<&Keyring>,
        environment: Environment,
    ) -> Result<Self> {
        let denied = |what| Err(Error::new(ErrorKind::Denied, what));
        let sealing = match (keyring, config.is_encrypted()) {
            (None, false) => Sealing::plain(config.repo),
            (Some(keyring), true) => {
                Sealing::keyed(config.repo, keyring, Arc::clone(&environment.chance))
            }
            (None, true) => return denied("the repository is encrypted"),
            (Some(_), false) => {
                return denied("the repository is not encrypted, but keys were given");
            }
        };
        let store = match sealing.is_encrypted() {
            true => Arc::new(SealingStore::new(store, sealing.clone())),
            false => store,
        };
        let repo = Self { store, config, sealing, environment };
        if let Some(trust) = repo.trust() {
            trust::check(&repo, trust)?;
        }
        Ok(repo)
    }

    /// Who remembers what was seen of this repository: of a plain one nobody, since whoever can
    /// write to its medium can write anything.
    pub(super) fn trust(&self) -> Option<&dyn TrustStore> {
        self.environment.trust.as_deref().filter(|_| self.sealing.is_encrypted())
    }
}

/// Makes the slot before the repository exists, so that there is none whose keys nobody has.
fn make_first_slot(
    store: &dyn Store,
    environment: &Environment,
    repo: RepoId,
    new: &NewRepository<'_>,
) -> Result<Option<SlotId>> {
    let (Some(keyring), Some(secret)) = (new.keyring, new.secret) else { return Ok(None) };
    let slot = write_slot(store, environment, repo, &Wrap { keyring, secret, label: "" })?;
    Ok(Some(slot.slot))
}

/// The configuration of the repository in `store`: its first good copy. Copies that are damaged or
/// missing are reported.
pub fn read_config(store: &dyn Store, environment: &Environment) -> Result<Config> {
    let mut config = None;
    let mut problems = Vec::new();
    for copy in 0..CONFIG_COPIES {
        match read_copy(store, copy) {
            Ok(read) => config = config.or(Some(read)),
            Err(error) => problems.push(error),
        }
    }
    let Some(config) = config else {
        return Err(worst(problems));
    };
    for problem in &problems {
        environment.monitor.problem(problem);
    }
    Ok(config)
}

impl Repository {
    /// The same with another observer.
    #[must_use]
    pub fn watched_by(&self, monitor: Arc<dyn Monitor>) -> Self {
        let environment = Environment { monitor, ..self.environment.clone() };
        Self { environment, ..self.clone() }
    }

    /// Where its objects are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How its objects are sealed.
    #[must_use]
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its name among all repositories.
    #[must_use]
    pub fn id(&self) -> RepoId {
        self.config.repo
    }

    /// The world around it.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The observer.
    #[must_use]
    pub fn monitor(&self) -> &dyn Monitor {
        &*self.environment.monitor
    }

    /// All restore points, ordered by VM, then from the oldest to the newest. Commits that cannot
    /// be read are reported and left out.
    pub fn points(&self) -> Result<Vec<PointRecord>> {
        let entries = self.entries(self.commits())?;
        Ok(entries.into_iter().map(|entry| entry.record).collect())
    }

    fn entries(&self, commits: Commits<'_>) -> Result<Vec<PointEntry>> {
        let points = commits.points()?;
        points.problems.iter().for_each(|problem| self.monitor().problem(problem));
        if let Some(trust) = self.trust() {
            trust::remember(&points.entries, self.id(), trust)?;
        }
        Ok(points.entries)
    }

    /// Its commits, those out of catalogues too.
    #[must_use]
    pub fn commits(&self) -> Commits<'_> {
        Commits::catalogued(&*self.store, self.id(), self.environment.few_commits)
    }

    /// The restore point that `selector` names, as its commit says: a catalogue only helps to find
    /// it.
    pub fn find_point(&self, selector: &PointSelector) -> Result<PointRecord> {
        let entries = self.entries(self.commits())?;
        let has_copies = entries.iter().any(|entry| entry.is_copy);
        let picked = pick(selector, entries)?;
        if !has_copies || self.confirm(&picked).is_ok() {
            return Ok(picked);
        }
        // It is damaged, or was dropped just now, or the catalogue does not tell the truth.
        pick(selector, self.entries(Commits::one_by_one(&*self.store))?)
    }

    /// Fails unless the commit of a restore point says of it what `point` does: that may have been
    /// read from a catalogue, and whoever acts on a restore point goes by the commit.
    /// [`ErrorKind::NotFound`] if there is no commit any more.
    pub fn confirm(&self, point: &PointRecord) -> Result<()> {
        let id = point.id;
        let Some(commit) = point::decision(&*self.store, id)? else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no restore point {id}")));
        };
        if commit.point().is_some_and(|commit| commit == *point) {
            return Ok(());
        }
        let what = "the commit of a restore point says something else than a catalogue of commits";
        Err(Error::corrupt(what).at(ObjectName::commit(id).to_string()))
    }

    /// A reader of chunks, with the index as it is now.
    pub fn reader(&self) -> Result<Arc<ChunkReader>> {
        ChunkReader::open(self).map(Arc::new)
    }

    /// The map of a disk, read through `reader`.
    #[must_use]
    pub fn disk_map(&self, reader: &Arc<ChunkReader>, disk: &DiskRecord) -> DiskMap {
        let nodes = Arc::clone(reader);
        DiskMap::new(ChunkGrid::new(disk.size_bytes), disk.map_root, nodes)
    }
}

fn pick(selector: &PointSelector, entries: Vec<PointEntry>) -> Result<PointRecord> {
    let records: Vec<_> = entries.into_iter().map(|entry| entry.record).collect();
    selector.pick(&records).cloned()
}

fn read_copy(store: &dyn Store, copy: u8) -> Result<Config> {
    let name = ObjectName::config(copy);
    let bytes = store.read(&name, SMALL_OBJECT_BYTES_MAX)?;
    Config::decode(&bytes).map_err(|error| error.in_object(&name))
}

/// What to tell of a repository that cannot be opened: rather that it is newer or damaged than
/// that a copy is missing.
fn worst(problems: Vec<Error>) -> Error {
    let rank = |error: &Error| match error.kind() {
        ErrorKind::Unsupported => 0,
        ErrorKind::NotFound => 2,
        _ => 1,
    };
    problems.into_iter().min_by_key(rank).unwrap_or_else(|| Error::corrupt("no configuration"))
}
