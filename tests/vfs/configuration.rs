//! The stored configuration of a VM, as files beside its disks.

use std::sync::Arc;

use backstop::error::ErrorKind;
use backstop::format::layout::Area;
use backstop::monitor::RecordingMonitor;
use backstop::store::Store;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};

use crate::support::{
    MIB, back_up_bytes, back_up_configured, configuration, disk_input, new_repo, noise, watched,
};
use crate::{names, open, read, tree, walk};

const OVF: &str = "<ovf:Envelope>größe</ovf:Envelope>";
const NEWER: &[u8] = br#"{"format":"backstop-vm","version":2,"vm":{}}"#;

#[test]
fn a_configuration_is_two_files_that_hold_what_was_stored() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let stored = configuration(Some(OVF));
    back_up_configured(&repo, "vm", vec![disk_input("sda", b"x")], &stored).unwrap();
    let tree = tree(&repo);
    let expected = [".", "..", "sda.raw", "vm.json", "vm.ovf", "point.json"];
    assert_eq!(names(&tree, "vms/vm/latest"), expected);
    for (name, bytes) in [("vm.json", &stored[..]), ("vm.ovf", OVF.as_bytes())] {
        let path = format!("vms/vm/latest/{name}");
        let attr = walk(&tree, &path).unwrap();
        assert_eq!((attr.size_bytes, attr.mode), (bytes.len() as u64, 0o400), "{name}");
        assert_eq!(attr.blocks, attr.size_bytes.div_ceil(512), "{name}");
        let file = open(&tree, &path);
        assert_eq!(read(&tree, file, 0, MIB).unwrap(), bytes, "{name}");
        assert_eq!(read(&tree, file, 3, 5).unwrap(), bytes[3..8], "{name}");
        assert_eq!(read(&tree, file, bytes.len() as u64, 5).unwrap(), b"", "{name}");
    }
}

#[test]
fn files_of_a_configuration_are_there_only_where_there_is_one() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    back_up_bytes(&repo, "image", b"x").unwrap();
    let disk = || vec![disk_input("disk", b"x")];
    back_up_configured(&repo, "bare", disk(), &configuration(None)).unwrap();
    let tree = tree(&repo);
    assert_eq!(names(&tree, "vms/image/latest"), [".", "..", "disk.raw", "point.json"]);
    assert_eq!(names(&tree, "vms/bare/latest"), [".", "..", "disk.raw", "vm.json", "point.json"]);
    for missing in ["image/latest/vm.json", "image/latest/vm.ovf", "bare/latest/vm.ovf"] {
        let error = walk(&tree, &format!("vms/{missing}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{missing}");
    }
}

#[test]
fn a_disk_that_is_named_like_another_file_keeps_its_own() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let names_of_files = ["vm.json", "vm.ovf", "point.json", "vm.json.raw"];
    let disks = names_of_files.map(|name| disk_input(name, name.as_bytes())).into();
    back_up_configured(&repo, "vm", disks, &configuration(Some(OVF))).unwrap();
    let tree = tree(&repo);
    let shown = names(&tree, "vms/vm/latest");
    let different: std::collections::BTreeSet<_> = shown.iter().collect();
    assert_eq!(different.len(), 2 + 4 + 3, "{shown:?}");
    for name in names_of_files {
        let file = open(&tree, &format!("vms/vm/latest/{name}.raw"));
        assert_eq!(read(&tree, file, 0, MIB).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_configuration_that_is_damaged_or_newer_is_an_error_of_its_own_files_only() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let monitor = Arc::new(RecordingMonitor::default());
    let environment = watched(1, Arc::clone(&monitor) as _);
    let repo =
        crate::support::create_repo(Arc::clone(&store) as Arc<dyn Store>, environment).unwrap();
    back_up_bytes(&repo, "disk-only", &noise(MIB, 1)).unwrap();
    let before = store.list(Area::Packs).unwrap();
    // What was stored before is not stored again: the new packs hold the configuration.
    let disk = || vec![disk_input("disk", &noise(MIB, 1))];
    let stored = configuration(Some(OVF));
    back_up_configured(&repo, "hit", disk(), &stored).unwrap();
    let after = store.list(Area::Packs).unwrap();
    let added: Vec<_> = after.into_iter().filter(|pack| !before.contains(pack)).collect();
    assert!(!added.is_empty());
    back_up_configured(&repo, "newer", disk(), NEWER).unwrap();
    let tree = tree(&repo);
    for pack in added {
        store.damage(&pack, Damage::Missing);
    }
    for vm in ["hit", "newer"] {
        assert_eq!(names(&tree, &format!("vms/{vm}/latest")).len(), 6, "{vm}");
        let disk = open(&tree, &format!("vms/{vm}/latest/disk.raw"));
        assert!(read(&tree, disk, 0, MIB).unwrap() == noise(MIB, 1), "{vm}");
    }
    let json = open(&tree, "vms/hit/latest/vm.json");
    assert!(read(&tree, json, 0, MIB).is_err());
    assert!(walk(&tree, "vms/hit/latest/vm.ovf").is_err());
    let json = open(&tree, "vms/newer/latest/vm.json");
    assert_eq!(read(&tree, json, 0, MIB).unwrap(), NEWER);
    let error = walk(&tree, "vms/newer/latest/vm.ovf").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let problems = monitor.recorded().problems;
    let told = |vm: &str| {
        let words = format!("cannot read the configuration of VM {vm:?}, restore point ");
        problems.iter().filter(|problem| problem.starts_with(&words)).count()
    };
    assert_eq!((told("hit"), told("newer"), problems.len()), (1, 1, 2), "{problems:?}");
}
