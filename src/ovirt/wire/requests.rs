//! The documents that create something. An engine refuses members that it does not know, so what
//! came with a later release is left out where it is not needed.

use serde::Serialize;

use crate::format::vm_config::Members;

/// A reference to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdRef {
    /// Its id.
    pub id: String,
}

impl From<&str> for IdRef {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned() }
    }
}

/// References to disks.
#[derive(Debug, Clone, Serialize)]
pub struct DiskRefs {
    disk: Vec<IdRef>,
}

/// A backup that is to begin.
#[derive(Debug, Clone, Serialize)]
pub struct NewBackup {
    /// Its id, where the engine lets clients choose it (4.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The mark from which on changes are wanted; everything without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_checkpoint_id: Option<String>,
    /// At most 1024 characters. The engine copies it to the checkpoint.
    pub description: String,
    /// The disks.
    pub disks: DiskRefs,
}

impl NewBackup {
    /// A full backup of these disks.
    #[must_use]
    pub fn new<'a>(description: String, disks: impl IntoIterator<Item = &'a str>) -> Self {
        let disks = DiskRefs { disk: disks.into_iter().map(IdRef::from).collect() };
        Self { id: None, from_checkpoint_id: None, description, disks }
    }
}

/// A transfer that is to begin.
#[derive(Debug, Clone, Serialize)]
pub struct NewTransfer {
    /// The backup that holds the disk, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<IdRef>,
    /// The disk.
    pub disk: IdRef,
    /// `download` or `upload`.
    pub direction: String,
    /// `raw`: the disk as its guest sees it.
    pub format: &'static str,
    /// Seconds without any request after which the engine ends it.
    pub inactivity_timeout: u64,
    /// What it does then (4.4.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_policy: Option<&'static str>,
}

/// A disk that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewDisk {
    /// Its id, which is ours to choose.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// `cow` or `raw`.
    pub format: String,
    /// Its length in bytes.
    pub provisioned_size: u64,
    /// Bytes that are allocated at once, where space does not come by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_size: Option<u64>,
    /// Whether its space is allocated as it is needed.
    pub sparse: bool,
    /// `incremental` or `none`: whether the engine can record what changes.
    pub backup: &'static str,
    /// Whether its storage is to be overwritten when it is deleted.
    pub wipe_after_delete: bool,
    /// Where.
    pub storage_domains: DomainRefs,
}

/// References to storage domains.
#[derive(Debug, Clone, Serialize)]
pub struct DomainRefs {
    storage_domain: [IdRef; 1],
}

impl From<&str> for DomainRefs {
    fn from(id: &str) -> Self {
        Self { storage_domain: [IdRef::from(id)] }
    }
}

/// How a VM is to have a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewAttachment {
    /// The disk.
    pub disk: IdRef,
    /// How the VM sees it.
    pub interface: String,
    /// Whether it is plugged in.
    pub active: bool,
    /// Whether the VM boots from it.
    pub bootable: bool,
    /// Whether the VM may only read it.
    pub read_only: bool,
    /// Whether discards of the guest reach its storage.
    pub pass_discard: bool,
}

/// A VM that is to be made.
#[derive(Clone, Serialize)]
pub struct NewVm {
    /// Its name.
    pub name: String,
    /// What it is, for whoever meets it before it is whole.
    pub comment: String,
    /// Whether it cannot be deleted by accident.
    pub delete_protected: bool,
    /// Where it belongs.
    pub cluster: IdRef,
    /// What it is made like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<IdRef>,
    /// What it is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initialization: Option<FromOvf>,
    /// What it is like, in an engine's own words.
    #[serde(flatten)]
    pub members: Members,
}

/// An engine's own description that a VM is made from. May be long, and secret.
#[derive(Clone, Serialize)]
pub struct FromOvf {
    regenerate_ids: bool,
    configuration: OvfText,
}

#[derive(Clone, Serialize)]
struct OvfText {
    #[serde(rename = "type")]
    kind: &'static str,
    data: String,
}

impl From<String> for FromOvf {
    /// A new VM with ids and addresses of its own.
    fn from(data: String) -> Self {
        Self { regenerate_ids: true, configuration: OvfText { kind: "ovf", data } }
    }
}

/// What is changed of a VM.
#[derive(Debug, Clone, Serialize)]
pub struct VmChange {
    /// What somebody wrote about it.
    pub comment: String,
    /// Whether it cannot be deleted by accident.
    pub delete_protected: bool,
}

/// A network card, as it is to be. What is left out stays or is chosen by the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewNic {
    /// Its name.
    pub name: String,
    /// How the VM sees it.
    pub interface: String,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacRef>,
    /// How it belongs to a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnic_profile: Option<IdRef>,
    /// Whether its link is up.
    pub linked: bool,
    /// Whether it is plugged in.
    pub plugged: bool,
}

/// An address of a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MacRef {
    /// As text.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(document: &impl Serialize) -> String {
        serde_json::to_string(document).expect("writes")
    }

    #[test]
    fn only_what_is_wanted_is_written() {
        let full = NewBackup::new("tag".to_owned(), ["D1", "D2"]);
        let expected = r#"{"description":"tag","disks":{"disk":[{"id":"D1"},{"id":"D2"}]}}"#;
        assert_eq!(json(&full), expected);
        let later = NewBackup {
            id: Some("B".to_owned()),
            from_checkpoint_id: Some("C".to_owned()),
            ..NewBackup::new("tag".to_owned(), [])
        };
        let expected =
            r#"{"id":"B","from_checkpoint_id":"C","description":"tag","disks":{"disk":[]}}"#;
        assert_eq!(json(&later), expected);
    }
}
