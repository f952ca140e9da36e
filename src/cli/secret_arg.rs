//! What opens an encrypted repository: where it is read from, and asking for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::secret::{Secret, SecretKey};
use crate::cli::config::PasswordSource;
use crate::cli::failure::{Failure, Result};
use crate::cli::{password, prompt, sys};
use crate::crypto::{RecoveryText, SlotSecret, read_recovery_code};
use crate::error::{Error, ErrorKind, IoContext};
use crate::repo::Environment;

/// The credential of systemd that is tried where nothing else is given.
const CREDENTIAL: &str = "backstop.password";
/// Shorter passwords are guessed.
const NEW_PASSWORD_BYTES_MIN: usize = 8;

/// What opens an encrypted repository.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct SecretArgs {
    /// File with the password of an encrypted repository, or with a recovery code
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTOP_PASSWORD_FILE")]
    #[arg(hide_env_values = true)]
    password_file: Option<OsString>,

    /// Open descriptor to read the password from
    #[arg(long, global = true, value_name = "N")]
    password_fd: Option<u32>,

    /// File with a key of an encrypted repository: 32 random bytes
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTOP_KEY_FILE")]
    #[arg(hide_env_values = true)]
    key_file: Option<OsString>,
}

/// What was given to open a repository.
pub(super) struct Given {
    pub(super) secrets: Vec<SlotSecret>,
    /// Whether a password looks like a recovery code with a typing error.
    pub(super) is_mistyped: bool,
}

impl SecretArgs {
    /// Where a password is; an empty variable counts as none.
    fn password_sources(&self) -> Vec<PasswordSource> {
        let file = path_of(self.password_file.as_ref()).map(PasswordSource::File);
        let mut sources: Vec<_> = file.into_iter().collect();
        sources.extend(self.password_fd.map(PasswordSource::Descriptor));
        if sources.is_empty() && self.key_file().is_none() && has_credential() {
            sources.push(PasswordSource::Credential(CREDENTIAL.to_owned()));
        }
        sources
    }

    fn key_file(&self) -> Option<PathBuf> {
        path_of(self.key_file.as_ref())
    }

    /// Whether there is any secret without asking.
    pub(super) fn is_given(&self) -> bool {
        self.key_file().is_some() || !self.password_sources().is_empty()
    }

    /// Everything that may open the repository at `repo`: all that is given, or what is typed.
    pub(super) fn read(&self, repo: &Path) -> Result<Given> {
        keep_memory_private()?;
        let mut given = Given { secrets: Vec::new(), is_mistyped: false };
        if let Some(path) = self.key_file() {
            given.secrets.push(SlotSecret::KeyFile(password::read_key(&path)?));
        }
        for source in self.password_sources() {
            given.push(password::read_private(&source)?);
        }
        if given.secrets.is_empty() {
            given.push(ask(&format!("password of {}: ", repo.display()))?);
        }
        Ok(given)
    }

    /// The secret of a repository that is about to be made.
    pub(super) fn read_new(&self, environment: &Environment) -> Result<SlotSecret> {
        let mut sources = self.password_sources();
        let what = "give one password or key; `backstop key add` adds others";
        match (sources.pop(), self.key_file()) {
            (Some(_), Some(_)) => Err(Failure::usage(what)),
            (Some(_), None) if !sources.is_empty() => Err(Failure::usage(what)),
            (source, key_file) => new_secret(source, key_file, environment),
        }
    }
}

impl Given {
    fn push(&mut self, text: Secret) {
        self.secrets.push(match read_recovery_code(text.expose()) {
            RecoveryText::Code(key) => SlotSecret::RecoveryCode(key),
            RecoveryText::Other => SlotSecret::Password(text),
            RecoveryText::Mistyped => {
                self.is_mistyped = true;
                SlotSecret::Password(text)
            }
        });
    }
}

/// What opens a new key slot.
#[derive(clap::Args, Debug)]
pub(super) struct NewSecretArgs {
    #[command(flatten)]
    password: NewPasswordArgs,

    /// File with the new key: 32 random bytes. It is made if it is not there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_password_file", "new_password_fd"])]
    new_key_file: Option<PathBuf>,
}

