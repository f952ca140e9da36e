"""The control endpoint: plain HTTP and JSON, to look inside and to order misbehaviour."""

import json
import os
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler

from ovirtsdk4 import types

from . import backups, disks, inventory, pki, snapshots, storage, vms, wire
from .engine import new_id
from .faults import Fault, Missing
from .middleman import Middleman
from .relay import Relay


class Handler(BaseHTTPRequestHandler):
    """GET /state, GET or DELETE /requests, POST /OPERATION with a JSON object."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300

    def log_message(self, format, *args):  # noqa: A002  the base class's name
        """Nothing: control is not part of the scene."""

    def do_GET(self):
        """State and records."""
        engine = self.server.engine
        path = urllib.parse.urlsplit(self.path).path
        with engine.lock:
            if path == "/state":
                return self._send(200, {**engine.state, "guests": sorted(engine.guests),
                                        "processes": engine.processes.names()})
            if path == "/requests":
                return self._send(200, engine.requests)
            if path == "/":
                return self._send(200, {name: (function.__doc__ or "").strip()
                                        for name, function in OPERATIONS.items()})
        return self._send(404, {"error": "no such page"})

    def do_DELETE(self):
        """Forgets the records of requests."""
        with self.server.engine.lock:
            self.server.engine.requests.clear()
        return self._send(200, {})

    def do_POST(self):
        """An operation."""
        length = int(self.headers.get("Content-Length") or 0)
        try:
            given = json.loads(self.rfile.read(length) or b"{}")
            operation = OPERATIONS.get(self.path.strip("/"))
            if operation is None:
                return self._send(404, {"error": "no such operation",
                                        "operations": sorted(OPERATIONS)})
            answer = operation(self.server.engine, **given) or {}
            self.server.engine.save()
        except (Missing, KeyError) as error:
            return self._send(404, {"error": f"there is no {error}"})
        except (Fault, TypeError, ValueError, RuntimeError, OSError) as error:
            return self._send(400, {"error": str(error)})
        return self._send(200, answer)

    def _send(self, status, document):
        body = json.dumps(document, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# Members ---------------------------------------------------------------------------------------

def configure(engine, **changes):
    """Changes switches (engine_version, delays, token_seconds, statuses, transfer_address, …)."""
    with engine.lock:
        for name, value in changes.items():
            if name not in engine.config:
                raise ValueError(f"unknown switch {name}")
            if isinstance(engine.config[name], dict):
                engine.config[name].update(value)
            else:
                engine.config[name] = value
        return engine.config


def set_vm(engine, vm, **members):
    """Overwrites members of a VM: status, origin, initialization, stateless, …"""
    with engine.lock:
        engine.find("vms", vm).update(members)


def set_disk(engine, disk, **members):
    """Overwrites members of a disk: status, shareable, storage_type, …"""
    with engine.lock:
        engine.find("disks", disk).update(members)


def set_attachment(engine, vm, disk, **members):
    """Overwrites members of an attachment: active, bootable, read_only, …"""
    with engine.lock:
        found = engine.find("disks", disk)
        engine.find("vms", vm)["_attachments"][found["id"]].update(members)


def set_host(engine, host, **members):
    """Overwrites members of a host: status, address, …"""
    with engine.lock:
        engine.find("hosts", host).update(members)


def set_snapshot(engine, vm, snapshot=None, **members):
    """Overwrites members of a snapshot: snapshot_status, snapshot_type, description; makes one
    when none is named."""
    with engine.lock:
        found = engine.find("vms", vm)["_snapshots"]
        if snapshot is None:
            made = snapshots.new_snapshot("")
            found[made["id"]] = made
            snapshot = made["id"]
        found[snapshot].update(members)
        return {"id": snapshot}


def set_checkpoint(engine, vm, checkpoint, **members):
    """Overwrites members of a checkpoint: state (`invalid`), …"""
    with engine.lock:
        engine.find("vms", vm)["_checkpoints"][checkpoint].update(members)


# Misbehaviour ----------------------------------------------------------------------------------

def expire_tokens(engine):
    """Makes all tokens invalid: the next request is answered 401."""
    with engine.lock:
        engine.state["tokens"].clear()


def fail_requests(engine, **fault):
    """Orders trouble for the next `count` requests that match `method` and `path` (regular
    expressions), after `skip` others: `status` with `body` or `detail`, `delay`, `reset`, and
    `after` (the request is carried out first, then its answer is lost)."""
    with engine.lock:
        engine.http_faults.append(fault)


def clear_faults(engine):
    """Takes back all ordered trouble."""
    with engine.lock:
        engine.http_faults.clear()
        engine.phase_faults.clear()
        engine.holds.clear()


def fail_phase(engine, kind, phase, count=1):
    """Lets a step fail: kind backup, transfer, disk, snapshot or vm; phase as shown."""
    engine.phase_faults[f"{kind}:{phase}"] = count


def hold_phase(engine, kind, phase, on=True):
    """Keeps a step from ending until told otherwise."""
    (engine.holds.add if on else engine.holds.discard)(f"{kind}:{phase}")


def relay(engine, daemon="v4", on=True, count=0, **rules):
    """A bad network: transfers that start from now on lead through a relay to the daemon. The
    next `count` connections are cut or stall (`cut_after`, `stall_after`: bytes of answers), are
    slow (`delay`: seconds per 64 KiB) or are closed at once (`refuse`)."""
    target = engine.daemons[daemon]
    if daemon not in engine.relays:
        engine.relays[daemon] = Relay((target.host, target.port))
    found = engine.relays[daemon]
    found.order(count, rules)
    engine.config["transfer_address"] = found.address if on else None
    return {"address": found.address, "connections": found.connections}


def watch_transfers(engine, daemon="v4", on=True, old=False):
    """Transfers that start from now on lead through a middleman that records every request:
    answers the records, and sums by ticket of the bytes of HTTP over the wire. `old`: a daemon
    that knows no extents. Switching on forgets earlier records and orders."""
    found = _middleman(engine, daemon)
    if on:
        found.clear()
        found.old = old
    engine.config["transfer_address"] = found.address if on else None
    return {"address": found.address}


def transfer_requests(engine, daemon="v4"):
    """What the middleman has seen."""
    found = _middleman(engine, daemon)
    return {"connections": found.connections, "requests": found.requests,
            "totals": found.totals()}


def fail_transfers(engine, daemon="v4", **order):
    """Orders trouble for the next `count` requests to a watched daemon that match `method` and
    `path`, after `skip` others: `status` instead of an answer; or a body that, after so many
    bytes, ends by a clean close (`cut`), by a reset (`reset`), or stops for `seconds` (`stall`);
    or has one bit wrong (`corrupt`); or is slow (`delay`: seconds per 64 KiB). The body is that of
    the answer, or, with `sent`, of the request."""
    _middleman(engine, daemon).order(**order)


def _middleman(engine, daemon):
    target = engine.daemons[daemon]
    if daemon not in engine.middlemen:
        engine.middlemen[daemon] = Middleman((target.host, target.port), engine.path("pki"))
    return engine.middlemen[daemon]


def set_transfer(engine, transfer, phase):
    """Moves a transfer: paused_system or cancelled_system, with all consequences."""
    from . import transfers
    found = engine.get("imagetransfers", transfer)
    transfers.stop(engine, found, phase)


def expire_ticket(engine, transfer, gone=True):
    """Takes a transfer's ticket from the daemon: clients get 403, and the engine gives the transfer
    up. `gone=false`: its time is over, as when the engine was late to extend it; the engine does
    so when it looks again."""
    from . import transfers
    found = engine.get("imagetransfers", transfer)
    daemon = transfers.daemon_of(engine, found)
    if gone:
        daemon.remove(found["_ticket"])
    else:
        daemon.extend(found["_ticket"], 0)


def kill(engine, what):
    """Kills a process at once: imageio-v4, imageio-v6, imageio-proxy, nbd-XXXXXXXX, vm-XXXXXXXX."""
    return {"killed": engine.processes.kill(what)}


def signal(engine, what, number):
    """Sends a signal to a process: 19 stops it, 18 lets it go on."""
    return {"sent": engine.processes.signal(what, number)}


def restart(engine, what):
    """Starts a daemon again; its tickets are gone."""
    daemon = engine.daemons[what.removeprefix("imageio-")]
    engine.processes.stop(daemon.process)
    daemon.start(engine.processes, engine.settings["venv"])


def renew_authority(engine, name):
    """Replaces api-ca or internal-ca and what it signs; daemons are restarted with it."""
    pki.renew(engine.path("pki"), name)
    if name == "internal-ca":
        for daemon in engine.daemons.values():
            restart(engine, daemon.name)
    else:
        for server in engine.servers:
            if server.context is not None:
                server.context.load_cert_chain(engine.path("pki", "engine.pem"),
                                               engine.path("pki", "engine-key.pem"))
    return {"sha256": pki.fingerprint(engine.path("pki", name + ".pem"))}


def drop_bitmap(engine, disk, bitmap):
    """Loses a bitmap, as a crash of the host does; the checkpoint stays known."""
    found = engine.find("disks", disk)
    for vm in disks.vms_of(engine, found["id"]):
        guest = engine.guests.get(vm["id"])
        if guest is not None and guest.alive():
            return guest.remove_bitmap(found["id"], bitmap)
    for layer in found["_layers"]:
        if layer["format"] == "cow":
            storage.remove_bitmap(layer["path"], bitmap)
    return None


def preview(engine, vm, on=True, snapshot=None):
    """Begins or ends a snapshot preview."""
    snapshots.preview(engine, engine.find("vms", vm), snapshot, on)


def foreign_backup(engine, vm, phase="ready", description="another product"):
    """A backup that somebody else runs."""
    found = engine.find("vms", vm)
    now = wire.date(time.time())
    backup = {"id": new_id(), "description": description, "creation_date": now,
              "modification_date": now, "from_checkpoint_id": None, "phase": phase, "_disks": {},
              "_live": False, "_hybrid": False, "_next": None, "_nodes": {}, "_foreign": True}
    found["_backups"][backup["id"]] = backup
    return {"id": backup["id"]}


def foreign_snapshot(engine, vm, description="another user"):
    """Somebody else takes a snapshot, or the engine refuses it with this text."""
    wanted = types.Snapshot(description=description)
    try:
        with engine.lock:
            return {"id": snapshots.create(engine, engine.find("vms", vm), wanted)["id"]}
    except Fault as refused:
        return {"refused": str(refused)}


def foreign_transfer(engine, disk, direction="upload", phase="transferring"):
    """A transfer that somebody else runs: it locks the disk."""
    found = engine.find("disks", disk)
    transfer = {"id": new_id(), "active": True, "direction": direction, "format": "raw",
                "inactivity_timeout": 60, "phase": phase, "shallow": False,
                "timeout_policy": "legacy", "transferred": 0,
                "host": {"id": next(iter(engine.state["hosts"]))}, "image": {"id": found["id"]},
                "_backup": None, "_vm": None, "_image": None, "_ticket": None}
    with engine.lock:
        engine.state["imagetransfers"][transfer["id"]] = transfer
        found["status"] = "locked"
    return {"id": transfer["id"]}


def settle(engine):
    """Ends all open transfers and backups, foreign ones too, and takes back ordered trouble."""
    from . import transfers
    clear_faults(engine)
    for middleman in engine.middlemen.values():
        middleman.clear()
    for transfer in list(engine.state["imagetransfers"].values()):
        if transfer["phase"] not in transfers.TERMINAL:
            transfers.stop(engine, transfer, "cancelled_system")
    for vm in engine.state["vms"].values():
        for backup in backups.running(vm):
            backups.fail(engine, vm, backup, "settled")


# Guests and data -------------------------------------------------------------------------------

def start_vm(engine, vm):
    """Runs a VM, and returns when it is up."""
    vms.power_on(engine, engine.find("vms", vm))


def stop_vm(engine, vm, crash=False):
    """Powers a VM off; `crash`: as when its host dies."""
    vms.power_off(engine, engine.find("vms", vm), crash)


def write(engine, disk, changes):
    """Writes into a disk, through the guest if one runs: [{op, offset, length, pattern}], op
    write, zero or discard."""
    found = engine.find("disks", disk)
    for vm in disks.vms_of(engine, found["id"]):
        guest = engine.guests.get(vm["id"])
        if guest is not None and guest.alive() and found["id"] in guest.tops:
            return guest.change(found["id"], changes)
    top = disks.active_layer(found)
    return storage.change(top["path"], storage.driver(top["format"]), changes)


def add_vm(engine, name, cluster="Default", disks=(), **members):
    """Makes a VM with disks: [{name, size, format, backup, source, …}]; `source` is a raw file
    that is copied in, without it a little data is made."""
    return inventory.add_custom(engine, name, cluster, disks, members)


def remove_vm(engine, vm):
    """Removes a VM that is down and leaves its disks, as somebody may do in the portal."""
    vms.remove(engine, engine.find("vms", vm), True)


def add_disk(engine, vm, **members):
    """Gives a VM that is down one more disk: name, size, format, backup, …"""
    with engine.lock:
        made = inventory.add_disk(engine, inventory.find_places(engine), engine.find("vms", vm),
                                  members.pop("name"), members.pop("size"), **members)
        return {"id": made["id"]}


def fill(engine, disk, source):
    """Copies a raw file into the disk of a stopped VM."""
    top = disks.active_layer(engine.find("disks", disk))
    storage.fill(top["path"], top["format"], source)


def guest_writer(engine, vm, on=True):
    """Lets the guest write all the time."""
    found = engine.find("vms", vm)
    guest = engine.guests[found["id"]]
    size = min(engine.state["disks"][one]["provisioned_size"] for one in guest.tops)
    guest.write_on(on, size)
    return {"writes": guest.count}


def digest(engine, disk):
    """SHA-256 of what the guest of a stopped VM would read, and the bitmaps there are."""
    found = engine.find("disks", disk)
    top = disks.active_layer(found)
    return {"sha256": storage.sha256(top["path"], top["format"]), "path": top["path"],
            "format": top["format"],
            "bitmaps": storage.bitmaps(top["path"]) if top["format"] == "cow" else {}}


def reference(engine, backup, disk):
    """The exact image of the instant that a backup shows, when the switch `references` is on."""
    found = engine.find("disks", disk)
    path = backups.reference_path(engine, backup, found["id"])
    for vm in disks.vms_of(engine, found["id"]):
        guest = engine.guests.get(vm["id"])
        if guest is not None and guest.alive():
            guest.finish_reference(path)
    if not os.path.exists(path):
        raise Missing("reference: switch `references` on first")
    return {"path": path, "sha256": storage.file_sha256(path)}


def fail_backup(engine, vm, backup):
    """Lets a backup fail now."""
    found = engine.find("vms", vm)
    backups.fail(engine, found, found["_backups"][backup], "told to")


OPERATIONS = {function.__name__.replace("_", "-"): function for function in (
    configure, set_vm, set_disk, set_attachment, set_host, set_snapshot, set_checkpoint,
    expire_tokens, fail_requests, clear_faults, fail_phase, hold_phase, set_transfer,
    expire_ticket, watch_transfers, transfer_requests, fail_transfers, kill, signal, restart,
    renew_authority, relay, add_vm, remove_vm, add_disk, drop_bitmap, preview, foreign_backup,
    foreign_transfer, foreign_snapshot, start_vm, stop_vm, settle, write, fill, guest_writer, digest,
    reference, fail_backup)}
