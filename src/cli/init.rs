//! `backstop init`

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::RepoId;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::shell_word;
use crate::cli::repo_arg::Run;
use crate::crypto::{Keyring, SlotSecret};
use crate::error::ErrorKind;
use crate::repo::{Environment, NewRepository, Repository};
use crate::store::DirStore;

/// Make an empty repository
///
/// Makes the directory that --repo or BACKSTOP_REPO names, and its parents. A directory that
/// exists must be empty. Only its user can read what is in it. With --encrypt everything in it is
/// encrypted, now and for ever; the password is asked for twice, unless --password-file or
/// --password-fd says where it is or --key-file names a key, which is made if it is not there.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop -r /backup/vms init
  backstop -r /backup/vms init --parity
  backstop -r /backup/vms init --encrypt
  backstop -r /backup/vms init --encrypt --key-file /etc/backstop/vms.key
  BACKSTOP_REPO=/backup/vms backstop init --json")]
pub(super) struct InitArgs {
    /// Store parity beside every pack: 3.1 % more space, and `repair` brings a pack back of which
    /// up to 4 parts in 128 are damaged
    #[arg(long)]
    parity: bool,

    /// Encrypt everything
    #[arg(long)]
    encrypt: bool,
}

#[derive(Serialize)]
struct InitDocument<'a> {
    repository: RepositoryDocument<'a>,
}

#[derive(Serialize)]
struct RepositoryDocument<'a> {
    id: RepoId,
    path: Cow<'a, str>,
    created: UtcTime,
    parity: bool,
    encrypted: bool,
}

pub(super) fn run(run: &Run, args: &InitArgs) -> Result<Exit> {
    let path = run.repo_path()?;
    let environment = run.environment();
    let secret = secret(run, args, &environment)?;
    let keyring = secret.is_some().then(|| Keyring::generate(&*environment.chance));
    let store = DirStore::create(path);
    let new = NewRepository {
        has_parity: args.parity,
        keyring: keyring.as_ref(),
        secret: secret.as_ref(),
    };
    let made = store.and_then(|store| Repository::create_as(Arc::new(store), environment, &new));
    let repo = made.advise(ErrorKind::AlreadyExists, "name a directory that is new or empty")?;
    let document = InitDocument {
        repository: RepositoryDocument {
            id: repo.id(),
            path: path.to_string_lossy(),
            created: repo.config().created,
            parity: repo.config().has_parity(),
            encrypted: repo.config().is_encrypted(),
        },
    };
    let word = shell_word(&path.to_string_lossy());
    let mut text = format!("made the repository {} (id {})\n\n", path.display(), repo.id());
    if args.encrypt {
        text += &format!(
            "Without its password or key nobody can read it, and nobody can help.\n\
             next: backstop -r {word} key export-recovery    (prints a code to keep elsewhere)\n"
        );
    }
    text += &format!("next: backstop -r {word} backup image --vm NAME PATH\n");
    run.answer(&document, &text)?;
    Ok(Exit::Done)
}

/// What is to open the repository; none for a plain one.
fn secret(run: &Run, args: &InitArgs, environment: &Environment) -> Result<Option<SlotSecret>> {
    match (args.encrypt, run.secrets().is_given()) {
        (true, _) => run.secrets().read_new(environment).map(Some),
        (false, false) => Ok(None),
        (false, true) => {
            let what = "a password or key is given: add --encrypt, or give none (look at \
                        BACKSTOP_PASSWORD_FILE and BACKSTOP_KEY_FILE)";
            Err(Failure::usage(what))
        }
    }
}
