//! What every command takes: the repository, and how to answer.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::cli::config::{DEFAULT_PATH, EngineConfig, read_engine};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, ErrorDocument, Failure, Result};
use crate::cli::output::{print, print_json, printable};
use crate::cli::secret_arg::{SecretArgs, WAYS};
use crate::cli::signals;
use crate::cli::sys;
use crate::cli::terminal::Terminal;
use crate::cli::trust_file::TrustFiles;
use crate::error::{Error, ErrorKind};
use crate::format::config::Config;
use crate::monitor::Monitor;
use crate::repo::{Environment, KeySlots, Repository, TrustStore, Unlocked, read_config, unlock};
use crate::store::{DirStore, Store};

/// Options of every command.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Directory of the repository
    #[arg(short, long, global = true, value_name = "DIR", env = "BACKSTOP_REPO")]
    #[arg(hide_env_values = true)]
    repo: Option<OsString>,

    /// Configuration file, for commands that speak with an engine
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTOP_CONFIG")]
    #[arg(hide_env_values = true)]
    config: Option<OsString>,

    /// Directory where this host remembers what it has seen of encrypted repositories
    #[arg(long, global = true, value_name = "DIR", env = "BACKSTOP_TRUST_DIR")]
    #[arg(hide_env_values = true)]
    trust_dir: Option<OsString>,

    /// Take the state of the repository that is there, though this host has seen a newer one
    #[arg(long, global = true)]
    accept_rollback: bool,

    #[command(flatten)]
    secrets: SecretArgs,

    /// Answer with one JSON document on stdout, also when the command fails
    #[arg(long, global = true)]
    json: bool,

    /// Show on stderr everything that is logged, not only warnings
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
}

impl GlobalArgs {
    /// The directory of the repository; an empty variable counts as none.
    fn repo_path(&self) -> Result<&Path> {
        let given = self.repo.as_deref().filter(|path| !path.is_empty());
        given.map(Path::new).ok_or_else(|| {
            Failure::usage("no repository is given: use --repo DIR or set BACKSTOP_REPO")
        })
    }
}

/// One run of the program: what was typed for all commands, who watches, and who may end it.
pub(super) struct Run {
    args: GlobalArgs,
    terminal: Arc<Terminal>,
    cancel: Cancel,
    has_answered: AtomicBool,
}

impl Run {
    pub(super) fn new(args: GlobalArgs) -> Self {
        let terminal = Arc::new(Terminal::new());
        Self { args, terminal, cancel: Cancel::default(), has_answered: AtomicBool::new(false) }
    }

    /// Whether scripts read the answer.
    pub(super) fn is_json(&self) -> bool {
        self.args.json
    }

    /// The observer of the run.
    pub(super) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// The same, for whoever keeps it.
    pub(super) fn shared_terminal(&self) -> Arc<Terminal> {
        Arc::clone(&self.terminal)
    }

    /// The directory of the repository.
    pub(super) fn repo_path(&self) -> Result<&Path> {
        self.args.repo_path()
    }

    /// The world around the repository.
    pub(super) fn environment(&self) -> Environment {
        let monitor = self.shared_terminal();
        let trust = self.trust_files().map(|files| Arc::new(files) as Arc<dyn TrustStore>);
        Environment { monitor, trust, host: host_name(), ..Environment::default() }
    }

    /// Where this host remembers what it has seen of repositories.
    fn trust_files(&self) -> Option<TrustFiles> {
        let given = self.args.trust_dir.as_deref().filter(|path| !path.is_empty());
        TrustFiles::of_user(given.map(Path::new), sys::is_root(), self.args.accept_rollback)
    }

    /// Whether a repository is named.
    pub(super) fn has_repo(&self) -> bool {
        self.args.repo.as_ref().is_some_and(|path| !path.is_empty())
    }

    /// Whether there is a configuration: one is named, or stands in its usual place.
    pub(super) fn has_config(&self) -> bool {
        let given = self.args.config.as_ref().is_some_and(|path| !path.is_empty());
        given || Path::new(DEFAULT_PATH).exists()
    }

    /// What the configuration says about the engine.
    pub(super) fn engine_config(&self) -> Result<EngineConfig> {
        let given = self.args.config.as_deref().filter(|path| !path.is_empty());
        read_engine(Path::new(given.unwrap_or(OsStr::new(DEFAULT_PATH))))
    }

    /// What ends the run early, if anybody asks for that.
    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Tells of something that went wrong without ending the run.
    pub(super) fn problem(&self, problem: &Error) {
        self.terminal.problem(problem);
    }

    /// Opens the repository.
    pub(super) fn open_repo(&self) -> Result<Repository> {
        self.open_repo_watched_by(self.shared_terminal())
    }