impl NewSecretArgs {
    pub(super) fn read(&self, environment: &Environment) -> Result<SlotSecret> {
        new_secret(self.password.source(), self.new_key_file.clone(), environment)
    }
}

/// A new password.
#[derive(clap::Args, Debug)]
pub(super) struct NewPasswordArgs {
    /// File with the new password
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_fd")]
    new_password_file: Option<PathBuf>,

    /// Open descriptor to read the new password from
    #[arg(long, value_name = "N")]
    new_password_fd: Option<u32>,
}

impl NewPasswordArgs {
    fn source(&self) -> Option<PasswordSource> {
        let file = self.new_password_file.clone().map(PasswordSource::File);
        file.or(self.new_password_fd.map(PasswordSource::Descriptor))
    }

    pub(super) fn read(&self, environment: &Environment) -> Result<SlotSecret> {
        new_secret(self.source(), None, environment)
    }
}

/// A secret that is to open a slot from now on: from where it is, or typed twice.
fn new_secret(
    password: Option<PasswordSource>,
    key_file: Option<PathBuf>,
    environment: &Environment,
) -> Result<SlotSecret> {
    keep_memory_private()?;
    if let Some(path) = key_file {
        return Ok(SlotSecret::KeyFile(read_or_make_key(&path, environment)?));
    }
    let text = match password {
        Some(source) => password::read_private(&source)?,
        None => ask_twice()?,
    };
    if text.expose().len() < NEW_PASSWORD_BYTES_MIN {
        let what = format!("a new password has at least {NEW_PASSWORD_BYTES_MIN} characters");
        return Err(Error::new(ErrorKind::Invalid, what).into());
    }
    if matches!(read_recovery_code(text.expose()), RecoveryText::Code(_)) {
        let what = "a recovery code cannot be a password";
        return Err(Error::new(ErrorKind::Invalid, what).into());
    }
    Ok(SlotSecret::Password(text))
}

/// The key in a file; where there is no such file, a new one.
fn read_or_make_key(path: &Path, environment: &Environment) -> Result<SecretKey> {
    if path.exists() {
        return Ok(password::read_key(path)?);
    }
    let mut file = File::create_new(path).context("cannot make the key file", path)?;
    let key = SecretKey::new(environment.chance.bytes());
    let written = file.write_all(key.expose()).and_then(|()| file.sync_all());
    written.context("cannot write the key file", path)?;
    Ok(key)
}

/// Before anything secret is in it.
fn keep_memory_private() -> Result<()> {
    let what = "cannot protect the memory of the process";
    Ok(sys::keep_memory_private().context(what, Path::new("/proc/self"))?)
}

fn ask(question: &str) -> Result<Secret> {
    let typed = prompt::ask_secret(question)?;
    typed.ok_or_else(|| {
        let what = "the repository is encrypted, and there is no terminal to ask for its password";
        Failure::from(Error::new(ErrorKind::Denied, what)).with_hint(WAYS)
    })
}

fn ask_twice() -> Result<Secret> {
    let first = prompt::ask_secret("new password: ")?;
    let again = first.is_some().then(|| prompt::ask_secret("the same again: ")).transpose()?;
    match (first, again.flatten()) {
        (Some(first), Some(again)) if first.expose() == again.expose() => Ok(first),
        (Some(_), _) => {
            let what = "the two passwords differ; nothing was changed";
            Err(Error::new(ErrorKind::Invalid, what).into())
        }
        (None, _) => {
            let what = "there is no terminal to ask for a new password";
            let hint = "name a file that holds it; the --help of the command says how";
            Err(Failure::from(Error::new(ErrorKind::Denied, what)).with_hint(hint))
        }
    }
}

/// What to do for want of a secret that opens the repository.
pub(super) const WAYS: &str = "give the password with --password-file, --password-fd or \
                               BACKSTOP_PASSWORD_FILE, or a key with --key-file or \
                               BACKSTOP_KEY_FILE; `backstop key list` shows what opens it";

fn path_of(given: Option<&OsString>) -> Option<PathBuf> {
    given.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn has_credential() -> bool {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
    directory.is_some_and(|directory| Path::new(&directory).join(CREDENTIAL).exists())
}
