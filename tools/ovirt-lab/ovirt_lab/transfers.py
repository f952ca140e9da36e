"""Image transfers: real tickets on the real daemons for real NBD exports."""

import os
import time

from . import backups, disks, storage
from .engine import new_id
from .faults import PhaseFailure, bad, conflict, incomplete, internal

TERMINAL = ("finished_success", "finished_failure", "finished_cleanup")
PAUSED = ("paused_system", "paused_user")


def start(engine, given):
    """POST /imagetransfers."""
    if given is None or (given.disk is None and given.image is None and given.snapshot is None):
        raise incomplete("ImageTransfer", "disk|snapshot|image", "add")
    direction = given.direction.value if given.direction else "upload"
    image = None
    if given.snapshot is not None:
        disk, image = _disk_of_image(engine, given.snapshot.id)
    else:
        disk = engine.get("disks", (given.disk or given.image).id)
    vm, backup = _backup_of(engine, given, disk, direction)
    if backup is None:
        _validate_plain(engine, disk, direction, image)
    if disk.get("status") == "illegal":
        raise internal("Cannot transfer disk image. The following attached disks are in ILLEGAL "
                       f"status: {disk['name']} - please remove them and try again.")
    host = _host(engine, given, vm, backup)
    transfer = {
        "id": new_id(), "active": False, "direction": direction,
        "format": given.format.value if given.format else ("raw" if backup else "cow"),
        "inactivity_timeout": given.inactivity_timeout
        if given.inactivity_timeout is not None else engine.config["inactivity_timeout"],
        "phase": "initializing", "shallow": bool(given.shallow),
        "timeout_policy": given.timeout_policy.value if given.timeout_policy else "legacy",
        "transferred": 0, "host": {"id": host["id"]}, "image": {"id": disk["id"]},
        "_backup": backup["id"] if backup else None, "_vm": vm["id"] if vm else None,
        "_image": image, "_ticket": None, "_idle_since": None}
    engine.state["imagetransfers"][transfer["id"]] = transfer
    if backup is None:
        disk["status"] = "locked"
    word = "Download" if direction == "download" else "Upload"
    engine.event(1031, "normal", f"Image {word} with disk {disk['name']} was initiated by "
                                 f"{engine.config['user']}.")
    engine.background("transfer", lambda: _run(engine, transfer),
                      lambda error: _fail(engine, transfer, error))
    return transfer


def _disk_of_image(engine, image):
    for disk in engine.state["disks"].values():
        if any(layer["image"] == image for layer in disk["_layers"]):
            return disk, image
    return engine.get("disks", image), None


def _backup_of(engine, given, disk, direction):
    if given.backup is None:
        return None, None
    for vm in engine.state["vms"].values():
        backup = vm["_backups"].get(given.backup.id)
        if backup is None:
            continue
        if direction != "download":
            raise bad("Cannot transfer disk image. Upload is not applicable for VM backup.")
        if given.format is not None and given.format.value == "cow":
            raise bad("Cannot transfer disk image. The image transfer format is not applicable "
                      "for VM backup.")
        if backup["phase"] != "ready":
            raise conflict("Cannot transfer disk image. The VM backup is not in READY phase.")
        if disk["id"] not in backup["_disks"]:
            raise bad("Cannot transfer disk image. The disk is not part of the VM backup.")
        return vm, backup
    raise bad("Cannot transfer disk image. The VM backup does not exist.")


def _validate_plain(engine, disk, direction, image):
    for other in engine.state["imagetransfers"].values():
        if other["phase"] not in TERMINAL and other["image"]["id"] == disk["id"] \
                and not (direction == other["direction"] == "download"):
            raise conflict(f"Cannot transfer disk image. Disk {disk['name']} is being "
                           "transferred.")
    if disk.get("status") == "locked":
        raise conflict(f"Cannot transfer disk image. The following disks are locked: "
                       f"{disk['name']}. Please try again in a few minutes.")
    if disk["storage_type"] != "image":
        raise bad("Cannot transfer disk image. The operation is not supported for this kind of "
                  "disk.")
    for vm in disks.vms_of(engine, disk["id"]):
        if backups.running(vm) and direction == "upload":
            raise conflict("Cannot transfer disk image. The VM is during a backup operation.")
        if vm["status"] != "down" and vm["_attachments"][disk["id"]]["active"] and image is None:
            raise conflict(f"Cannot transfer disk image. The disk {disk['name']} is attached to "
                           f"the running VM {vm['name']}.")