    /// Opens the repository, with another observer.
    pub(super) fn open_repo_watched_by(&self, monitor: Arc<dyn Monitor>) -> Result<Repository> {
        let environment = Environment { monitor, ..self.environment() };
        let (store, config) = self.find_repo(&environment)?;
        if config.is_encrypted() {
            return Ok(self.unlock(store, environment, &config)?.0);
        }
        if self.args.secrets.is_given() {
            let what = "the repository is not encrypted, but a password or key was given for it";
            return Err(Failure::from(Error::new(ErrorKind::Denied, what)).with_hint(
                "if it was encrypted once, somebody has put another in its place; if it never \
                 was, give none, and look at BACKSTOP_PASSWORD_FILE and BACKSTOP_KEY_FILE",
            ));
        }
        Ok(Repository::open(store, environment)?)
    }

    /// Opens the encrypted repository, and says with what.
    pub(super) fn unlock_repo(&self) -> Result<(Repository, Unlocked)> {
        let environment = self.environment();
        let (store, config) = self.find_encrypted_repo(&environment)?;
        self.unlock(store, environment, &config)
    }

    /// What opens the encrypted repository. Opens nothing.
    pub(super) fn key_slots(&self) -> Result<KeySlots> {
        let (store, config) = self.find_encrypted_repo(&self.environment())?;
        Ok(KeySlots::read(&*store, config.repo)?)
    }

    /// What opens an encrypted repository.
    pub(super) fn secrets(&self) -> &SecretArgs {
        &self.args.secrets
    }

    fn find_encrypted_repo(&self, environment: &Environment) -> Result<(Arc<dyn Store>, Config)> {
        let (store, config) = self.find_repo(environment)?;
        if config.is_encrypted() {
            return Ok((store, config));
        }
        let what = "the repository is not encrypted, so it has no keys";
        let hint = "`backstop init --encrypt` makes one that is; it cannot be made so later";
        Err(Failure::from(Error::new(ErrorKind::Invalid, what)).with_hint(hint))
    }

    /// The repository, not yet opened: it is the one that this host has seen there, if any.
    fn find_repo(&self, environment: &Environment) -> Result<(Arc<dyn Store>, Config)> {
        let path = self.repo_path()?;
        let found = DirStore::open(path).and_then(|store| {
            let config = read_config(&store, environment)?;
            self.trust_files().map_or(Ok(()), |files| files.check_place(path, &config))?;
            Ok((Arc::new(store) as Arc<dyn Store>, config))
        });
        let advice = "`backstop -r DIR init` makes a repository; --repo and BACKSTOP_REPO name one";
        found.advise(ErrorKind::NotFound, advice)
    }

    fn unlock(
        &self,
        store: Arc<dyn Store>,
        environment: Environment,
        config: &Config,
    ) -> Result<(Repository, Unlocked)> {
        let given = self.args.secrets.read(self.repo_path()?)?;
        let advice = match given.is_mistyped {
            true => "if that was a recovery code, it has a typing error: compare it group by group",
            false => WAYS,
        };
        let unlocked = unlock(&*store, &environment, config, given.secrets);
        let unlocked = unlocked.advise(ErrorKind::Denied, advice)?;
        let repo = Repository::unlock(store, environment, &unlocked.keyring)?;
        Ok((repo, unlocked))
    }

    /// Ends the run early when somebody asks for it. Without this call a signal ends the process,
    /// which is right for a command that only looks.
    pub(super) fn cancel_on_signal(&self) -> Result<Cancel> {
        signals::cancel_on_signal(&self.cancel)?;
        Ok(self.cancel.clone())
    }

    /// Prints the answer of the command: the document, with the problems added, or the text.
    pub(super) fn answer(&self, document: &impl Serialize, text: &str) -> Result<()> {
        self.terminal.clear();
        self.has_answered.store(true, Ordering::Relaxed);
        match self.args.json {
            true => {
                let problems = self.terminal.problem_documents();
                print_json(&Answer { document, problems })
            }
            false => print(&printable(text)),
        }
    }

    /// Whether the answer was printed. There is only one.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// How the run ends, once the command has ended.
    pub(super) fn exit(&self, exit: Exit) -> Exit {
        match exit {
            Exit::Done if self.terminal.has_problems() => Exit::Problems,
            _ => exit,
        }
    }
}

/// The document of a command, and what every command adds to its own.
#[derive(Serialize)]
struct Answer<'a, T> {
    #[serde(flatten)]
    document: &'a T,
    problems: Vec<ErrorDocument>,
}

/// This host, for whoever wonders who holds a lock.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "an unknown host".to_owned(),
        name => name.to_owned(),
    }
}

/// Threads for work that keeps all processors busy.
pub(super) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
