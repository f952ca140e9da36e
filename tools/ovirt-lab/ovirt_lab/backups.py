"""Backups of VMs and their checkpoints: what is refused, the phases, the bitmaps."""

import time

from . import disks, live, snapshots, storage, wire
from .engine import new_id
from .faults import LOCKED_VM, Missing, PhaseFailure, bad, conflict, internal

OVER = ("succeeded", "failed")
OPEN_TRANSFER = ("finished_success", "finished_failure", "finished_cleanup")


def running(vm):
    """The VM's backups that are not over."""
    return [one for one in vm["_backups"].values() if one.get("phase") not in OVER]


def refuse_if_running(vm, doing, hybrid=False):
    """What the engine answers to most operations while a backup runs; `hybrid`: also while one
    does that reads from a snapshot."""
    if any(hybrid or not one.get("_hybrid") for one in running(vm)):
        raise conflict(f"Cannot {doing}. {LOCKED_VM}")


def start(engine, vm, given, query):
    """POST /vms/ID/backups."""
    wanted = [one.id for one in (given.disks or [])]
    checked = _validate(engine, vm, given, wanted)
    level = engine.level(vm)
    legacy = query.get("legacy") in ("", "true", "t", "y", "yes", "1")
    hybrid = engine.at_least("4.5") and level >= (4, 7) and not legacy
    modes = _modes(vm, given.from_checkpoint_id, checked, level)
    now = wire.date(time.time())
    backup = {
        "id": given.id if given.id and engine.at_least("4.5") else new_id(),
        "description": given.description, "creation_date": now, "modification_date": now,
        "from_checkpoint_id": given.from_checkpoint_id, "phase": "initializing",
        "_disks": modes, "_live": vm["status"] == "up", "_hybrid": hybrid,
        "_next": new_id() if _gets_checkpoint(checked, level) else None, "_nodes": {}}
    if backup["_live"] and engine.at_least("4.4.4"):
        backup["host"] = {"id": vm["host"]["id"]}
    vm["_backups"][backup["id"]] = backup
    for disk in checked:
        disk["backup_mode"] = modes[disk["id"]]
        if engine.at_least("4.5"):
            disk["status"] = "locked"
    engine.event(10790, "normal", f"Backup {backup['id']} for VM {vm['name']} started "
                                  f"(User: {engine.config['user']}).", vm={"id": vm["id"]})
    engine.background("backup", lambda: _run(engine, vm, backup),
                      lambda error: fail(engine, vm, backup, str(error)))
    return backup


def _validate(engine, vm, given, wanted):
    refused = "Cannot backup VM. "
    if running(vm):
        raise conflict(refused + LOCKED_VM)
    if any(one["snapshot_status"] == "locked" for one in vm["_snapshots"].values()):
        raise conflict(f"{refused}Snapshot is currently being created for VM {vm['name']}.")
    _refuse_transferred(engine, wanted)
    if vm.get("origin") in ("hosted_engine", "managed_hosted_engine") \
            and engine.at_least("4.5.0.1"):
        raise conflict(refused + "Backup of Hosted Engine VM is not supported.")
    unknown = [one for one in wanted if one not in engine.state["disks"]]
    if unknown:
        raise bad(f"{refused}The following disk(s) ID(s) does not exist: {', '.join(unknown)}.")
    found = [engine.state["disks"][one] for one in wanted]
    locked = [one["name"] for one in found if one.get("status") == "locked"]
    if locked:
        raise conflict(f"{refused}The following disks are locked: {', '.join(locked)}. "
                       "Please try again in a few minutes.")
    if any(one not in vm["_attachments"] for one in wanted):
        raise internal()
    idle = [one for one in wanted if not vm["_attachments"][one]["active"]]
    if idle and engine.at_least("4.4.4.5"):
        raise conflict(f"{refused}The following disks are not active on VM {vm['name']}: "
                       f"{', '.join(idle)}.")
    _validate_checkpoint(engine, vm, given)
    if vm["status"] not in ("up", "down"):
        raise conflict(refused + "The Virtual Machine should be in Up or Down status.")
    if any(one["snapshot_status"] == "in_preview" for one in vm["_snapshots"].values()) \
            and engine.at_least("4.4.7"):
        raise conflict(refused + "VM is previewing a Snapshot.")
    if vm["status"] == "down" and engine.level(vm) < (4, 5):
        raise conflict(refused + "Cannot backup VM that is not running on this cluster level.")
    if given.description and len(given.description) > 1024 and engine.at_least("4.4.10"):
        raise bad(refused + "The backup description is too long.")
    if given.id in vm["_backups"] and engine.at_least("4.5"):
        raise bad(f"{refused}A VM backup with ID {given.id} already exists.")
    return [one for one in found if one["storage_type"] == "image" and not one["shareable"]]


