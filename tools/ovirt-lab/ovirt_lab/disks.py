"""Disks and disk attachments."""

import os

from . import storage, views
from .engine import new_id
from .faults import Missing, bad, conflict, incomplete, internal

CONTENT_DATA = "data"


def active_layer(disk):
    """The layer that a guest writes."""
    return disk["_layers"][-1]


def refresh_sizes(disk):
    """Brings the sizes up to date with the files."""
    if disk.get("_layers"):
        disk["actual_size"] = storage.allocated(active_layer(disk)["path"])
        disk["total_size"] = sum(storage.allocated(layer["path"]) for layer in disk["_layers"])


def vms_of(engine, disk_id):
    """All VMs that have the disk attached."""
    return [vm for vm in engine.state["vms"].values() if disk_id in vm["_attachments"]]


def new_disk(engine, **members):
    """A record of an image disk; the file comes later."""
    identifier = members.pop("id", None) or new_id()
    disk = {
        "id": identifier, "name": identifier[:8], "description": "", "actual_size": 0,
        "backup": "none", "content_type": CONTENT_DATA, "format": "cow",
        "image_id": members.pop("image_id", None) or new_id(), "propagate_errors": False,
        "provisioned_size": 0, "qcow_version": "qcow2_v3", "shareable": False, "sparse": True,
        "status": "ok", "storage_type": "image", "total_size": 0, "wipe_after_delete": False,
        "_layers": [], **members}
    if disk["format"] != "cow" or disk["storage_type"] != "image":
        disk.pop("qcow_version", None)
    if disk["storage_type"] == "image" and not disk["_layers"]:
        disk["_layers"] = [layer(engine, disk, disk["image_id"])]
    return disk


def layer(engine, disk, image_id):
    """A new layer of a disk: where its file is."""
    end = "qcow2" if disk["format"] == "cow" else "raw"
    return {"path": engine.path("images", disk["id"], f"{image_id}.{end}"),
            "format": disk["format"], "image": image_id, "snapshot": None}


def create_file(disk):
    """Makes the file of a new disk."""
    top = active_layer(disk)
    storage.create(top["path"], top["format"], disk["provisioned_size"],
                   disk.get("qcow_version", "qcow2_v3"))
    refresh_sizes(disk)


def _checked(engine, given):
    if given is None or given.format is None or given.provisioned_size is None:
        raise incomplete("Disk", "provisionedSize|format", "add")
    domains = given.storage_domains or ([given.storage_domain] if given.storage_domain else [])
    if not domains:
        raise incomplete("Disk", "storageDomains.storageDomain", "add")
    domain = _domain(engine, domains[0])
    if given.id in engine.state["disks"]:
        name = engine.state["disks"][given.id]["name"]
        raise conflict(f"Cannot add Virtual Disk. The selected disk ID: {given.id} is already used"
                       f" by the following existing disk: {name}.")
    kind, sparse = given.format.value, given.sparse
    sparse = (kind == "cow") if sparse is None else sparse
    incremental = given.backup is not None and given.backup.value == "incremental"
    block = domain["storage"]["type"] in ("iscsi", "fcp")
    if (kind == "raw" and (incremental or (sparse and block))) or \
            (kind == "cow" and not sparse and not incremental):
        raise conflict("Cannot add Virtual Disk. Disk configuration "
                       f"({kind.upper()} {'Sparse' if sparse else 'Preallocated'} backup-"
                       f"{'Incremental' if incremental else 'None'}) is incompatible with the "
                       "storage domain type.")
    return domain, sparse, incremental


def _domain(engine, given):
    for domain in engine.state["storagedomains"].values():
        if given.id == domain["id"] or (given.name and given.name == domain["name"]):
            return domain
    raise Missing("storage domain")


