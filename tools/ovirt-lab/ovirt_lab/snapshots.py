"""Snapshots: real layers, with bitmaps carried along as hosts do it."""

import os
import time

from . import disks, storage, wire
from .engine import new_id
from .faults import Missing, conflict

ACTIVE = "Active VM"
HYBRID = "Auto-generated for Backup VM"


def new_snapshot(description, kind="regular", status="ok"):
    """A record of a snapshot."""
    return {"id": new_id(), "description": description, "date": wire.date(time.time()),
            "persist_memorystate": False, "snapshot_status": status, "snapshot_type": kind,
            "_images": {}}


def _image_disks(engine, vm, wanted=None):
    found = [engine.state["disks"][one] for one in vm["_attachments"]]
    return [one for one in found if one["storage_type"] == "image" and not one["shareable"]
            and (wanted is None or one["id"] in wanted)]


def add_layers(engine, vm, found, marks, clone):
    """Puts a new layer on each disk at one instant; returns the new image ids by disk."""
    guest = engine.guests.get(vm["id"])
    overlays, images = {}, {}
    for disk in found:
        images[disk["id"]] = new_id()
        overlays[disk["id"]] = engine.path("images", disk["id"], images[disk["id"]] + ".qcow2")
    bases = {}
    if guest is not None and guest.alive():
        bases = guest.snapshot(overlays, marks, clone)
    else:
        for disk in found:
            top = disks.active_layer(disk)
            if disk["id"] in marks:
                storage.add_bitmap(top["path"], marks[disk["id"]])
            names = storage.bitmaps(top["path"]) if top["format"] == "cow" and clone else {}
            storage.create(overlays[disk["id"]], "cow", disk["provisioned_size"],
                           backing=(top["path"], top["format"]))
            for name in names:
                storage.add_bitmap(overlays[disk["id"]], name)
    with engine.lock:
        for disk in found:
            disk["_layers"].append({"path": overlays[disk["id"]], "format": "cow",
                                    "image": images[disk["id"]], "snapshot": None})
            disk["image_id"], disk["format"] = images[disk["id"]], "cow"
    return images, bases


def merge_layer(engine, vm, disk, index):
    """Merges layer `index` of a disk into the one below it."""
    guest = engine.guests.get(vm["id"])
    upper, lower = disk["_layers"][index], disk["_layers"][index - 1]
    if guest is not None and guest.alive():
        if index != len(disk["_layers"]) - 1:
            raise RuntimeError("live merge of an inner layer is not simulated")
        guest.commit(disk["id"])
    else:
        if lower["format"] == "cow":
            for name in storage.bitmaps(upper["path"]):
                if name not in storage.bitmaps(lower["path"]):
                    storage.add_bitmap(lower["path"], name)
                storage.run("qemu-img", "bitmap", "--merge", name, "-b", upper["path"], "-F",
                            "qcow2", lower["path"], name)
        storage.run("qemu-img", "commit", "-q", "-f", "qcow2", upper["path"])
        if index < len(disk["_layers"]) - 1:
            child = disk["_layers"][index + 1]
            storage.run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", lower["path"], "-F",
                        storage.driver(lower["format"]), child["path"])
    os.unlink(upper["path"])
    with engine.lock:
        del disk["_layers"][index]
        top = disks.active_layer(disk)
        disk["image_id"], disk["format"] = top["image"], top["format"]


def create(engine, vm, given):
    """POST /vms/ID/snapshots."""
    from . import backups
    if vm["status"] == "image_locked" or any(
            one["snapshot_status"] != "ok" for one in vm["_snapshots"].values()):
        raise conflict(f"Cannot create Snapshot. Snapshot is currently being created for VM "
                       f"{vm['name']}.")
    backups.refuse_if_running(vm, "create Snapshot", hybrid=True)
    wanted = [one.disk.id if one.disk else one.id for one in given.disk_attachments] \
        if given.disk_attachments else None
    found = _image_disks(engine, vm, wanted)
    locked = [one["name"] for one in found if one["status"] == "locked"]
    if locked:
        raise conflict(f"Cannot create Snapshot. The following disks are locked: "
                       f"{', '.join(locked)}. Please try again in a few minutes.")
    snapshot = new_snapshot(given.description or "", status="locked")
    snapshot["_images"] = {one["id"]: one["image_id"] for one in found}
    vm["_snapshots"][snapshot["id"]] = snapshot
    for disk in found:
        disk["status"] = "locked"

    def work():
        engine.step("snapshot", "create")
        add_layers(engine, vm, found, {}, clone=True)
        _done()

    def _done(_error=None):
        with engine.lock:
            snapshot["snapshot_status"] = "ok"
            for disk in found:
                disk["status"] = "ok"
            if _error is not None:
                vm["_snapshots"].pop(snapshot["id"], None)
    engine.background("snapshot", work, _done)
    return snapshot


