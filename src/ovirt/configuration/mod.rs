//! The configuration of a VM, as a restore point keeps it.
//!
//! Of the engine's documents only what is named here is kept, and what may be secret is taken out
//! of the OVF: a script, passwords, keys and payloads are in nothing that is stored, unless the
//! repository is encrypted and the operator wants them.

mod ovf;

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::format::vm_config::{AttachedDisk, Members, Named, Nic, VmConfig};
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::poll::until;
use crate::ovirt::wire::{self, Attachment, AttachmentList, Disk, Link, NicList, VnicProfile};

/// How long an OVF may be missing: the engine gives none while it works on a disk of the VM.
const OVF_WAIT: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(5 * 60);
/// What is kept of the engine's document about a VM.
const KEPT: [&str; 33] = [
    "bios",
    "comment",
    "console",
    "cpu",
    "custom_compatibility_version",
    "custom_cpu_model",
    "custom_emulated_machine",
    "delete_protected",
    "description",
    "display",
    "high_availability",
    "id",
    "io",
    "memory",
    "memory_policy",
    "migration",
    "migration_downtime",
    "multi_queues_enabled",
    "name",
    "origin",
    "os",
    "placement_policy",
    "rng_device",
    "serial_number",
    "soundcard_enabled",
    "start_paused",
    "stateless",
    "storage_error_resume_behaviour",
    "time_zone",
    "tpm_enabled",
    "type",
    "usb",
    "virtio_scsi",
];

/// What becomes of scripts, passwords and keys in an OVF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are taken out.
    TakenOut,
    /// They stay. Only for encrypted repositories.
    Kept,
}

/// Collects the configuration of the VM of that id. To be called before a backup
/// of it begins: the engine gives no OVF while one has its disks. That there is none, or none that
/// reads, is a warning and no error.
pub fn capture(engine: &Engine, vm: &str, secrets: Secrets) -> Result<VmConfig> {
    let whole = whole(engine, vm)?;
    let mut config = VmConfig::new(whole.only(&KEPT));
    config.warnings = hidden(&whole);
    match ovf_of(&whole).map(|ovf| ovf::clean(ovf, secrets)) {
        Some(Ok(clean)) => {
            config.ovf = Some(clean.text);
            config.taken_out = clean.taken_out.into_iter().map(ToOwned::to_owned).collect();
        }
        Some(Err(error)) => config.warnings.push(without_ovf(&error.to_string())),
        None => config.warnings.push(without_ovf("the engine gave none")),
    }
    if let Some(id) = whole.text(&["cluster", "id"]) {
        config.cluster = Some(named(engine, "clusters", id)?);
    }
    config.nics = nics(engine, vm)?;
    config.disks = disks(engine, vm)?;
    Ok(config)
}

fn ovf_of(whole: &Members) -> Option<&str> {
    whole.text(&["initialization", "configuration", "data"]).filter(|ovf| !ovf.is_empty())
}

fn without_ovf(reason: &str) -> String {
    format!("the configuration is stored without an OVF: {reason}")
}

/// All that the engine shows of the VM, once an OVF is with it or has been missing too long.
fn whole(engine: &Engine, vm: &str) -> Result<Members> {
    let path = ApiPath::new(&["vms", vm]).with("all_content", "true");
    let began = Instant::now();
    until(engine, LIMIT, "the engine shows no configuration of the VM", || {
        let whole: Members = engine.get(&path)?;
        let is_enough = ovf_of(&whole).is_some() || began.elapsed() >= OVF_WAIT;
        Ok(is_enough.then_some(whole))
    })
}

/// What the VM has that the engine does not hand out.
fn hidden(whole: &Members) -> Vec<String> {
    let mut warnings = Vec::new();
    if whole.is_true("tpm_enabled") {
        let what = "the VM has a TPM, and the engine does not hand out what is in it: keys that \
                    are kept there are missing after a restore";
        warnings.push(what.to_owned());
    }
    let firmware = whole.text(&["bios", "type"]).unwrap_or_default();
    if firmware.contains("ovmf") || firmware.contains("secure_boot") {
        let what = "the VM starts by UEFI, and the engine does not hand out its variables \
                    (NVRAM): boot entries and enrolled keys are missing after a restore";
        warnings.push(what.to_owned());
    }
    warnings
}

/// An object with its name, which may be hidden from the user.
fn named(engine: &Engine, collection: &str, id: &str) -> Result<Named> {
    let found: Option<wire::Named> = engine.find(&ApiPath::new(&[collection, id]))?;
    let name = found.map(|one| one.name).unwrap_or_default();
    Ok(Named { id: id.to_owned(), name })
}

fn nics(engine: &Engine, vm: &str) -> Result<Vec<Nic>> {
    let list: NicList = engine.get(&ApiPath::new(&["vms", vm, "nics"]))?;
    list.nic.into_iter().map(|nic| nic_of(engine, nic)).collect()
}

fn nic_of(engine: &Engine, nic: wire::Nic) -> Result<Nic> {
    let (profile, network) = match &nic.vnic_profile {
        None => (None, None),
        Some(Link { id }) => {
            let path = ApiPath::new(&["vnicprofiles", id]);
            let found: Option<VnicProfile> = engine.find(&path)?;
            let VnicProfile { name, network, .. } = found.unwrap_or_default();
            let network = network.map(|link| named(engine, "networks", &link.id)).transpose()?;
            (Some(Named { id: id.clone(), name }), network)
        }
    };
    Ok(Nic {
        id: nic.id,
        name: nic.name,
        interface: nic.interface,
        mac: nic.mac.map(|mac| mac.address),
        linked: nic.linked != Some(false),
        plugged: nic.plugged != Some(false),
        profile,
        network,
    })
}

fn disks(engine: &Engine, vm: &str) -> Result<Vec<AttachedDisk>> {
    let path = ApiPath::new(&["vms", vm, "diskattachments"]).with("follow", "disk");
    let list: AttachmentList = engine.get(&path)?;
    list.disk_attachment.into_iter().map(|one| disk_of(engine, one)).collect()
}

fn disk_of(engine: &Engine, attachment: Attachment) -> Result<AttachedDisk> {
    let is_whole = |disk: &Disk| disk.storage_type.is_some() || disk.lun_storage.is_some();
    let disk = match attachment.disk.filter(is_whole) {
        Some(disk) => disk,
        None => engine.get(&ApiPath::new(&["disks", &attachment.id]))?,
    };
    let domain = disk.storage_domains.storage_domain.first();
    Ok(AttachedDisk {
        name: disk.name.or(disk.alias).unwrap_or_else(|| attachment.id.clone()),
        id: attachment.id,
        interface: attachment.interface,
        bootable: attachment.bootable == Some(true),
        active: attachment.active == Some(true),
        read_only: attachment.read_only == Some(true),
        pass_discard: attachment.pass_discard == Some(true),
        shareable: disk.shareable == Some(true),
        size_bytes: disk.provisioned_size,
        storage_domain: domain.map(|link| named(engine, "storagedomains", &link.id)).transpose()?,
    })
}
