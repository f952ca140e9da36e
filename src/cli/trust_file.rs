//! What this host has seen of encrypted repositories, in files of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::id::{ChunkId, PointId, RepoId};
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::config::Config;
use crate::repo::{Newest, Seen, TrustStore};

/// Where root keeps it.
const SYSTEM_DIR: &str = "/var/lib/backstop/trust";
/// Below the state directory of any other user.
const USER_DIR: &str = "backstop/trust";
/// The file that says which repository was seen in which directory.
const PLACES: &str = "places.json";

/// Files in a directory, one for each repository.
pub(super) struct TrustFiles {
    dir: PathBuf,
    accepts_rollback: bool,
}

/// The newest restore point of a VM, as a file has it.
#[derive(Serialize, Deserialize)]
struct NewestRecord {
    point: PointId,
    sequence: u64,
    commit_blake3: ChunkId,
}

/// Encrypted repositories by the directories that they were seen in.
type Places = BTreeMap<PathBuf, RepoId>;

impl TrustFiles {
    /// Those in the directory that is given; else those of the user that runs this: root's, or
    /// below the user's state directory. None if the user has no such directory.
    pub(super) fn of_user(
        given: Option<&Path>,
        is_root: bool,
        accepts_rollback: bool,
    ) -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let of_user = || {
            let state = set("XDG_STATE_HOME").map(PathBuf::from);
            let home = || set("HOME").map(|home| Path::new(&home).join(".local/state"));
            state.or_else(home).map(|state| state.join(USER_DIR))
        };
        let dir = match (given, is_root) {
            (Some(dir), _) => dir.to_owned(),
            (None, true) => PathBuf::from(SYSTEM_DIR),
            (None, false) => of_user()?,
        };
        Some(Self { dir, accepts_rollback })
    }

    /// Fails with [`ErrorKind::Rollback`] if this host has seen an encrypted repository in the
    /// directory, and now there is another one or one that is not encrypted.
    pub(super) fn check_place(&self, path: &Path, config: &Config) -> Result<()> {
        let path = path.canonicalize().context("cannot find the repository", path)?;
        let mut places: Places = self.read(PLACES)?;
        let seen = places.get(&path).copied();
        let is_same = seen.is_none_or(|seen| seen == config.repo && config.is_encrypted());
        if !is_same && !self.accepts_rollback {
            let what = match config.is_encrypted() {
                true => "another repository than this host has seen here",
                false => "not encrypted, and this host has seen an encrypted repository here",
            };
            let what = format!("the repository is {what}");
            return Err(Error::new(ErrorKind::Rollback, what).at(path));
        }
        let now = config.is_encrypted().then_some(config.repo);
        if seen == now {
            return Ok(());
        }
        match now {
            Some(repo) => places.insert(path, repo),
            None => places.remove(&path),
        };
        self.write(PLACES, &places)
    }

    fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T> {
        let path = self.dir.join(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(T::default()),
            read => read.context("cannot read what this host has seen", &path)?,
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = "what this host has seen of repositories is damaged";
            Error::new(ErrorKind::Invalid, what).at(&path).because(error)
        })
    }

    /// Replaces a file as a whole. A user who may write nothing there is told, and goes on: this
    /// protects the next command and not the present one.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let written = self.replace(name, value);
        if let Err(error) = &written
            && matches!(error.kind(), ErrorKind::Denied)
        {
            log::warn!("what this host sees of the repository is not remembered: {error}");
            return Ok(());
        }
        written
    }

    fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let what = "cannot write what this host has seen";
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::new(ErrorKind::Invalid, what).because(error))?;
        fs::create_dir_all(&self.dir).context(what, &self.dir)?;
        let path = self.dir.join(name);
        let new = self.dir.join(format!(".{name}.{}", std::process::id()));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        });
        written.context(what, &path)
    }
}

impl TrustStore for TrustFiles {
    fn load(&self, repo: RepoId) -> Result<Seen> {
        let records: BTreeMap<String, NewestRecord> = self.read(&file_of(repo))?;
        let newest = |(vm, NewestRecord { point, sequence, commit_blake3 })| {
            (vm, Newest { point, sequence, commit_blake3 })
        };
        Ok(records.into_iter().map(newest).collect())
    }

    fn save(&self, repo: RepoId, seen: &Seen) -> Result<()> {
        let record = |(vm, newest): (&String, &Newest)| {
            let Newest { point, sequence, commit_blake3 } = newest.clone();
            (vm.clone(), NewestRecord { point, sequence, commit_blake3 })
        };
        let records: BTreeMap<_, _> = seen.iter().map(record).collect();
        self.write(&file_of(repo), &records)
    }

    fn accepts_rollback(&self) -> bool {
        self.accepts_rollback
    }
}

fn file_of(repo: RepoId) -> String {
    format!("{repo}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UtcTime;

    fn files(dir: &Path, accepts_rollback: bool) -> TrustFiles {
        TrustFiles { dir: dir.join("trust"), accepts_rollback }
    }

    fn config(id: u8, is_encrypted: bool) -> Config {
        let config = Config::new(RepoId::from_bytes([id; 16]), UtcTime::EPOCH, "test");
        if is_encrypted { config.with_encryption() } else { config }
    }

    #[test]
    fn an_encrypted_repository_is_not_replaced_by_another_unless_that_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (strict, lenient) = (files(dir.path(), false), files(dir.path(), true));
        let check = |files: &TrustFiles, config: &Config| files.check_place(dir.path(), config);
        assert!(check(&strict, &config(1, false)).is_ok(), "plain ones are not remembered");
        assert!(check(&strict, &config(2, true)).is_ok());
        for other in [config(1, false), config(2, false), config(3, true)] {
            let error = check(&strict, &other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rollback);
        }
        assert!(check(&strict, &config(2, true)).is_ok());
        assert!(check(&lenient, &config(3, true)).is_ok());
        assert!(check(&strict, &config(3, true)).is_ok());
        assert!(check(&lenient, &config(1, false)).is_ok());
        assert!(check(&strict, &config(1, false)).is_ok());
    }

    #[test]
    fn what_was_seen_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (files, repo) = (files(dir.path(), false), RepoId::from_bytes([1; 16]));
        assert_eq!(files.load(repo).unwrap(), Seen::new());
        let newest = Newest {
            point: PointId::from_bytes([2; 16]),
            sequence: u64::MAX,
            commit_blake3: ChunkId::from_bytes([3; 32]),
        };
        let seen = Seen::from([("web".to_owned(), newest)]);
        files.save(repo, &seen).unwrap();
        assert_eq!(files.load(repo).unwrap(), seen);
        assert_eq!(files.load(RepoId::from_bytes([9; 16])).unwrap(), Seen::new());
    }
}
