//! VMs of a lab, backed up and compared with their disks.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::run::run;
use crate::support::{MIB, Ran, noise, wait, wait_until};

/// No run of these small disks takes longer, whatever happens to it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// A VM of the lab.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) disks: Vec<String>,
}

/// SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> String {
    run("sha256sum", [path]).split(' ').next().unwrap().to_owned()
}

impl Lab {
    /// A VM that is down, with a QCOW2 disk of so many MiB of noise and as much that is zero.
    pub(crate) fn noisy_vm(&self, name: &str, noisy: usize) -> Vm {
        let mut bytes = noise(noisy * MIB, 7);
        bytes.resize(2 * noisy * MIB, 0);
        let source = self.place.file(&format!("{name}.source"), &bytes);
        self.add_vm(name, &json!([{"name": "system", "source": source, "backup": "incremental"}]))
    }

    pub(crate) fn add_vm(&self, name: &str, disks: &Value) -> Vm {
        let made = self.order("add-vm", &json!({"name": name, "disks": disks}));
        let ids = made["disks"].as_array().unwrap().iter();
        Vm {
            name: name.to_owned(),
            id: made["id"].as_str().unwrap().to_owned(),
            disks: ids.map(|id| id.as_str().unwrap().to_owned()).collect(),
        }
    }

    /// A VM of the inventory.
    pub(crate) fn vm(&self, name: &str) -> Vm {
        let state = self.state();
        let vms = state["vms"].as_object().unwrap();
        let (id, vm) = vms.iter().find(|(_, vm)| vm["name"] == name).unwrap();
        let disks = vm["_attachments"].as_object().unwrap().keys().cloned().collect();
        Vm { name: name.to_owned(), id: id.clone(), disks }
    }

    /// The document of a backup that succeeds.
    #[track_caller]
    pub(crate) fn back_up(&self, vm: &Vm, more: &[&str]) -> Value {
        let args = [&["backup", "vm", &vm.name, "--json"], more].concat();
        self.run(&args).expect(0).json()
    }

    /// A backup under way: its first bytes of data have been asked for. Needs `watch-transfers`.
    #[track_caller]
    pub(crate) fn start_backup(&self, vm: &Vm, more: &[&str]) -> Child {
        let args = [&["backup", "vm", &vm.name, "--json"], more].concat();
        let mut child = self.command(&args).spawn().unwrap();
        let began = wait_until(PATIENCE, || {
            child.try_wait().unwrap().is_some() || self.data_requests() > 0
        });
        assert!(began, "the backup does not begin");
        child
    }

    /// How many requests for data the middleman has seen.
    pub(crate) fn data_requests(&self) -> usize {
        let seen = self.order("transfer-requests", &json!({}));
        let requests = seen["requests"].as_array().unwrap().iter();
        requests.filter(|one| one["method"] == "GET" && !one["range"].is_null()).count()
    }

    /// The newest point of a VM, in full.
    #[track_caller]
    pub(crate) fn newest(&self, vm: &Vm) -> Value {
        let point = format!("{}@latest", vm.name);
        self.run(&["show", &point, "--json"]).expect(0).json()["point"].clone()
    }

    pub(crate) fn point_count(&self, vm: &Vm) -> usize {
        let ran = self.run(&["list", &vm.name, "--json"]);
        ran.json()["points"].as_array().map_or(0, Vec::len)
    }

    /// SHA-256 of each disk of the newest point, by its name.
    #[track_caller]
    pub(crate) fn stored_digests(&self, vm: &Vm) -> Map<String, Value> {
        let point = self.newest(vm);
        let disks = point["disks"].as_array().unwrap().iter();
        let digest = |disk: &Value| {
            let (name, target) = (disk["name"].as_str().unwrap(), self.place.path("restored"));
            let point = format!("{}@latest", vm.name);
            let target_text = target.to_str().unwrap();
            self.run(&["restore", "disk", &point, name, target_text, "--force"]).expect(0);
            (name.to_owned(), json!(sha256(&target)))
        };
        disks.map(digest).collect()
    }

    fn disk_names(&self, vm: &Vm) -> Vec<(String, String)> {
        let state = self.state();
        let name = |id: &String| state["disks"][id]["name"].as_str().unwrap().to_owned();
        vm.disks.iter().map(|id| (id.clone(), name(id))).collect()
    }

    /// Compares the newest point with the disks of a VM that is down.
    #[track_caller]
    pub(crate) fn assert_stored(&self, vm: &Vm) {
        let digest = |id: &String| self.order("digest", &json!({"disk": id}))["sha256"].clone();
        let disks = self.disk_names(vm);
        let truth: Map<_, _> = disks.iter().map(|(id, name)| (name.clone(), digest(id))).collect();
        assert_eq!(self.stored_digests(vm), truth, "{}", vm.name);
    }

    /// Compares the newest point with the instant of the VM's newest backup. Needs the switch
    /// `references`.
    #[track_caller]
    pub(crate) fn assert_instant_stored(&self, vm: &Vm) {
        let backup = self.newest(vm)["engine"]["backup_id"].clone();
        let truth = |id: &String| {
            let given = json!({"backup": backup, "disk": id});
            self.order("reference", &given)["sha256"].clone()
        };
        let disks = self.disk_names(vm);
        let truth: Map<_, _> = disks.iter().map(|(id, name)| (name.clone(), truth(id))).collect();
        assert_eq!(self.stored_digests(vm), truth, "{}", vm.name);
    }

    /// What a run must leave as it was: states, locks, layers, running work, exports. Checkpoints
    /// are there when `with_checkpoints`.
    pub(crate) fn traces(&self, with_checkpoints: bool) -> Value {
        let state = self.state();
        let keep = |entity: &Value, keys: &[&str]| -> Value {
            keys.iter().map(|key| ((*key).to_owned(), entity[*key].clone())).collect()
        };
        let is_open = |one: &&Value| {
            let phase = one["phase"].as_str().unwrap_or_default();
            !(phase.starts_with("finished") || phase == "succeeded" || phase == "failed")
        };
        let values = |value: &Value| value.as_object().unwrap().clone().into_iter();
        let vms: Map<_, _> = values(&state["vms"])
            .map(|(id, vm)| {
                let mut kept = keep(&vm, &["name", "status", "_snapshots", "_attachments"]);
                let backups = vm["_backups"].as_object().unwrap();
                kept["running"] = backups.values().filter(is_open).cloned().collect();
                if with_checkpoints {
                    kept["checkpoints"] = vm["_checkpoints"].clone();
                }
                (id, kept)
            })
            .collect();
        let disks: Map<_, _> = values(&state["disks"])
            .map(|(id, disk)| {
                (id, keep(&disk, &["name", "status", "backup_mode", "format", "image_id"]))
            })
            .collect();
        let transfers = state["imagetransfers"].as_object().unwrap();
        let open: Vec<_> = transfers.values().filter(is_open).map(|one| &one["id"]).collect();
        let processes: Vec<_> = state["processes"].as_array().unwrap().iter().collect();
        json!({"vms": vms, "disks": disks, "transfers": open, "processes": processes})
    }
}

/// Waits for a run to end, within bounded time.
#[track_caller]
pub(crate) fn ended(child: Child) -> Ran {
    wait(child, PATIENCE)
}
