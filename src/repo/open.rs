//! Makes and opens repositories.

use std::sync::Arc;

use crate::base::id::RepoId;
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::base::units::ChunkGrid;
use crate::diskmap::DiskMap;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::format::config::{CONFIG_COPIES, Config};
use crate::format::layout::ObjectName;
use crate::monitor::Monitor;
use crate::point::{self, PointSelector};
use crate::repo::room::stow_ballast;
use crate::repo::{ChunkReader, Environment};
use crate::store::{Published, Store};

/// Release that this is, as repositories remember it.
pub(super) const RELEASE: &str = concat!("backstop ", env!("CARGO_PKG_VERSION"));

/// An open repository. Opening reads the configuration and nothing else.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn Store>,
    config: Config,
    environment: Environment,
}

impl Repository {
    /// Makes an empty repository in `store`. [`ErrorKind::AlreadyExists`] if there is one.
    pub fn create(store: Arc<dyn Store>, environment: Environment) -> Result<Self> {
        Self::create_as(store, environment, |config| config)
    }

    /// The same for one whose packs have parity.
    pub fn create_with_parity(store: Arc<dyn Store>, environment: Environment) -> Result<Self> {
        Self::create_as(store, environment, Config::with_parity)
    }

    fn create_as(
        store: Arc<dyn Store>,
        environment: Environment,
        choose: impl FnOnce(Config) -> Config,
    ) -> Result<Self> {
        let repo = RepoId::random(&*environment.chance);
        let config = choose(Config::new(repo, environment.clock.now(), RELEASE));
        for copy in 0..CONFIG_COPIES {
            if store.create(&ObjectName::config(copy), &config.encode())? == Published::Existed {
                let what = "there is a repository already";
                return Err(Error::new(ErrorKind::AlreadyExists, what));
            }
        }
        let repo = Self { store, config, environment };
        if let Err(problem) = stow_ballast(&repo) {
            repo.monitor().problem(&problem);
        }
        Ok(repo)
    }

    /// Opens the repository in `store`. One good copy of the configuration is enough; copies that
    /// are damaged or missing are reported.
    pub fn open(store: Arc<dyn Store>, environment: Environment) -> Result<Self> {
        let mut config = None;
        let mut problems = Vec::new();
        for copy in 0..CONFIG_COPIES {
            match read_config(&*store, copy) {
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
        Ok(Self { store, config, environment })
    }

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
        let (points, problems) = point::points(&*self.store)?;
        for problem in &problems {
            self.monitor().problem(problem);
        }
        Ok(points.into_iter().map(|entry| entry.record).collect())
    }

    /// The restore point that `selector` names.
    pub fn find_point(&self, selector: &PointSelector) -> Result<PointRecord> {
        selector.pick(&self.points()?).cloned()
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

fn read_config(store: &dyn Store, copy: u8) -> Result<Config> {
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
