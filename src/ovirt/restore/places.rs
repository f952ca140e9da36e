//! What an engine has where a VM could go.

use crate::error::Result;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::restore::domain::domains;
use crate::ovirt::wire::{
    ClusterList, NetworkList, Place, StorageDomain, Vm, VnicProfile, VnicProfileList,
};

/// What the engine shows.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Clusters.
    pub clusters: Vec<Place>,
    /// vNIC profiles.
    pub profiles: Vec<VnicProfile>,
    /// Networks.
    pub networks: Vec<Place>,
    /// Storage domains that can hold disks.
    pub domains: Vec<StorageDomain>,
    /// Whether the VM that was backed up is still there.
    pub has_original: bool,
}

impl Places {
    /// Looks. `original` is the id of the VM that was backed up.
    pub fn look(engine: &Engine, original: Option<&str>) -> Result<Self> {
        let clusters: ClusterList = engine.get(&ApiPath::new(&["clusters"]))?;
        let networks: NetworkList = engine.get(&ApiPath::new(&["networks"]))?;
        let profiles: VnicProfileList = engine.get(&ApiPath::new(&["vnicprofiles"]))?;
        let has_original = match original {
            Some(id) => engine.find::<Vm>(&ApiPath::new(&["vms", id]))?.is_some(),
            None => false,
        };
        Ok(Self {
            clusters: clusters.cluster,
            profiles: profiles.vnic_profile,
            networks: networks.network,
            domains: domains(engine)?,
            has_original,
        })
    }

    /// The profile of that name, or of that `NETWORK/NAME`.
    pub(super) fn profile(&self, name: &str) -> std::result::Result<&VnicProfile, String> {
        let is_it = |one: &&VnicProfile| one.name == name || self.full_name(one) == name;
        let found: Vec<_> = self.profiles.iter().filter(is_it).collect();
        let full = |all: &[&VnicProfile]| {
            all.iter().map(|one| self.full_name(one)).collect::<Vec<_>>().join(", ")
        };
        match found[..] {
            [one] => Ok(one),
            [] => {
                let all: Vec<_> = self.profiles.iter().collect();
                Err(format!("no vNIC profile is named {name:?}; the engine shows {}", full(&all)))
            }
            _ => Err(format!("which vNIC profile {name:?} is meant: {}", full(&found))),
        }
    }

    fn full_name(&self, profile: &VnicProfile) -> String {
        let id = profile.network.as_ref().map_or("", |network| network.id.as_str());
        let network = self.networks.iter().find(|one| one.id == id);
        format!("{}/{}", network.map_or("", |one| one.name.as_str()), profile.name)
    }
}