def _refuse_transferred(engine, wanted):
    for transfer in engine.state["imagetransfers"].values():
        if transfer["phase"] not in OPEN_TRANSFER and not transfer.get("_backup") \
                and transfer["image"]["id"] in wanted:
            name = engine.state["disks"][transfer["image"]["id"]]["name"]
            raise conflict(f"Cannot backup VM. Disk {name} is being transferred.")


def _validate_checkpoint(engine, vm, given):
    wanted = given.from_checkpoint_id
    if wanted is None:
        return
    if engine.level(vm) <= (4, 4):
        raise bad("Cannot backup VM. Incremental backup is not supported.")
    checkpoint = vm["_checkpoints"].get(wanted)
    if checkpoint is None:
        raise bad(f"Cannot backup VM. Checkpoint ID {wanted} doesn't exist.")
    if checkpoint["state"] == "invalid":
        raise bad(f"Cannot backup VM. Checkpoint ID {wanted} is invalid and should be removed.")


def _gets_checkpoint(found, level):
    return level >= (4, 5) and any(one["format"] == "cow" for one in found)


def _modes(vm, checkpoint, found, level):
    """Which disks are read whole, and which by their bitmap."""
    known = vm["_checkpoints"][checkpoint]["_disks"] if checkpoint else []
    modes = {}
    for disk in found:
        incremental = disk["format"] == "cow" and disk["id"] in known
        modes[disk["id"]] = "incremental" if incremental else "full"
    if checkpoint and level < (4, 5) and "full" in modes.values():
        raise bad("Cannot backup VM. The following disks are not included in the previous VM "
                  "backup: " + ", ".join(one for one in modes if modes[one] == "full"))
    return modes


# Running ---------------------------------------------------------------------------------------

def set_phase(engine, backup, phase):
    """Moves on to another phase."""
    with engine.lock:
        backup["phase"] = phase
        backup["modification_date"] = wire.date(time.time())
    engine.save()


def _run(engine, vm, backup):
    engine.step("backup", "initializing")
    if _stopped(backup):
        return
    if not backup["_disks"]:
        raise PhaseFailure("Cannot start a backup without disks")
    found = [engine.state["disks"][one] for one in backup["_disks"]]
    recording = [one for one in found if one["format"] == "cow"] if backup["_next"] else []
    if backup["_live"] or backup["_hybrid"]:
        set_phase(engine, backup, "starting")
        engine.step("backup", "starting")
    if backup["_hybrid"]:
        snapshots.begin_hybrid(engine, vm, backup, found, recording)
    elif backup["_live"]:
        _begin_live(engine, vm, backup, found, recording)
    else:
        for disk in recording:
            storage.add_bitmap(disks.active_layer(disk)["path"], backup["_next"])
        for disk_id, path in _references(engine, backup).items():
            top = disks.active_layer(engine.state["disks"][disk_id])
            storage.copy(top["path"], top["format"], path)
    if _stopped(backup):
        _forget_marks(engine, vm, backup)
        return
    with engine.lock:
        if recording:
            _add_checkpoint(vm, backup, recording)
            backup["to_checkpoint_id"] = backup["_next"]
    set_phase(engine, backup, "ready")


