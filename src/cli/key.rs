//! `backstop key`: what opens an encrypted repository.

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::SlotId;
use crate::base::secret::SecretKey;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::{Column, count, table};
use crate::cli::prompt;
use crate::cli::repo_arg::Run;
use crate::cli::secret_arg::{NewPasswordArgs, NewSecretArgs};
use crate::crypto::{SlotSecret, recovery_code};
use crate::error::{Error, ErrorKind};
use crate::format::key_slot::{LABEL_BYTES_MAX, SlotHeader, SlotKind};
use crate::repo::{KeyChange, KeySlots};

/// Digits of an id that people are shown.
const DIGITS: usize = 8;

/// Add a password or key file that opens the repository
///
/// The repository opens with what it opened with before, too. What was written is read back and
/// opened before the command ends.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key add --label 'second operator'
  backstop key add --new-password-file /etc/backstop/new-password
  backstop key add --new-key-file /media/usb/vms.key --label 'safe'")]
pub(super) struct KeyAddArgs {
    #[command(flatten)]
    secret: NewSecretArgs,

    /// What it is for, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
}

/// Remove a password, key file or recovery code
///
/// The one that opens the repository for this command cannot be removed. Whoever has a copy of the
/// repository from before, and the password, still opens that copy, and with its keys what is
/// written later: `backstop key rotate` ends that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key list
  backstop key remove 5f2a91c0")]
pub(super) struct KeyRemoveArgs {
    /// The first digits of its id
    #[arg(value_name = "KEY")]
    key: String,
}

/// Change the password
///
/// Puts a new password in the place of the password, key file or recovery code that opens the
/// repository for this command.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key passwd
  backstop key passwd --password-file old --new-password-file new")]
pub(super) struct KeyPasswdArgs {
    #[command(flatten)]
    password: NewPasswordArgs,
}

/// List what opens the repository
///
/// Asks for no password.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key list
  backstop key list --json | jq '.keys[].label'")]
pub(super) struct KeyListArgs {}

/// Try whether a password, key file or recovery code opens the repository
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key test
  backstop key test --key-file /media/usb/vms.key")]
pub(super) struct KeyTestArgs {}

/// Make a recovery code and print it
///
/// It opens the repository when passwords and key files are lost: it is typed where a password is
/// asked for, or stands in the file of --password-file. It is printed once and stored nowhere.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key export-recovery
  backstop key export-recovery --label 'safe of the bank' | lpr")]
pub(super) struct KeyExportArgs {
    /// Where it will be, for people
    #[arg(long, value_name = "TEXT", default_value = "recovery")]
    label: String,
}

/// Seal what is written from now on with new keys
///
/// What opens the repository for this command opens it afterwards, too. Every other password, key
/// file and recovery code is removed, because the new keys cannot be given to them without their
/// secrets: that is what revokes them. Add those again that are to stay. What is stored already is
/// not sealed anew: whoever had the old keys can still read that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop key rotate
  backstop key rotate --yes --password-file /etc/backstop/password")]
pub(super) struct KeyRotateArgs {
    /// Remove the other passwords, key files and recovery codes without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct KeyDocument<'a> {
    id: SlotId,
    kind: SlotKind,
    label: &'a str,
    created: UtcTime,
    epoch: u32,
}

impl<'a> KeyDocument<'a> {
    fn new(slot: &'a SlotHeader) -> Self {
        let SlotHeader { slot: id, kind, label, created, epoch, .. } = slot;
        Self { id: *id, kind: *kind, label, created: *created, epoch: *epoch }
    }
}

#[derive(Serialize)]
struct ListDocument<'a> {
    keys: Vec<KeyDocument<'a>>,
}

#[derive(Serialize)]
struct OneDocument<'a> {
    key: KeyDocument<'a>,
}

#[derive(Serialize)]
struct RemovedDocument<'a> {
    removed: &'a [SlotId],
}

#[derive(Serialize)]
struct RotatedDocument<'a> {
    key: KeyDocument<'a>,
    removed: &'a [SlotId],
}

#[derive(Serialize)]
struct RecoveryDocument<'a> {
    key: KeyDocument<'a>,
    recovery_code: &'a str,
}