def remove(engine, vm, snapshot_id):
    """DELETE /vms/ID/snapshots/ID."""
    from . import backups
    snapshot = vm["_snapshots"].get(snapshot_id)
    if snapshot is None:
        raise Missing("snapshot")
    backups.refuse_if_running(vm, "remove Snapshot", hybrid=True)
    if snapshot["snapshot_type"] != "regular":
        raise conflict("Cannot remove Snapshot. The active snapshot cannot be removed.")
    if any(one["snapshot_status"] == "in_preview" for one in vm["_snapshots"].values()):
        raise conflict("Cannot remove Snapshot. VM is previewing a Snapshot.")
    snapshot["snapshot_status"] = "locked"

    def work():
        engine.step("snapshot", "remove")
        for disk_id, image in snapshot["_images"].items():
            disk = engine.state["disks"].get(disk_id)
            names = [one["image"] for one in disk["_layers"]] if disk else []
            if image in names and names.index(image) + 1 < len(names):
                merge_layer(engine, vm, disk, names.index(image) + 1)
        with engine.lock:
            vm["_snapshots"].pop(snapshot_id, None)

    def failed(_error):
        snapshot["snapshot_status"] = "ok"
    engine.background("snapshot", work, failed)


def preview(engine, vm, snapshot_id, wanted):
    """Begins or ends a preview: as far as clients can see it; no data changes."""
    with engine.lock:
        if not wanted:
            for name, one in list(vm["_snapshots"].items()):
                if one["snapshot_type"] == "preview":
                    del vm["_snapshots"][name]
                elif one["snapshot_status"] == "in_preview":
                    one["snapshot_status"] = "ok"
            return
        shown = vm["_snapshots"].get(snapshot_id)
        if shown is None:
            regular = [one for one in vm["_snapshots"].values()
                       if one["snapshot_type"] == "regular"]
            shown = regular[0] if regular else new_snapshot("made for a preview")
            vm["_snapshots"][shown["id"]] = shown
        shown["snapshot_status"] = "in_preview"
        other = new_snapshot("Active VM before the preview", "preview")
        vm["_snapshots"][other["id"]] = other


def restored(engine, vm):
    """Committing or restoring a snapshot ends all checkpoints."""
    from . import backups
    backups.drop_all_checkpoints(engine, vm)


# Hybrid backups ----------------------------------------------------------------------------------

def begin_hybrid(engine, vm, backup, found, recording):
    """A snapshot to read from. The new checkpoint's bitmap begins on the layer below: it stays
    empty until the end of the backup merges everything that was written meanwhile."""
    guest = engine.guests.get(vm["id"])
    live = guest is not None and guest.alive()
    snapshot = new_snapshot(HYBRID)
    marks = {one["id"]: backup["_next"] for one in recording}
    formats = {one["id"]: one["format"] for one in found}
    images, bases = add_layers(engine, vm, found, marks, clone=False)
    snapshot["_images"] = {one["id"]: one["_layers"][-2]["image"] for one in found}
    with engine.lock:
        vm["_snapshots"][snapshot["id"]] = snapshot
        backup["snapshot"] = {"id": snapshot["id"]}
        backup["_overlays"] = images
        backup["_formats"] = formats
    if live:
        previous = backup.get("from_checkpoint_id")
        for disk, node in bases.items():
            name = f"{guest.letters[disk]}-{backup['id'][:8]}"
            guest.export_base(
                node, name, previous if backup["_disks"][disk] == "incremental" else None)
            backup["_nodes"][disk] = name


def end_hybrid(engine, vm, backup):
    """Merges what was written meanwhile and removes the snapshot."""
    guest = engine.guests.get(vm["id"])
    if guest is not None and guest.alive():
        for name in backup["_nodes"].values():
            guest.end_base(name)
    for disk_id, image in (backup.get("_overlays") or {}).items():
        disk = engine.state["disks"].get(disk_id)
        names = [one["image"] for one in disk["_layers"]] if disk else []
        if image in names:
            merge_layer(engine, vm, disk, names.index(image))
    if backup.get("snapshot"):
        vm["_snapshots"].pop(backup["snapshot"]["id"], None)
