//! The configuration of a VM of an engine: what a restore needs to make the VM again.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::limits::CONFIGURATION_BYTES_MAX;
use crate::format::codec::{DecodeError, require};

/// The newest version that this release writes and reads.
pub const VM_CONFIG_VERSION: u32 = 1;
/// The word by which a reader knows the document.
const FORMAT: &str = "backstop-vm";

/// What is stored of a VM beside its disks. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmConfig {
    /// The word for this document.
    format: String,
    /// Version of this document.
    version: u32,
    /// Members of the engine's own document about the VM, as the engine writes them.
    pub vm: Members,
    /// Where the VM belongs.
    pub cluster: Option<Named>,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// Everything that is attached to it as a disk, stored or not, in the engine's order.
    pub disks: Vec<AttachedDisk>,
    /// The engine's own description, which it makes VMs from; none where it gave none that reads.
    pub ovf: Option<String>,
    /// What was taken out because it may be secret, for people.
    pub taken_out: Vec<String>,
    /// What the engine does not hand out, for people.
    pub warnings: Vec<String>,
}

/// Members of a document of an engine. They may be secret: they are not shown.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members(Map<String, Value>);

/// An object of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name; empty where the engine does not show it.
    pub name: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How the VM sees it: `virtio`, for example.
    pub interface: String,
    /// Its address.
    pub mac: Option<String>,
    /// Whether its link is up.
    pub linked: bool,
    /// Whether it is plugged in.
    pub plugged: bool,
    /// How it belongs to a network.
    pub profile: Option<Named>,
    /// The network.
    pub network: Option<Named>,
}

/// Something that is attached as a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedDisk {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How the VM sees it: `virtio_scsi`, for example.
    pub interface: String,
    /// Whether the VM boots from it.
    pub bootable: bool,
    /// Whether it is plugged in.
    pub active: bool,
    /// Whether the VM may only read it.
    pub read_only: bool,
    /// Whether discards of the guest reach its storage.
    pub pass_discard: bool,
    /// Whether several VMs may have it.
    pub shareable: bool,
    /// Its length; none for storage that is not the engine's.
    pub size_bytes: Option<u64>,
    /// Where it was stored.
    pub storage_domain: Option<Named>,
}

impl VmConfig {
    /// An empty one.
    #[must_use]
    pub fn new(vm: Members) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VM_CONFIG_VERSION,
            vm,
            cluster: None,
            nics: Vec::new(),
            disks: Vec::new(),
            ovf: None,
            taken_out: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The document.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("text and numbers")
    }

    /// Reads a document. Members that this release does not know are passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let len = bytes.len() as u64;
        require(len <= CONFIGURATION_BYTES_MAX, "the configuration is too long")?;
        let unread = |_| DecodeError::damaged("no configuration of a VM");
        let head: Head = serde_json::from_slice(bytes).map_err(unread)?;
        require(head.format == FORMAT && head.version > 0, "no configuration of a VM")?;
        if head.version > VM_CONFIG_VERSION {
            let what = format!("version {} of the configuration of a VM", head.version);
            return Err(DecodeError::newer(what));
        }
        serde_json::from_slice(bytes).map_err(unread)
    }
}

impl Members {
    /// Those of these names, and nothing else.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Self(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The text at the end of these names.
    #[must_use]
    pub fn text(&self, names: &[&str]) -> Option<&str> {
        let (first, rest) = names.split_first()?;
        let member = self.0.get(*first)?;
        rest.iter().try_fold(member, |value, name| value.get(name))?.as_str()
    }

    /// Whether a member says `true`, in any of the ways in which engines write it.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| *value == true || *value == "true")
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_back_and_one_that_is_newer_or_none_is_told_apart() {
        let members = r#"{"name":"web","tpm_enabled":"true","os":{"type":"other"},"secret":"s"}"#;
        let members: Members = serde_json::from_str(members).unwrap();
        assert!(members.is_true("tpm_enabled") && !members.is_true("name"));
        assert_eq!(members.text(&["os", "type"]), Some("other"));
        assert_eq!(members.text(&["name", "type"]), None);
        let config = VmConfig::new(members.only(&["name", "os"]));
        let bytes = config.encode();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret"));
        assert_eq!(VmConfig::decode(&bytes), Ok(config));
        let newer = br#"{"format":"backstop-vm","version":2,"vm":7}"#;
        assert!(VmConfig::decode(newer).unwrap_err().is_newer());
        for none in [&b"{}"[..], b"", br#"{"format":"other","version":1}"#] {
            assert!(!VmConfig::decode(none).unwrap_err().is_newer());
        }
    }

    #[test]
    fn members_of_a_document_are_not_shown() {
        let members: Members = serde_json::from_str(r#"{"script":"c4n4ry"}"#).unwrap();
        assert!(!format!("{members:?} {:?}", VmConfig::new(members.clone())).contains("c4n4ry"));
    }
}