pub(super) fn add(run: &Run, args: &KeyAddArgs) -> Result<Exit> {
    check_label(&args.label)?;
    let (repo, unlocked) = run.unlock_repo()?;
    let change = KeyChange::begin(&repo, &unlocked)?;
    let secret = args.secret.read(repo.environment())?;
    let slot = change.add(&secret, &args.label)?;
    let text = format!("added the {}\n", described(&slot));
    run.answer(&OneDocument { key: KeyDocument::new(&slot) }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn remove(run: &Run, args: &KeyRemoveArgs) -> Result<Exit> {
    let (repo, unlocked) = run.unlock_repo()?;
    let change = KeyChange::begin(&repo, &unlocked)?;
    let id = find(change.found(), &args.key)?;
    let advice = "open the repository with another password, key file or recovery code to remove \
                  this one; `backstop key add` makes one";
    change.remove(id).advise(ErrorKind::Denied, advice)?;
    let text = format!(
        "removed the key {}\n\
         This revokes nothing for whoever copied it from the repository: `backstop key rotate` \
         does\n",
        short(id)
    );
    run.answer(&RemovedDocument { removed: &[id] }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn passwd(run: &Run, args: &KeyPasswdArgs) -> Result<Exit> {
    let (repo, unlocked) = run.unlock_repo()?;
    let change = KeyChange::begin(&repo, &unlocked)?;
    let secret = args.password.read(repo.environment())?;
    let slot = change.replace(&secret)?;
    let text = format!(
        "changed; it is now the {}\n\
         If the old one is known to somebody who could copy the repository: `backstop key \
         rotate`\n",
        described(&slot)
    );
    run.answer(&OneDocument { key: KeyDocument::new(&slot) }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn list(run: &Run, _args: &KeyListArgs) -> Result<Exit> {
    let found = run.key_slots()?;
    found.problems.iter().for_each(|problem| run.problem(problem));
    let columns = [
        Column::Left("KEY"),
        Column::Left("KIND"),
        Column::Left("MADE"),
        Column::Right("EPOCH"),
        Column::Left("LABEL"),
    ];
    let headers: Vec<_> = found.slots.iter().map(|slot| &slot.header).collect();
    let row = |slot: &&SlotHeader| {
        let (kind, made) = (word(slot.kind).to_owned(), slot.created.to_string());
        vec![short(slot.slot), kind, made, slot.epoch.to_string(), slot.label.clone()]
    };
    let text = table(&columns, headers.iter().map(row));
    let keys = headers.iter().map(|slot| KeyDocument::new(slot)).collect();
    run.answer(&ListDocument { keys }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn test(run: &Run, _args: &KeyTestArgs) -> Result<Exit> {
    let (_, unlocked) = run.unlock_repo()?;
    let text = format!("opened with the {}\n", described(&unlocked.slot));
    run.answer(&OneDocument { key: KeyDocument::new(&unlocked.slot) }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn export_recovery(run: &Run, args: &KeyExportArgs) -> Result<Exit> {
    check_label(&args.label)?;
    let (repo, unlocked) = run.unlock_repo()?;
    let key = SecretKey::new(repo.environment().chance.bytes());
    let code = recovery_code(&key);
    let recovery_code = std::str::from_utf8(code.expose()).map_err(|error| {
        Error::new(ErrorKind::Invalid, "the recovery code is no text").because(error)
    })?;
    let change = KeyChange::begin(&repo, &unlocked)?;
    let slot = change.add(&SlotSecret::RecoveryCode(key), &args.label)?;
    let text = format!(
        "Recovery code {} of the repository {}:\n\n  {recovery_code}\n\n\
         Print it and keep it where the repository is not. It opens the repository like a \
         password.\n",
        short(slot.slot),
        repo.id()
    );
    run.answer(&RecoveryDocument { key: KeyDocument::new(&slot), recovery_code }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn rotate(run: &Run, args: &KeyRotateArgs) -> Result<Exit> {
    let (repo, unlocked) = run.unlock_repo()?;
    let change = KeyChange::begin(&repo, &unlocked)?;
    let removed = change.revoked();
    if !removed.is_empty() && !args.yes {
        confirm(change.found(), &removed)?;
    }
    let slot = change.rotate()?;
    let mut text = format!(
        "what is written from now on is sealed with keys of epoch {}; the {} opens the \
         repository\n",
        slot.epoch,
        described(&slot)
    );
    if !removed.is_empty() {
        let others = count(removed.len() as u64, "other key");
        text += &format!("removed {others}; next: backstop key add\n");
    }
    run.answer(&RotatedDocument { key: KeyDocument::new(&slot), removed: &removed }, &text)?;
    Ok(Exit::Done)
}

/// Names what a rotation removes and asks whether to go on.
fn confirm(found: &KeySlots, removed: &[SlotId]) -> Result<()> {
    let name = |id: &SlotId| {
        let slot = found.slots.iter().find(|slot| slot.header.slot == *id);
        slot.map_or_else(|| format!("damaged key {}", short(*id)), |slot| described(&slot.header))
    };
    let names = removed.iter().map(name).collect::<Vec<_>>().join(", ");
    let question = format!("This removes {names}. Go on?");
    match prompt::ask_to_go_on(&question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::new(ErrorKind::Cancelled, "nothing was changed").into()),
        None => {
            let what = format!("a rotation removes {names}; nothing was changed");
            Err(Failure::from(Error::new(ErrorKind::Invalid, what)).with_hint(
                "run it again with --yes if they may go; `backstop key add` adds them again",
            ))
        }
    }
}

fn find(found: &KeySlots, prefix: &str) -> Result<SlotId> {
    let mut matching = found.ids.iter().filter(|id| id.to_string().starts_with(prefix));
    let hint = "`backstop key list` shows what opens the repository";
    let error = match (matching.next(), matching.next()) {
        (Some(id), None) if !prefix.is_empty() => return Ok(*id),
        (None, _) => Error::new(ErrorKind::NotFound, format!("there is no key {prefix:?}")),
        _ => Error::new(ErrorKind::Invalid, format!("several keys begin with {prefix:?}")),
    };
    Err(Failure::from(error).with_hint(hint))
}

fn check_label(label: &str) -> Result<()> {
    match label.len() <= LABEL_BYTES_MAX {
        true => Ok(()),
        false => Err(Failure::usage(format!("a label has at most {LABEL_BYTES_MAX} bytes"))),
    }
}

/// `password 5f2a91c0 "second operator"`
fn described(slot: &SlotHeader) -> String {
    let name = format!("{} {}", word(slot.kind), short(slot.slot));
    match slot.label.is_empty() {
        true => name,
        false => format!("{name} {:?}", slot.label),
    }
}

fn word(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Password => "password",
        SlotKind::KeyFile => "key file",
        SlotKind::RecoveryCode => "recovery code",
    }
}

fn short(id: SlotId) -> String {
    id.to_string()[..DIGITS].to_owned()
}
