//! `backstop init`

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::RepoId;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::shell_word;
use crate::cli::repo_arg::Run;
use crate::error::ErrorKind;
use crate::repo::{NewRepository, Repository};
use crate::store::DirStore;

/// Make an empty repository
///
/// Makes the directory that --repo or BACKSTOP_REPO names, and its parents. A directory that
/// exists must be empty. Only its user can read what is in it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop -r /backup/vms init
  backstop -r /backup/vms init --parity
  BACKSTOP_REPO=/backup/vms backstop init --json")]
pub(super) struct InitArgs {
    /// Store parity beside every pack: 3.1 % more space, and `repair` brings a pack back of which
    /// up to 4 parts in 128 are damaged
    #[arg(long)]
    parity: bool,
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
}

pub(super) fn run(run: &Run, args: &InitArgs) -> Result<Exit> {
    let path = run.repo_path()?;
    let store = DirStore::create(path);
    let new = NewRepository { has_parity: args.parity, keyring: None, secret: None };
    let made =
        store.and_then(|store| Repository::create_as(Arc::new(store), run.environment(), &new));
    let repo = made.advise(ErrorKind::AlreadyExists, "name a directory that is new or empty")?;
    let document = InitDocument {
        repository: RepositoryDocument {
            id: repo.id(),
            path: path.to_string_lossy(),
            created: repo.config().created,
            parity: repo.config().has_parity(),
        },
    };
    let word = shell_word(&path.to_string_lossy());
    let text = format!(
        "made the repository {} (id {})\n\n\
         next: backstop -r {word} backup image --vm NAME PATH\n",
        path.display(),
        repo.id()
    );
    run.answer(&document, &text)?;
    Ok(Exit::Done)
}