def _stopped(backup):
    """Whether its owner stopped it before it was ready."""
    return backup["phase"] in OVER or backup["phase"] == "finalizing"


def _forget_marks(engine, vm, backup):
    """Removes the bitmaps of a checkpoint that never came to be."""
    if backup["_next"] and not backup.get("to_checkpoint_id"):
        _drop_bitmaps(engine, vm, backup["_next"], backup["_disks"])


def _add_checkpoint(vm, backup, recording):
    last = list(vm["_checkpoints"])[-1] if vm["_checkpoints"] else None
    vm["_checkpoints"][backup["_next"]] = {
        "id": backup["_next"], "description": backup["description"], "parent_id": last,
        "creation_date": wire.date(time.time()), "state": "created",
        "_disks": [one["id"] for one in recording]}


def _begin_live(engine, vm, backup, found, recording):
    guest = engine.guests.get(vm["id"])
    if guest is None or not guest.alive():
        raise PhaseFailure("the VM does not run")
    previous = backup.get("from_checkpoint_id")
    for disk in found:
        if backup["_disks"][disk["id"]] == "incremental" \
                and not guest.has_bitmap(disk["id"], previous):
            drop_all_checkpoints(engine, vm)
            engine.event(10791, "warning", f"Backup {backup['id']} for VM {vm['name']}: the "
                         "checkpoints could not be redefined. Full backup is now needed.",
                         vm={"id": vm["id"]})
            raise PhaseFailure("Inconsistent checkpoint: bitmap is missing")
    names = [one["id"] for one in recording]
    backup["_nodes"] = guest.begin_backup(backup["id"], {
        one["id"]: live.Wish(
            previous if backup["_disks"][one["id"]] == "incremental" else None,
            backup["_next"] if one["id"] in names else None) for one in found},
        _references(engine, backup))


def reference_path(engine, backup_id, disk_id):
    """Where the exact image of a backup's instant is kept."""
    return engine.path("reference", f"{disk_id[:8]}-{backup_id[:8]}.raw")


def _references(engine, backup):
    if not engine.config["references"]:
        return {}
    return {disk: reference_path(engine, backup["id"], disk) for disk in backup["_disks"]}


def drop_all_checkpoints(engine, vm):
    """What the engine does when the chain cannot be restored."""
    with engine.lock:
        for name in list(vm["_checkpoints"]):
            _drop_bitmaps(engine, vm, name, vm["_checkpoints"][name]["_disks"])
            del vm["_checkpoints"][name]


def fail(engine, vm, backup, why):
    """The end of a backup that went wrong."""
    try:
        _release(engine, vm, backup)
        _forget_marks(engine, vm, backup)
    except Exception as error:  # the phase must be told whatever else is broken
        why += f"; and then: {error}"
    with engine.lock:
        _unlock(engine, backup)
        engine.event(10792, "error", f"Backup {backup['id']} for VM {vm['name']} failed "
                     f"(User: {engine.config['user']}).", vm={"id": vm["id"]})
        print(f"backup {backup['id']} failed: {why}", flush=True)
    _finish(engine, vm, backup, "failed")


def _finish(engine, vm, backup, phase):
    set_phase(engine, backup, phase)
    backup["_over"] = time.time()
    if not engine.at_least("4.4.7"):
        with engine.lock:
            vm["_backups"].pop(backup["id"], None)


def _unlock(engine, backup):
    for name in backup["_disks"]:
        disk = engine.state["disks"].get(name)
        if disk:
            disk.pop("backup_mode", None)
            if disk.get("status") == "locked":
                disk["status"] = "ok"


def _release(engine, vm, backup):
    guest = engine.guests.get(vm["id"])
    if backup["_hybrid"]:
        snapshots.end_hybrid(engine, vm, backup)
    elif backup["_live"] and guest is not None and guest.alive():
        guest.end_backup(backup["id"], backup["_nodes"])


