//! From what a restore point says of a VM, and what the engine has, to the VM that is to be made:
//! pure. All that stands in the way is told at once.

use crate::format::engine::StorageDomain as RecordedDomain;
use crate::format::vm_config::{Nic, VmConfig};
use crate::ovirt::restore::domain::choose_domain;
use crate::ovirt::restore::places::Places;
use crate::ovirt::wire::{IdRef, MacRef, NewNic, Place, StorageDomain, VnicProfile};

/// What becomes of the addresses of network cards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Macs {
    /// They are kept if the VM that had them is gone.
    #[default]
    IfFree,
    /// They are kept.
    Keep,
    /// The engine gives new ones.
    New,
}

/// What somebody who restores a VM says. What is not said is as it was.
#[derive(Debug, Clone, Default)]
pub struct VmWishes {
    /// Name of the VM.
    pub name: Option<String>,
    /// Name or id of its cluster.
    pub cluster: Option<String>,
    /// What becomes of its addresses.
    pub macs: Macs,
    /// Which vNIC profile takes the place of one: `PROFILE` or `NETWORK/PROFILE`, on both sides;
    /// nothing on the right for none.
    pub profiles: Vec<(String, String)>,
    /// Which storage domain takes the place of one, by names or ids.
    pub domains: Vec<(String, String)>,
    /// The storage domain of all other disks.
    pub domain: Option<String>,
}

/// A VM that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmPlan {
    /// Where it belongs.
    pub cluster: Place,
    /// Its network cards.
    pub nics: Vec<NewNic>,
    /// Whether they keep their addresses.
    pub keeps_macs: bool,
    /// Where its disks go, in their order.
    pub domains: Vec<StorageDomain>,
}

/// Plans, or says everything that stands in the way. `disks` are where the disks were, each with
/// its name.
pub fn plan_vm(
    config: &VmConfig,
    disks: &[(&str, Option<&RecordedDomain>)],
    wishes: &VmWishes,
    places: &Places,
) -> Result<VmPlan, Vec<String>> {
    let mut problems = Vec::new();
    let cluster = note(&mut problems, cluster(config, wishes, places));
    let keeps_macs = match wishes.macs {
        Macs::Keep => true,
        Macs::New => false,
        Macs::IfFree => !places.has_original,
    };
    let nics = config.nics.iter().filter_map(|card| {
        let profile = note(&mut problems, profile(card, wishes, places))?;
        Some(nic(card, profile, keeps_macs))
    });
    let nics = nics.collect();
    let domains = disks.iter().filter_map(|(name, recorded)| {
        let found = domain(name, *recorded, wishes, places);
        note(&mut problems, found).cloned()
    });
    let domains = domains.collect();
    match cluster {
        Some(cluster) if problems.is_empty() => Ok(VmPlan { cluster, nics, keeps_macs, domains }),
        _ => Err(problems),
    }
}

fn note<T>(problems: &mut Vec<String>, found: Result<T, String>) -> Option<T> {
    found.map_err(|problem| problems.push(problem)).ok()
}

fn cluster(config: &VmConfig, wishes: &VmWishes, places: &Places) -> Result<Place, String> {
    let by = |text: &str| {
        let mut all = places.clusters.iter();
        all.find(|one| one.id == text || (!text.is_empty() && one.name == text)).cloned()
    };
    let names: Vec<_> = places.clusters.iter().map(|one| one.name.as_str()).collect();
    let names = names.join(", ");
    match (&wishes.cluster, &config.cluster) {
        (Some(wanted), _) => by(wanted)
            .ok_or_else(|| format!("no cluster is named {wanted:?}; the engine shows {names}")),
        (None, Some(was)) => by(&was.id).or_else(|| by(&was.name)).ok_or_else(|| {
            let was = &was.name;
            format!("the cluster {was:?} is not there: name one of {names} by --cluster")
        }),
        (None, None) => Err(format!("the cluster is not known: name one of {names} by --cluster")),
    }
}

fn domain<'a>(
    disk: &str,
    recorded: Option<&RecordedDomain>,
    wishes: &VmWishes,
    places: &'a Places,
) -> Result<&'a StorageDomain, String> {
    let is_of = |old: &str| recorded.is_some_and(|was| was.id == old || was.name == old);
    let mapped = wishes.domains.iter().find(|(old, _)| is_of(old)).map(|(_, new)| new.as_str());
    let wanted = mapped.or(wishes.domain.as_deref());
    choose_domain(&places.domains, wanted, recorded)
        .map_err(|error| format!("disk {disk:?}: {error}: name one by --storage-domain"))
}

/// The profile of a network card; none if it had none or is to have none.
fn profile(nic: &Nic, wishes: &VmWishes, places: &Places) -> Result<Option<IdRef>, String> {
    let Some(was) = &nic.profile else { return Ok(None) };
    let network = nic.network.as_ref().map_or("", |network| network.name.as_str());
    let full = format!("{network}/{}", was.name);
    let is_it = |old: &str| old == was.name || old == full || old == was.id;
    if let Some((_, new)) = wishes.profiles.iter().find(|(old, _)| is_it(old)) {
        if new.is_empty() {
            return Ok(None);
        }
        let found = places.profile(new);
        return found.map(|found| Some(IdRef::from(found.id.as_str())));
    }
    let by_id = places.profiles.iter().find(|one| one.id == was.id);
    match by_id.map_or_else(|| places.profile(&full), Ok) {
        Ok(VnicProfile { id, .. }) => Ok(Some(IdRef::from(id.as_str()))),
        Err(_) => Err(format!(
            "network card {:?}: the vNIC profile {full} is not there: name another one by \
             --vnic-profile {}=NAME, or none by --vnic-profile {}=",
            nic.name, was.name, was.name
        )),
    }
}