def add(engine, given):
    """POST /disks: a locked disk at once, its file a little later."""
    if given is not None and given.lun_storage is not None:
        return add_lun(engine, given)
    domain, sparse, incremental = _checked(engine, given)
    disk = new_disk(
        engine, id=given.id, image_id=given.image_id,
        name=given.name or given.alias or "", description=given.description or "",
        backup="incremental" if incremental else "none", format=given.format.value, sparse=sparse,
        provisioned_size=-(-given.provisioned_size // 512) * 512, status="locked",
        shareable=bool(given.shareable), wipe_after_delete=bool(given.wipe_after_delete),
        propagate_errors=bool(given.propagate_errors),
        content_type=given.content_type.value if given.content_type else CONTENT_DATA,
        qcow_version=given.qcow_version.value if given.qcow_version else "qcow2_v3",
        storage_domains=[{"id": domain["id"]}])
    engine.state["disks"][disk["id"]] = disk

    def work():
        engine.step("disk", "create")
        create_file(disk)
        with engine.lock:
            disk["status"] = "ok"
            engine.event(2021, "normal", f"The disk '{disk['name']}' was successfully added.")

    def failed(_error):
        with engine.lock:
            engine.state["disks"].pop(disk["id"], None)
            engine.event(2022, "error", f"Add-Disk operation failed to complete: {disk['name']}.")
    engine.background("add-disk", work, failed)
    return disk


def add_lun(engine, given):
    """A direct LUN: known to the engine, with nothing behind it here."""
    storage_type = given.lun_storage.type
    units = given.lun_storage.logical_units or []
    if storage_type is None or not units or units[0].id is None:
        raise incomplete("LunDisk", "lunStorage.type|logicalUnit.id", "add")
    if storage_type.value == "iscsi" and not (
            units[0].address and units[0].target and units[0].port):
        raise incomplete("LunDisk", "logicalUnit.address|target|port", "add")
    disk = new_disk(
        engine, id=given.id, name=given.name or given.alias or "", storage_type="lun",
        shareable=bool(given.shareable),
        lun_storage={"type": storage_type.value, "logical_units": [{
            "id": units[0].id, "address": units[0].address, "port": units[0].port,
            "target": units[0].target, "size": units[0].size or 0}]})
    engine.state["disks"][disk["id"]] = disk
    return disk


def remove(engine, disk_id):
    """DELETE /disks/ID."""
    disk = engine.get("disks", disk_id)
    if disk["status"] == "locked":
        raise conflict(f"Cannot remove Virtual Disk. The following disks are locked: "
                       f"{disk['name']}. Please try again in a few minutes.")
    for vm in vms_of(engine, disk_id):
        if vm["status"] != "down" and vm["_attachments"][disk_id]["active"]:
            raise conflict("Cannot remove Virtual Disk. At least one of the VMs is not down.")
    forget(engine, disk_id)


def forget(engine, disk_id):
    """Takes a disk and its files out of the world."""
    disk = engine.state["disks"].pop(disk_id, None)
    for vm in engine.state["vms"].values():
        vm["_attachments"].pop(disk_id, None)
    for part in (disk or {}).get("_layers", []):
        if os.path.exists(part["path"]):
            os.unlink(part["path"])


def update(engine, disk_id, given):
    """PUT /disks/ID: the few members that can change."""
    disk = engine.get("disks", disk_id)
    if disk["status"] == "locked":
        raise conflict("Cannot edit Virtual Disk. Disk is locked. Please try again later.")
    for name in ("name", "description", "wipe_after_delete"):
        if getattr(given, name) is not None:
            disk[name] = getattr(given, name)
    if given.backup is not None:
        disk["backup"] = given.backup.value
    size = given.provisioned_size
    if size is not None and size > disk["provisioned_size"]:
        storage.run("qemu-img", "resize", "-q", "-f", storage.driver(active_layer(disk)["format"]),
                    active_layer(disk)["path"], str(size))
        disk["provisioned_size"] = size
    return disk


# Attachments -----------------------------------------------------------------------------------

def attach(engine, vm, given):
    """POST /vms/ID/diskattachments: an existing disk, or a new one inline."""
    if given is None or given.interface is None or given.disk is None:
        raise incomplete("DiskAttachment", "interface", "add")
    if given.disk.id is not None and given.disk.id in engine.state["disks"]:
        disk = engine.get("disks", given.disk.id)
    elif given.disk.id is not None and given.disk.format is None \
            and given.disk.lun_storage is None:
        raise Missing("disk")
    else:
        disk = add(engine, given.disk)
    if disk["id"] in vm["_attachments"]:
        raise conflict("Cannot attach Virtual Disk. The disk is already attached to VM.")
    if vms_of(engine, disk["id"]) and not disk.get("shareable"):
        raise conflict("Cannot attach Virtual Disk. Disk is not shareable and it's already "
                       "attached to a VM.")
    if given.disk.id is not None and disk["status"] == "locked":
        raise conflict(f"Cannot attach Virtual Disk. The following disks are locked: "
                       f"{disk['name']}. Please try again in a few minutes.")
    if given.bootable and any(one["bootable"] for one in vm["_attachments"].values()):
        raise conflict(f"Cannot attach Virtual Disk. Disk {disk['name']} in VM {vm['name']} is "
                       "already marked as boot.")
    entry = attachment(bootable=bool(given.bootable), interface=given.interface.value,
                       active=bool(given.active), read_only=bool(given.read_only),
                       pass_discard=bool(given.pass_discard),
                       uses_scsi_reservation=bool(given.uses_scsi_reservation))
    vm["_attachments"][disk["id"]] = entry
    return disk["id"]


def attachment(**members):
    """A record of an attachment."""
    return {"active": True, "bootable": False, "interface": "virtio_scsi", "pass_discard": False,
            "read_only": False, "uses_scsi_reservation": False, **members}


def update_attachment(engine, vm, disk_id, given):
    """PUT: bootable, active and so on."""
    entry = vm["_attachments"].get(disk_id)
    if entry is None:
        raise Missing("attachment")
    if given.active is not None and given.active != entry["active"]:
        _refuse_in_backup(vm, "plug" if given.active else "unplug")
    for name in ("active", "bootable", "pass_discard", "read_only", "uses_scsi_reservation"):
        if getattr(given, name) is not None:
            entry[name] = getattr(given, name)
    if given.interface is not None:
        entry["interface"] = given.interface.value
    return entry


def _refuse_in_backup(vm, verb):
    if any(one.get("phase") not in ("succeeded", "failed") for one in vm["_backups"].values()):
        raise conflict(f"Cannot hot {verb} Virtual Disk. The VM is during a backup operation.")


def detach(engine, vm, disk_id, detach_only):
    """DELETE /vms/ID/diskattachments/ID."""
    if disk_id not in vm["_attachments"]:
        raise Missing("attachment")
    disk = engine.get("disks", disk_id)
    if disk.get("status") == "locked":
        raise conflict(f"Cannot detach Virtual Disk. The following disks are locked: "
                       f"{disk['name']}. Please try again in a few minutes.")
    _refuse_in_backup(vm, "unplug")
    if vm["status"] != "down" and vm["_attachments"][disk_id]["active"]:
        raise bad("Cannot detach Virtual Disk. Live detach is not simulated.")
    del vm["_attachments"][disk_id]
    if not detach_only:
        remove(engine, disk_id)


def view(engine, disk_id):
    """A disk as clients see it."""
    disk = engine.get("disks", disk_id)
    if disk.get("_broken"):
        raise internal()
    if os.path.exists(disk["_layers"][-1]["path"]) if disk.get("_layers") else False:
        refresh_sizes(disk)
    return views.disk(disk)