def _host(engine, given, vm, backup):
    if backup is not None and backup["_live"]:
        return engine.get("hosts", vm["host"]["id"])
    if given.host is not None and given.host.id:
        host = engine.get("hosts", given.host.id)
        if host["status"] != "up":
            raise conflict("Cannot transfer disk image. The host is not up.")
        return host
    for host in engine.state["hosts"].values():
        if host["status"] == "up" and not host.get("_never_chosen"):
            return host
    raise conflict("Cannot transfer disk image. There is no host that can run it.")


# Running ---------------------------------------------------------------------------------------

def daemon_of(engine, transfer):
    """The daemon that plays the transfer's host."""
    return engine.daemons[engine.state["hosts"][transfer["host"]["id"]]["_daemon"]]


def _run(engine, transfer):
    engine.step("transfer", "initializing")
    _open(engine, transfer)
    _watch(engine, transfer)


def resume_all(engine):
    """Watches on over what an earlier engine had begun: the names of the exports."""
    found = [one for one in engine.state["imagetransfers"].values()
             if one["phase"] == "transferring" and one.get("_ticket")]
    for transfer in found:
        engine.background("transfer", lambda one=transfer: _watch(engine, one),
                          lambda error, one=transfer: _fail(engine, one, error))
    return {"nbd-" + one["id"][:8] for one in found}


def _open(engine, transfer):
    """Starts the export, installs a fresh ticket and shows its address."""
    disk = engine.state["disks"][transfer["image"]["id"]]
    ticket = new_id()
    source = _source(engine, transfer, disk)
    daemon = daemon_of(engine, transfer)
    download = transfer["direction"] == "download"
    daemon.add({
        "uuid": ticket, "size": _size(transfer, disk), "url": source,
        "timeout": engine.config["ticket_timeout"],
        "inactivity_timeout": transfer["inactivity_timeout"] or 86400,
        "ops": ["read"] if download else ["write"], "sparse": bool(disk["sparse"]),
        "dirty": _dirty(engine, transfer), "transfer_id": transfer["id"]})
    proxy = engine.daemons.get("proxy")
    if proxy:
        proxy.add({"uuid": ticket, "size": _size(transfer, disk), "url": daemon.url(ticket),
                   "timeout": engine.config["ticket_timeout"],
                   "inactivity_timeout": transfer["inactivity_timeout"] or 86400,
                   "ops": ["read"] if download else ["write"], "sparse": bool(disk["sparse"]),
                   "dirty": _dirty(engine, transfer), "transfer_id": transfer["id"]})
    with engine.lock:
        if transfer["phase"] not in ("initializing", "resuming"):
            raise PhaseFailure("cancelled before it began")
        transfer["_ticket"] = ticket
        transfer["_idle_since"] = None
        transfer["transfer_url"] = _address(engine, daemon, ticket, "transfer_address")
        if proxy:
            transfer["proxy_url"] = _address(engine, proxy, ticket, "proxy_address")
        transfer["phase"] = "transferring"
    engine.save()


def _address(engine, daemon, ticket, switch):
    other = engine.config[switch]
    return f"https://{other}/images/{ticket}" if other else daemon.url(ticket)


def _dirty(engine, transfer):
    if transfer["_backup"] is None:
        return False
    backup = engine.state["vms"][transfer["_vm"]]["_backups"][transfer["_backup"]]
    return backup["_disks"][transfer["image"]["id"]] == "incremental"


def _size(transfer, disk):
    if transfer["_backup"] is None and transfer["format"] == "cow":
        if transfer["direction"] == "download":
            return os.stat(disks.active_layer(disk)["path"]).st_size
        return disk["provisioned_size"] + disk["provisioned_size"] // 1024 + (1 << 20)
    return disk["provisioned_size"]