fn nic(card: &Nic, vnic_profile: Option<IdRef>, keeps_macs: bool) -> NewNic {
    let mac = card.mac.clone().filter(|_| keeps_macs);
    NewNic {
        name: card.name.clone(),
        interface: card.interface.clone(),
        mac: mac.map(|address| MacRef { address }),
        vnic_profile,
        linked: card.linked,
        plugged: card.plugged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vm_config::{Members, Named};
    use crate::ovirt::wire::Link;

    fn named(id: &str, name: &str) -> Named {
        Named { id: id.to_owned(), name: name.to_owned() }
    }

    fn place(id: &str, name: &str) -> Place {
        Place { id: id.to_owned(), name: name.to_owned() }
    }

    fn profile_of(id: &str, name: &str, network: &str) -> VnicProfile {
        let network = Some(Link { id: network.to_owned() });
        VnicProfile { id: id.to_owned(), name: name.to_owned(), network }
    }

    fn places() -> Places {
        let domain = |id: &str, name: &str| StorageDomain {
            id: id.to_owned(),
            name: name.to_owned(),
            holds: "data".to_owned(),
            available: None,
            storage: Default::default(),
        };
        Places {
            clusters: vec![place("c1", "Default"), place("c2", "New")],
            profiles: vec![
                profile_of("p1", "plain", "n1"),
                profile_of("p2", "plain", "n2"),
                profile_of("p3", "fast", "n2"),
            ],
            networks: vec![place("n1", "lan"), place("n2", "san")],
            domains: vec![domain("s1", "slow"), domain("s2", "quick")],
            has_original: false,
        }
    }

    fn config() -> VmConfig {
        let mut config = VmConfig::new(Members::default());
        config.cluster = Some(named("gone", "Default"));
        config.nics = vec![Nic {
            id: "i".to_owned(),
            name: "nic1".to_owned(),
            interface: "virtio".to_owned(),
            mac: Some("56:6f:00:00:00:01".to_owned()),
            linked: true,
            plugged: true,
            profile: Some(named("gone", "plain")),
            network: Some(named("gone", "san")),
        }];
        config
    }

    fn domain_was() -> RecordedDomain {
        RecordedDomain { id: "s1".to_owned(), name: "slow".to_owned() }
    }

    fn wish(change: impl FnOnce(&mut VmWishes)) -> VmWishes {
        let mut wishes = VmWishes::default();
        change(&mut wishes);
        wishes
    }

    #[test]
    fn what_has_new_ids_is_found_again_by_its_names() {
        let was = domain_was();
        let plan = plan_vm(&config(), &[("d", Some(&was))], &VmWishes::default(), &places());
        let plan = plan.unwrap();
        assert_eq!(plan.cluster.id, "c1");
        assert_eq!(plan.nics[0].vnic_profile, Some(IdRef::from("p2")), "of that network");
        assert_eq!(plan.domains[0].id, "s1");
        assert!(plan.keeps_macs && plan.nics[0].mac.is_some());
    }

    #[test]
    fn addresses_are_kept_only_where_nobody_else_has_them_unless_it_is_said() {
        let there = Places { has_original: true, ..places() };
        let keeps = |macs, places: &Places| {
            let wishes = wish(|wishes| wishes.macs = macs);
            plan_vm(&config(), &[], &wishes, places).unwrap().nics[0].mac.is_some()
        };
        assert!(!keeps(Macs::IfFree, &there) && keeps(Macs::IfFree, &places()));
        assert!(keeps(Macs::Keep, &there) && !keeps(Macs::New, &places()));
    }

    #[test]
    fn what_is_wished_for_takes_the_place_of_what_was() {
        let was = domain_was();
        let disks = [("d", Some(&was)), ("unknown", None)];
        let wishes = wish(|wishes| {
            wishes.cluster = Some("New".to_owned());
            wishes.profiles = vec![("plain".to_owned(), "fast".to_owned())];
            wishes.domains = vec![("slow".to_owned(), "quick".to_owned())];
            wishes.domain = Some("s1".to_owned());
        });
        let plan = plan_vm(&config(), &disks, &wishes, &places()).unwrap();
        assert_eq!(plan.cluster.id, "c2");
        assert_eq!(plan.nics[0].vnic_profile, Some(IdRef::from("p3")));
        let ids: Vec<_> = plan.domains.iter().map(|domain| domain.id.as_str()).collect();
        assert_eq!(ids, ["s2", "s1"]);
        let wishes = wish(|wishes| {
            wishes.profiles = vec![("san/plain".to_owned(), String::new())];
        });
        let plan = plan_vm(&config(), &[], &wishes, &places()).unwrap();
        assert_eq!(plan.nics[0].vnic_profile, None);
    }

    #[test]
    fn all_that_stands_in_the_way_is_told_at_once() {
        let mut config = config();
        config.cluster = Some(named("gone", "gone"));
        config.nics[0].network = Some(named("gone", "gone"));
        let problems = plan_vm(&config, &[("d", None)], &VmWishes::default(), &places());
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for (problem, option) in
            problems.iter().zip(["--cluster", "--vnic-profile", "--storage-domain"])
        {
            assert!(problem.contains(option), "{problem}");
        }
        // A name that two profiles have says nothing.
        let wishes = wish(|wishes| {
            wishes.profiles = vec![("plain".to_owned(), "plain".to_owned())];
            wishes.cluster = Some("c1".to_owned());
        });
        let problems = plan_vm(&config, &[], &wishes, &places()).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains("lan/plain"), "{problems:?}");
    }
}
