//! Who uses a block device, for the people who want it back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::attach::sys;

/// Who uses the device of that name (`loop3`) or a partition of it, except this process: mounts,
/// programs, devices built on it, swap. What other mount namespaces hide is not found.
pub(super) fn users(name: &str) -> Vec<String> {
    let devices = Devices::new(name);
    let mut found = holders(name);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    found.extend(mounts(&read("/proc/self/mountinfo"), &devices));
    found.extend(swaps(&read("/proc/swaps"), &devices));
    found.extend(programs(&devices));
    found
}

/// A device and its partitions.
struct Devices {
    nodes: BTreeSet<String>,
    numbers: BTreeSet<String>,
}

impl Devices {
    fn new(name: &str) -> Self {
        let about = Path::new("/sys/block").join(name);
        let parts = fs::read_dir(&about).into_iter().flatten().flatten();
        let parts = parts.filter_map(|entry| entry.file_name().into_string().ok());
        let parts = parts.filter(|part| part.starts_with(name));
        let mut this = Self { nodes: BTreeSet::new(), numbers: BTreeSet::new() };
        this.add(name, &about);
        parts.for_each(|part| this.add(&part, &about.join(&part)));
        this
    }

    fn add(&mut self, name: &str, about: &Path) {
        self.nodes.insert(format!("/dev/{name}"));
        let number = fs::read_to_string(about.join("dev")).unwrap_or_default();
        self.numbers.insert(number.trim().to_owned());
    }
}

fn holders(name: &str) -> Vec<String> {
    let about = Path::new("/sys/block").join(name);
    let names = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let parts = names(&about).into_iter().filter(|part| part.starts_with(name));
    let places = parts.map(|part| about.join(part)).chain([about.clone()]);
    let holders = places.flat_map(|place| names(&place.join("holders")));
    holders.map(|holder| format!("the device /dev/{holder} is built on it")).collect()
}

/// `id parent major:minor root path options [optional fields] - type source options`
fn mounts(table: &str, devices: &Devices) -> Vec<String> {
    let mounted = |line: &str| {
        let (about, file_system) = line.split_once(" - ")?;
        let mut fields = about.split(' ').skip(2);
        let (number, place) = (fields.next()?, fields.nth(1)?);
        let source = file_system.split(' ').nth(1)?;
        // Btrfs has a number of its own.
        let is_it = devices.numbers.contains(number) || devices.nodes.contains(source);
        is_it.then(|| format!("mounted at {place}"))
    };
    table.lines().filter_map(mounted).collect()
}

fn swaps(table: &str, devices: &Devices) -> Vec<String> {
    let nodes = table.lines().filter_map(|line| line.split_whitespace().next());
    nodes
        .filter(|node| devices.nodes.contains(*node))
        .map(|node| format!("swap on {node}"))
        .collect()
}

fn programs(devices: &Devices) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let others = ids.filter(|id| *id != std::process::id());
    others.filter(|id| has_open(*id, devices)).map(|id| format!("{} ({id})", name(id))).collect()
}

fn has_open(process: u32, devices: &Devices) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| {
        // Looking at the link first: asking a file about itself may wait for who serves it.
        let is_node = fs::read_link(file.path()).is_ok_and(|to| to.starts_with("/dev"));
        let node = is_node.then(|| fs::metadata(file.path()).ok()).flatten();
        node.is_some_and(|node| {
            let is_block = node.file_type().is_block_device();
            is_block && devices.numbers.contains(&sys::device_number(node.rdev()))
        })
    })
}

fn name(process: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    format!("program {}", name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Devices {
        let set = |words: [&str; 2]| words.map(str::to_owned).into();
        Devices { nodes: set(["/dev/loop3", "/dev/loop3p1"]), numbers: set(["7:3", "259:1"]) }
    }

    #[test]
    fn mounts_of_a_device_and_its_partitions_are_found() {
        let table = "22 1 259:1 / /mnt/a rw,relatime shared:1 - ext4 /dev/root rw\n\
            23 1 0:50 / /mnt/b rw - btrfs /dev/loop3 rw\n\
            24 1 7:30 / /mnt/c rw - ext4 /dev/loop30 rw\n\
            bad line\n";
        assert_eq!(mounts(table, &devices()), ["mounted at /mnt/a", "mounted at /mnt/b"]);
    }

    #[test]
    fn swap_on_a_partition_is_found() {
        let table = "Filename Type Size Used Priority\n/dev/loop3p1 partition 8 0 -2\n";
        assert_eq!(swaps(table, &devices()), ["swap on /dev/loop3p1"]);
    }
}