def _source(engine, transfer, disk):
    """The address of the data for the daemon, after starting what serves it."""
    if transfer["_backup"] is not None:
        vm = engine.state["vms"][transfer["_vm"]]
        backup = vm["_backups"][transfer["_backup"]]
        node = backup["_nodes"].get(disk["id"])
        if node is not None:
            return engine.guests[vm["id"]].export_url(node)
        bitmap = backup.get("from_checkpoint_id") if _dirty(engine, transfer) else None
        layers = disk["_layers"]
        if backup["_hybrid"]:
            layers = [one for one in layers if one["image"] != backup["_overlays"].get(disk["id"])]
        return _export(engine, transfer, layers, bitmap=bitmap)
    if transfer["format"] == "cow":
        return "file://" + disks.active_layer(disk)["path"]
    layers = disk["_layers"]
    if transfer["_image"]:
        names = [one["image"] for one in layers]
        layers = layers[:names.index(transfer["_image"]) + 1]
    return _export(engine, transfer, layers, writable=transfer["direction"] == "upload",
                   sparse=bool(disk["sparse"]), shallow=transfer["shallow"])


def _export(engine, transfer, layers, bitmap=None, **options):
    short = transfer["id"][:8]
    top = layers[-1]
    path, kind = top["path"], top["format"]
    if bitmap is not None:
        holders = storage.layers_with_bitmap(layers, bitmap)
        if len(holders) != 1:
            overlay = engine.path("scratch", short + ".qcow2")
            path, kind = storage.merged_overlay(layers, bitmap, overlay), "cow"
    os.makedirs(engine.path("s"), exist_ok=True)
    try:
        return storage.export(engine.processes, "nbd-" + short, engine.path("s", short + ".nbd"),
                              path, kind, bitmap=bitmap, **options)
    finally:
        if path != top["path"]:
            os.unlink(path)


def _close(engine, transfer):
    """Takes the ticket and the export away."""
    ticket = transfer["_ticket"]
    if ticket:
        for daemon in {daemon_of(engine, transfer).name, "proxy"} & set(engine.daemons):
            try:
                engine.daemons[daemon].remove(ticket)
            except OSError:
                pass  # a dead daemon has no tickets
    engine.processes.stop("nbd-" + transfer["id"][:8])
    with engine.lock:
        transfer["_ticket"] = None
        transfer["active"] = False
        for name in ("transfer_url", "proxy_url"):
            transfer.pop(name, None)
    engine.save()


def _watch(engine, transfer):
    """Follows the ticket: progress, renewal, idleness."""
    while not engine.stopping.is_set():
        time.sleep(engine.config["poll_seconds"])
        with engine.lock:
            ticket = transfer["_ticket"]
            if transfer["phase"] != "transferring" or ticket is None:
                return
        daemon = daemon_of(engine, transfer)
        try:
            state = daemon.show(ticket)
        except OSError:
            state = None
        if state is None:
            with engine.lock:
                gone = transfer["phase"] == "transferring" and transfer["_ticket"] == ticket
            if gone:
                stop(engine, transfer, "paused_system" if transfer["direction"] == "upload"
                     else "cancelled_system")
            return
        _follow(engine, transfer, daemon, ticket, state)


def _follow(engine, transfer, daemon, ticket, state):
    transfer["active"] = bool(state["active"])
    transfer["transferred"] = state.get("transferred", transfer["transferred"])
    if state["expires"] - os.times().elapsed < engine.config["ticket_refresh"]:
        daemon.extend(ticket, engine.config["ticket_timeout"])
        if "proxy" in engine.daemons:
            engine.daemons["proxy"].extend(ticket, engine.config["ticket_timeout"])
    limit = transfer["inactivity_timeout"]
    if limit and state["idle_time"] > limit and not state["active"]:
        pause = transfer["timeout_policy"] == "pause" or (
            transfer["timeout_policy"] == "legacy" and transfer["direction"] == "upload")
        stop(engine, transfer, "paused_system" if pause else "cancelled_system")


def stop(engine, transfer, phase):
    """The engine itself pauses or cancels."""
    with engine.lock:
        transfer["phase"] = phase
        engine.event(1072 if phase == "paused_system" else 1068, "warning",
                     f"Transfer of image was {phase.split('_')[0]} by system. Reason: timeout due "
                     "to transfer inactivity.")
    _close(engine, transfer)
    if phase.startswith("cancelled"):
        _clean_up(engine, transfer)