def finalize(engine, vm, backup):
    """POST …/finalize."""
    phase = backup["phase"]
    if phase in OVER or phase == "finalizing":
        raise bad(f"VM '{vm['id']}' backup '{backup['id']}' is already in '{phase.title()}' phase, "
                  "no need to stop the backup again")
    still = [one for one in engine.state["imagetransfers"].values()
             if one.get("_backup") == backup["id"] and one["phase"] not in OPEN_TRANSFER]
    if still and engine.at_least("4.5.1.1"):
        raise conflict("Cannot stop VM backup. There is an active image transfer for VM backup")
    if phase != "ready":
        set_phase(engine, backup, "finalizing")
        engine.background("backup-stop", lambda: fail(engine, vm, backup, "stopped too early"))
        raise bad(f"Backup '{backup['id']}' is in '{phase.title()}' phase, premature backup stop "
                  "was initiated.")
    set_phase(engine, backup, "finalizing")

    def work():
        engine.step("backup", "finalizing")
        _release(engine, vm, backup)
        with engine.lock:
            _unlock(engine, backup)
            for code, word in ((10794, "finalized"), (10793, "completed successfully")):
                engine.event(code, "normal", f"Backup {backup['id']} for VM {vm['name']} {word} "
                             f"(User: {engine.config['user']}).", vm={"id": vm["id"]})
        _finish(engine, vm, backup, "succeeded")
    engine.background("backup-stop", work, lambda error: fail(engine, vm, backup, str(error)))


def orphans(engine):
    """At the engine's start: backups whose command died with the last engine."""
    for vm in engine.state["vms"].values():
        for backup in running(vm):
            if backup.get("_foreign") or not engine.at_least("4.5.3"):
                continue
            if backup["phase"] == "ready" and not engine.config["restart_forgets"]:
                continue
            fail(engine, vm, backup, "the engine was restarted")
            engine.event(10814, "warning", f"Backup {backup['id']} was failed: it is not "
                         "monitored any more.", vm={"id": vm["id"]})


def sweep(engine):
    """Forgets backups that ended long ago."""
    now = time.time()
    for vm in engine.state["vms"].values():
        for name, backup in list(vm["_backups"].items()):
            word = "retention_" + str(backup.get("phase"))
            if backup.get("_over") and now - backup["_over"] > engine.config.get(word, now):
                del vm["_backups"][name]


# Checkpoints -----------------------------------------------------------------------------------

def _drop_bitmaps(engine, vm, name, disk_ids):
    guest = engine.guests.get(vm["id"])
    for identifier in disk_ids:
        disk = engine.state["disks"].get(identifier)
        if disk is None:
            continue
        if guest is not None and guest.alive():
            guest.remove_bitmap(identifier, name)
        else:
            for part in disk["_layers"]:
                if part["format"] == "cow":
                    storage.remove_bitmap(part["path"], name)


def remove_checkpoint(engine, vm, name):
    """DELETE /vms/ID/checkpoints/ID."""
    checkpoint = vm["_checkpoints"].get(name)
    if checkpoint is None:
        raise Missing("checkpoint")
    if running(vm):
        raise conflict("Cannot delete VM Checkpoint. " + LOCKED_VM)
    order = list(vm["_checkpoints"])
    if order[0] != name and not engine.at_least("4.4.7"):
        raise conflict("Cannot delete VM Checkpoint. The checkpoint is not the root of the chain.")
    locked = [engine.state["disks"][one]["name"] for one in checkpoint["_disks"]
              if engine.state["disks"].get(one, {}).get("status") == "locked"]
    if locked:
        raise conflict(f"Cannot delete VM Checkpoint. The following disks are locked: "
                       f"{', '.join(locked)}. Please try again in a few minutes.")
    _drop_bitmaps(engine, vm, name, checkpoint["_disks"])
    for other in vm["_checkpoints"].values():
        if other["parent_id"] == name:
            other["parent_id"] = checkpoint["parent_id"]
    del vm["_checkpoints"][name]
    engine.event(10797, "normal", f"Checkpoint {name} of VM {vm['name']} was deleted.",
                 vm={"id": vm["id"]})
