//! The steps, in their order.

use crate::error::{ErrorKind, Result};
use crate::ovirt::address::AddressMap;
use crate::ovirt::check::transfer::transfer;
use crate::ovirt::check::{Outcome, Step, Subject};
use crate::ovirt::client::{ApiPath, Patience, fetch_internal_ca};
use crate::ovirt::facts::Level;
use crate::ovirt::gather::release;
use crate::ovirt::probe::{Prober, Reach};
use crate::ovirt::trust::{Certificate, Handshake};
use crate::ovirt::wire::Api;

/// The first engine with backups.
const OLDEST: Level = Level::new(4, 4);
const TRUST: &str = "run `backstop engine trust`, and compare the fingerprint on the engine";

/// Takes all steps that can be taken.
#[must_use]
pub fn check(subject: &Subject<'_>) -> Vec<Step> {
    let url = url(subject);
    let is_reached = url.outcome == Outcome::Good;
    let login = if is_reached { login(subject) } else { Step::not_tried("login", "url") };
    let is_in = login.outcome == Outcome::Good;
    let mut steps = vec![url, login];
    if is_in {
        steps.extend(about_engine(subject));
    } else {
        steps.extend(["version", "permissions"].map(|name| Step::not_tried(name, "login")));
    }
    steps.push(if is_reached { ca(subject) } else { Step::not_tried("ca", "url") });
    steps.push(if is_in { transfer(subject) } else { Step::not_tried("transfer", "login") });
    steps
}

/// Name, port and certificate of the API.
fn url(subject: &Subject<'_>) -> Step {
    let url = subject.engine.url();
    let anchor = url.is_tls().then_some(subject.api_anchor);
    // Other ways are for hosts; the session with the engine does not use them.
    let prober = Prober { map: AddressMap::default(), ..subject.prober.clone() };
    let reach = prober.probe(url.place(), anchor);
    let detail = format!("{url}: {reach}");
    match reach {
        Reach::Connected | Reach::Encrypted(Handshake::Proven) => Step::good("url", detail),
        Reach::Encrypted(Handshake::UnknownAuthority) | Reach::NotTried(_) => Step::bad(
            "url",
            detail,
            format!(
                "if the API's certificate was replaced, name its authority in `ca`; else {TRUST}"
            ),
        ),
        other => Step::bad("url", detail, remedy(&other)),
    }
}

/// What to do where a place cannot be reached as it should.
pub(super) fn remedy(reach: &Reach) -> &'static str {
    match reach {
        Reach::NoAddress(_) => "correct the name, or make it known to DNS or /etc/hosts",
        Reach::NoConnection(_) => {
            "open the port in firewalls on the way, and see that it is served"
        }
        Reach::Encrypted(Handshake::OtherName(_)) => {
            "use the name that the certificate is for; names are always verified"
        }
        Reach::Encrypted(Handshake::OutOfTime) => {
            "renew the certificate, and compare the clocks of both machines"
        }
        Reach::Encrypted(Handshake::UnknownAuthority) | Reach::NotTried(_) => TRUST,
        _ => "see what answers there: it does not speak TLS 1.2 or 1.3 as it should",
    }
}

fn login(subject: &Subject<'_>) -> Step {
    match subject.engine.log_in() {
        Ok(()) => Step::good("login", "the engine accepts user and password"),
        Err(error) => {
            let remedy = match error.kind() {
                ErrorKind::Denied => {
                    "correct `user` (with its profile, as in backup@internal) or the password; the \
                     account may be locked"
                }
                _ => "see what the engine logs; is the URL that of an engine?",
            };
            Step::bad("login", error.chain(), remedy)
        }
    }
}

/// Version and permissions: both are in one document.
fn about_engine(subject: &Subject<'_>) -> Vec<Step> {
    let api: Result<Api> = subject.engine.get(&ApiPath::new(&[]));
    match api {
        Ok(api) => vec![version(&api), permissions(&api)],
        Err(error) => {
            let remedy = "see what the engine logs; is the URL that of an engine?";
            let failed = Step::bad("version", error.chain(), remedy);
            vec![failed, Step::not_tried("permissions", "version")]
        }
    }
}

fn version(api: &Api) -> Step {
    let info = &api.product_info;
    match release(api) {
        Ok(release) => {
            let full = info.version.full_version.clone().unwrap_or_else(|| release.to_string());
            let detail = format!("{} {full}", info.name);
            match release >= OLDEST {
                true => Step::good("version", detail.trim()),
                false => {
                    Step::bad("version", detail.trim(), format!("upgrade it to {OLDEST} or later"))
                }
            }
        }
        Err(error) => Step::bad("version", error.chain(), "is the URL that of an engine?"),
    }
}

/// The engine shows the counts of all objects to users that see the whole system only.
fn permissions(api: &Api) -> Step {
    match api.summary {
        Some(_) => Step::good("permissions", "the user sees the whole system"),
        None => Step::bad(
            "permissions",
            "the engine shows this user only a part of the system",
            "give the user a role of an administrator on the system, with BACKUP_DISK, \
             EDIT_DISK_PROPERTIES and CREATE_DISK in it; SuperUser has all",
        ),
    }
}

/// Whether the internal authority that is trusted is the one that the engine has.
fn ca(subject: &Subject<'_>) -> Step {
    let trusted = match subject.internal_anchor.certificates() {
        Ok(trusted) => trusted,
        Err(error) => return Step::bad("ca", error.chain(), TRUST),
    };
    let shown = fetch_internal_ca(subject.engine.url(), subject.api_anchor, &Patience::default());
    let shown = match shown {
        Ok(shown) => shown,
        Err(error) => {
            let remedy = "see what the engine logs; backups work without this step";
            return Step::doubtful("ca", error.chain(), remedy);
        }
    };
    let prints = |all: &[Certificate]| {
        all.iter().map(|one| one.fingerprint().to_string()).collect::<Vec<_>>().join(", ")
    };
    match shown.iter().any(|certificate| trusted.contains(certificate)) {
        true => Step::good("ca", format!("trusted, SHA-256 {}", prints(&shown))),
        false => Step::bad(
            "ca",
            format!(
                "the engine has another: SHA-256 {}; trusted: {}",
                prints(&shown),
                prints(&trusted)
            ),
            format!("if the engine was given a new authority, {TRUST}"),
        ),
    }
}