def _fail(engine, transfer, error):
    print(f"transfer {transfer['id']} failed: {error}", flush=True)
    if transfer["phase"] in TERMINAL or transfer["phase"].startswith(("cancelled", "finalizing")):
        return
    transfer["phase"] = "finalizing_failure"
    _end(engine, transfer, success=False)


def _end(engine, transfer, success):
    _close(engine, transfer)
    disk = engine.state["disks"].get(transfer["image"]["id"])
    upload = transfer["direction"] == "upload"
    with engine.lock:
        if disk is not None:
            if success or not upload:
                # A backup's disk becomes `ok` here although the backup still holds it.
                disk["status"] = "ok"
            elif not disks.vms_of(engine, disk["id"]):
                disks.forget(engine, disk["id"])
            else:
                disk["status"] = "illegal"
        word = "Upload" if upload else "Download"
        code = (1032 if success else 1033)
        engine.event(code, "normal" if success else "error",
                     f"Image {word} with disk {(disk or {}).get('name')} "
                     f"{'succeeded' if success else 'failed'}.")
        transfer["phase"] = "finished_success" if success else "finished_failure"
        transfer["_over"] = time.time()
        if not engine.at_least("4.4.7"):
            engine.state["imagetransfers"].pop(transfer["id"], None)
    engine.save()


def sweep(engine):
    """Forgets transfers that ended long ago."""
    now = time.time()
    for name, transfer in list(engine.state["imagetransfers"].items()):
        success = transfer["phase"] == "finished_success"
        keep = engine.config["retention_succeeded" if success else "retention_failed"]
        if transfer.get("_over") and now - transfer["_over"] > keep:
            del engine.state["imagetransfers"][name]


# Actions ---------------------------------------------------------------------------------------

def act(engine, transfer_id, action):
    """POST …/ACTION: nearly always 200, whatever comes of it."""
    transfer = engine.state["imagetransfers"].get(transfer_id)
    if transfer is None:
        return
    phase = transfer["phase"]
    if action == "pause":
        if transfer["direction"] == "download":
            raise conflict("Cannot pause image transfer. Pausing a download is not supported.")
        if phase == "transferring":
            transfer["phase"] = "paused_user"
            engine.background("pause", lambda: _close(engine, transfer))
    elif action == "resume":
        if phase not in PAUSED:
            raise conflict("Cannot resume image transfer as it's not in a paused state.")
        transfer["phase"] = "resuming"
        engine.background("resume", lambda: _run(engine, transfer),
                          lambda error: _fail(engine, transfer, error))
    elif action == "finalize" and phase in ("transferring", *PAUSED):
        transfer["phase"] = "finalizing_success"
        engine.background("finalize", lambda: _finalize(engine, transfer),
                          lambda error: _fail_finalize(engine, transfer, error))
    elif action == "cancel" and phase in ("initializing", "resuming", "transferring", *PAUSED):
        transfer["phase"] = "cancelled_user"
        engine.background("cancel", lambda: _clean_up(engine, transfer))


def _finalize(engine, transfer):
    engine.step("transfer", "finalizing_success")
    _close(engine, transfer)
    disk = engine.state["disks"][transfer["image"]["id"]]
    if transfer["direction"] == "upload":
        _verify(disk)
    _end(engine, transfer, success=True)


def _verify(disk):
    """What the engine checks of an uploaded volume."""
    top = disks.active_layer(disk)
    found = storage.info(top["path"])
    if found["format"] != storage.driver(top["format"]) and top["format"] == "cow":
        raise PhaseFailure(f"the volume is {found['format']}")
    if found.get("backing-filename") and len(disk["_layers"]) == 1:
        raise PhaseFailure("the volume has a backing file")
    if top["format"] == "cow":
        storage.run("qemu-img", "check", "-q", "-f", "qcow2", top["path"])


def _fail_finalize(engine, transfer, error):
    print(f"transfer {transfer['id']} failed at its end: {error}", flush=True)
    transfer["phase"] = "finalizing_failure"
    _end(engine, transfer, success=False)


def _clean_up(engine, transfer):
    engine.step("transfer", "cancelled")
    _close(engine, transfer)
    for phase in ("finalizing_cleanup", "finished_cleanup"):
        transfer["phase"] = phase
        engine.step("transfer", phase)
    _end(engine, transfer, success=False)
