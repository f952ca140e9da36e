//! `backstop engine trust`

use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind as IoErrorKind, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use crate::cli::config::EngineConfig;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Result};
use crate::cli::repo_arg::Run;
use crate::cli::terminal::say;
use crate::error::{Error, ErrorKind, IoContext};
use crate::ovirt::client::{Patience, fetch_internal_ca};
use crate::ovirt::trust::{Anchor, Certificate, Fingerprint, certificates};

/// Trust the engine's internal certificate authority
///
/// Fetches its certificate from the engine, shows the fingerprint, and asks before it is written
/// to the file that `internal_ca` of the configuration names. Hosts are believed if this authority
/// has signed for them; so is the engine itself, unless `ca` names another. On the engine,
/// `openssl x509 -in /etc/pki/ovirt-engine/ca.pem -noout -fingerprint -sha256` prints what must be
/// equal.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop engine trust
  backstop engine trust --fingerprint 5B:0C:...:9A
  backstop engine trust --keep-old")]
pub(super) struct EngineTrustArgs {
    /// Do not ask: trust it if it has this SHA-256 fingerprint, and fail if it has another
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,

    /// Go on trusting what was trusted before: while hosts get new certificates one by one
    #[arg(long)]
    keep_old: bool,
}

#[derive(Serialize)]
struct TrustDocument {
    trust: Trusted,
}

#[derive(Serialize)]
struct Trusted {
    engine: String,
    path: String,
    fingerprint: String,
    before: Vec<String>,
    changed: bool,
}

pub(super) fn run(run: &Run, args: &EngineTrustArgs) -> Result<Exit> {
    let expected = match args.fingerprint.as_deref().map(str::parse::<Fingerprint>) {
        Some(Err(problem)) => return Err(Failure::usage(format!("--fingerprint: {problem}"))),
        Some(Ok(fingerprint)) => Some(fingerprint),
        None => None,
    };
    let config = run.engine_config()?;
    let offered = fetch(&config)?;
    let before = pinned(&config.internal_ca)?;
    let is_known = before.contains(&offered) && (args.keep_old || before.len() == 1);
    agree(&config, &offered, &before, expected, is_known)?;
    if !is_known {
        let kept = before.iter().filter(|old| args.keep_old && **old != offered);
        let pem: String = kept.chain([&offered]).map(Certificate::pem).collect();
        write(&config.internal_ca, &pem)?;
    }
    answer(run, &config, &offered, &before, !is_known)?;
    Ok(Exit::Done)
}

/// What the engine shows. Believed only if `ca` of the configuration signed for the API; else its
/// fingerprint has to be compared, which it has to be anyway.
fn fetch(config: &EngineConfig) -> Result<Certificate> {
    let anchor = config.ca.clone().map_or(Anchor::Nobody, Anchor::File);
    let mut shown = fetch_internal_ca(&config.url, &anchor, &Patience::default())?;
    match (shown.pop(), shown.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => {
            let what = "the engine shows several certificates where its authority should be";
            Err(Error::new(ErrorKind::Remote, what).into())
        }
    }
}

/// What is trusted so far.
fn pinned(path: &Path) -> Result<Vec<Certificate>> {
    match fs::read(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let pem = read.context("cannot read the certificate authority", path)?;
            Ok(certificates(&pem).map_err(|error| error.at(path))?)
        }
    }
}

/// Fails unless the certificate is known, expected, or agreed to.
fn agree(
    config: &EngineConfig,
    offered: &Certificate,
    before: &[Certificate],
    expected: Option<Fingerprint>,
    is_known: bool,
) -> Result<()> {
    let offered = offered.fingerprint();
    match expected {
        Some(expected) if expected == offered => Ok(()),
        Some(_) => {
            let what = format!("the engine's authority has another fingerprint: SHA-256 {offered}");
            let hint = "compare it on the engine; if it is another there, somebody is in between";
            let error = Error::new(ErrorKind::Remote, what);
            Err(Failure::Work { error, hint: Some(hint.to_owned()) })
        }
        None if is_known => Ok(()),
        None => ask(config, offered, before),
    }
}

fn ask(config: &EngineConfig, offered: Fingerprint, before: &[Certificate]) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what = format!(
            "nobody can be asked here: compare the fingerprint {offered} on the engine, then \
             give it with --fingerprint"
        );
        return Err(Failure::usage(what));
    }
    say(&format!("The engine {} shows this certificate authority:", config.url));
    say(&format!("  SHA-256 {offered}"));
    for old in before {
        say(&format!("  trusted so far: SHA-256 {}", old.fingerprint()));
    }
    say("Compare with the engine's own word:");
    say("  openssl x509 -in /etc/pki/ovirt-engine/ca.pem -noout -fingerprint -sha256");
    // A terminal that cannot be written to answers nothing either.
    let _ = write!(io::stderr(), "Are they equal, and is it to be trusted? Type yes: ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Error::new(ErrorKind::Io, "cannot read the answer").because(error))?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err(Error::new(ErrorKind::Cancelled, "the authority is not trusted").into()),
    }
}

/// Replaces the file as a whole: connections that are made meanwhile read the old or the new one.
fn write(path: &Path, pem: &str) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = dir.join(name);
    fs::create_dir_all(dir).context("cannot make the directory", dir)?;
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    written.context("cannot write the certificate authority", &new)?;
    fs::rename(&new, path).context("cannot write the certificate authority", path)?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(synced.context("cannot write the certificate authority", dir)?)
}

fn answer(
    run: &Run,
    config: &EngineConfig,
    offered: &Certificate,
    before: &[Certificate],
    changed: bool,
) -> Result<()> {
    let trust = Trusted {
        engine: config.url.to_string(),
        path: config.internal_ca.display().to_string(),
        fingerprint: offered.fingerprint().to_string(),
        before: before.iter().map(|old| old.fingerprint().to_string()).collect(),
        changed,
    };
    let what = if changed { "from now on trusted" } else { "trusted already" };
    let text = format!(
        "{what}: SHA-256 {}\nin {}\n\nnext: backstop engine test\n",
        trust.fingerprint, trust.path
    );
    run.answer(&TrustDocument { trust }, &text)
}
