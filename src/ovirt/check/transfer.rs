//! Whether images can be had: from hosts that are up, or through the engine.

use crate::error::Result;
use crate::ovirt::address::{Host as HostName, Place};
use crate::ovirt::check::steps::remedy;
use crate::ovirt::check::{PROXY_PORT, Step, Subject, TRANSFER_PORT, Way};
use crate::ovirt::client::ApiPath;
use crate::ovirt::wire::{Host, HostList};

const NAME: &str = "transfer";

/// One place, tried.
struct Tried {
    line: String,
    /// What to do; nothing if images can be had there.
    remedy: Option<&'static str>,
}

pub(super) fn transfer(subject: &Subject<'_>) -> Step {
    let hosts = match up_hosts(subject) {
        Ok(hosts) => hosts,
        Err(error) => return Step::bad(NAME, error.chain(), "see what the engine logs"),
    };
    if hosts.is_empty() {
        let remedy =
            "activate a host in the engine: images are read by one, also of VMs that are down";
        return Step::bad(NAME, "no host is up", remedy);
    }
    let direct: Vec<_> = match subject.way {
        Way::Proxy => Vec::new(),
        Way::Auto | Way::Direct => hosts.iter().map(|host| try_host(subject, host)).collect(),
    };
    let needs_proxy = direct.is_empty() || direct.iter().any(|tried| tried.remedy.is_some());
    let proxy = (needs_proxy && subject.way != Way::Direct).then(|| try_proxy(subject));
    conclude(&direct, proxy.as_ref())
}

fn conclude(direct: &[Tried], proxy: Option<&Tried>) -> Step {
    let all = || direct.iter().chain(proxy);
    let detail = all().map(|tried| tried.line.as_str()).collect::<Vec<_>>().join("; ");
    let is_there = all().any(|tried| tried.remedy.is_none());
    match all().find_map(|tried| tried.remedy) {
        None => Step::good(NAME, detail),
        Some(remedy) => {
            let remedy =
                format!("{remedy}; behind NAT, name the way to the host in `host_addresses`");
            match is_there {
                true => Step::doubtful(NAME, detail, remedy),
                false => Step::bad(NAME, detail, remedy),
            }
        }
    }
}

fn up_hosts(subject: &Subject<'_>) -> Result<Vec<Host>> {
    let list: HostList = subject.engine.get(&ApiPath::new(&["hosts"]))?;
    Ok(list.host.into_iter().filter(|host| host.status == "up").collect())
}

fn try_host(subject: &Subject<'_>, host: &Host) -> Tried {
    match HostName::parse(&host.address) {
        Ok(name) => try_place(subject, &host.name, &Place::new(name, TRANSFER_PORT)),
        Err(error) => {
            let remedy = Some("correct the address of the host in the engine");
            Tried { line: format!("{}: {error}", host.name), remedy }
        }
    }
}

fn try_proxy(subject: &Subject<'_>) -> Tried {
    let host = subject.engine.url().place().host.clone();
    try_place(subject, "the proxy", &Place::new(host, PROXY_PORT))
}

fn try_place(subject: &Subject<'_>, name: &str, place: &Place) -> Tried {
    let reach = subject.prober.probe(place, Some(subject.internal_anchor));
    let line = format!("{name} at {}: {reach}", subject.prober.map.route(place));
    Tried { line, remedy: (!reach.is_good()).then(|| remedy(&reach)) }
}
