"""What POST, PUT and DELETE do: the request's body goes in, status, tag and document come out."""

import time

from . import backups, disks, reading, snapshots, transfers, views, vms, wire
from .engine import new_id
from .faults import Fault, Missing, bad, incomplete
from .links import TAGS
from .wire import singular

ACTIONS = {"start", "stop", "shutdown", "suspend", "migrate", "finalize", "cancel", "pause", "resume",
           "extend", "previewsnapshot", "commitsnapshot", "undosnapshot", "restore", "end",
           "clear"}
DONE = (200, "action", {"status": "complete"})


def body_tag(method, parts):
    """The element that a body at this path has."""
    last = parts[-1] if parts else ""
    if last in ACTIONS and method == "POST":
        return "action"
    if method == "POST":
        return singular(TAGS.get(last, last))
    return singular(TAGS.get(parts[-2], "")) if len(parts) > 1 else ""


def change(engine, method, parts, query, body):
    """Carries out a changing request."""
    if method == "DELETE":
        return _delete(engine, parts, query)
    if method == "PUT":
        return _put(engine, parts, body)
    if parts and parts[-1] in ACTIONS:
        return _act(engine, parts, body)
    return _post(engine, parts, query, body)


def _created(engine, kind, parts, view):
    status = engine.config["statuses"].get(kind, 201)
    return status, singular(TAGS[parts[-1]]), view


def _post(engine, parts, query, body):
    if parts == ["vms"]:
        vm = vms.add(engine, body)
        return 201, "vm", vms.view(engine, vm, query)
    if parts == ["disks"]:
        return _created(engine, "disks", parts, views.disk(disks.add(engine, body)))
    if parts == ["imagetransfers"]:
        return _created(engine, "imagetransfers", parts,
                        views.transfer(transfers.start(engine, body)))
    if parts == ["events"]:
        return 201, "event", _event(engine, body)
    if parts == ["jobs"]:
        job = {"id": new_id(), "description": body.description, "external": True,
               "auto_cleared": bool(body.auto_cleared), "status": "started",
               "start_time": wire.date(time.time())}
        engine.state["jobs"][job["id"]] = job
        return 201, "job", views.show(f"jobs/{job['id']}", job)
    if len(parts) == 3 and parts[0] == "vms":
        return _post_to_vm(engine, engine.get("vms", parts[1]), parts, query, body)
    raise Missing("/".join(parts))


def _post_to_vm(engine, vm, parts, query, body):
    kind = parts[2]
    if kind == "backups":
        if body is None or body.disks is None:
            raise incomplete("Backup", "disks", "add")
        backup = backups.start(engine, vm, body, query)
        return _created(engine, kind, parts, views.of_vm(vm["id"], kind, backup))
    if kind == "diskattachments":
        disk_id = disks.attach(engine, vm, body)
        return 201, "disk_attachment", views.attachment(
            vm["id"], disk_id, vm["_attachments"][disk_id])
    if kind == "snapshots":
        snapshot = snapshots.create(engine, vm, body)
        return _created(engine, kind, parts, views.of_vm(vm["id"], kind, snapshot))
    if kind == "nics":
        return 201, "nic", views.of_vm(vm["id"], kind, vms.add_nic(engine, vm, body))
    if kind == "tags":
        found = [one for one in engine.state["tags"].values()
                 if body.id == one["id"] or body.name == one["name"]]
        if not found:
            raise Missing("tag")
        vm["_tags"].append(found[0]["id"])
        return 201, "tag", views.show(f"tags/{found[0]['id']}", found[0])
    raise Missing(kind)


def _event(engine, given):
    missing = [name for name in ("origin", "severity", "custom_id", "description")
               if given is None or getattr(given, name) is None]
    if missing:
        raise incomplete("Event", "|".join(missing), "add")
    if given.origin.lower() == "ovirt":
        raise bad("Cannot add External Event. The origin oVirt is reserved.")
    if any(one["origin"] == given.origin and one["custom_id"] == given.custom_id
           for one in engine.state["events"].values()):
        raise bad("Cannot add External Event. An event with this origin and custom id exists.")
    code = {"normal": 9801, "warning": 9802, "error": 9803, "alert": 9804}[given.severity.value]
    extra = {name: {"id": getattr(given, name).id} for name in (
        "vm", "host", "storage_domain", "cluster", "data_center") if getattr(given, name)}
    event = engine.event(code, given.severity.value, given.description[:1024],
                         origin=given.origin, custom_id=given.custom_id, **extra)
    return views.show(f"events/{event['id']}", event)


def _act(engine, parts, body):
    action = parts[-1]
    if parts[0] == "imagetransfers" and len(parts) == 3:
        transfers.act(engine, parts[1], action)
        return DONE
    if parts[0] == "jobs" and len(parts) == 3:
        job = engine.get("jobs", parts[1])
        if action == "end":
            job["status"] = "failed" if body and body.succeeded is False else "finished"
            job["end_time"] = wire.date(time.time())
        else:
            del engine.state["jobs"][parts[1]]
        return DONE
    if parts[0] != "vms":
        raise Missing(parts[0])
    vm = engine.get("vms", parts[1])
    if len(parts) == 5 and parts[2] == "backups" and action == "finalize":
        if parts[3] not in vm["_backups"]:
            raise Missing(parts[3])
        backups.finalize(engine, vm, vm["_backups"][parts[3]])
        return DONE
    if len(parts) == 5 and parts[2] == "snapshots" and action == "restore":
        snapshots.restored(engine, vm)
        return DONE
    if len(parts) == 3 and action in ("start", "stop", "shutdown", "suspend", "migrate"):
        vms.act(engine, vm, action)
        return DONE
    if len(parts) == 3 and action.endswith("snapshot"):
        wanted = action == "previewsnapshot"
        chosen = body.snapshot.id if wanted and body and body.snapshot else None
        snapshots.preview(engine, vm, chosen, wanted)
        if action == "commitsnapshot":
            snapshots.restored(engine, vm)
        return DONE
    raise Missing(action)


def _put(engine, parts, body):
    if body is None:
        raise Fault(400, "[request body is empty]", "Invalid value")
    if len(parts) == 2 and parts[0] == "vms":
        vm = vms.update(engine, engine.get("vms", parts[1]), body)
        return 200, "vm", vms.view(engine, vm, {})
    if len(parts) == 2 and parts[0] == "disks":
        return 200, "disk", views.disk(disks.update(engine, parts[1], body))
    if len(parts) == 4 and parts[0] == "vms":
        vm = engine.get("vms", parts[1])
        if parts[2] == "diskattachments":
            entry = disks.update_attachment(engine, vm, parts[3], body)
            return 200, "disk_attachment", views.attachment(vm["id"], parts[3], entry)
        if parts[2] == "nics":
            nic = vms.update_nic(engine, vm, parts[3], body)
            return 200, "nic", views.of_vm(vm["id"], "nics", nic)
    raise Missing("/".join(parts))


def _delete(engine, parts, query):
    if len(parts) == 2 and parts[0] == "vms":
        vms.remove(engine, engine.get("vms", parts[1]), reading.is_true(query, "detach_only"))
    elif len(parts) == 2 and parts[0] == "disks":
        disks.remove(engine, parts[1])
    elif len(parts) == 4 and parts[0] == "vms":
        _delete_of_vm(engine, engine.get("vms", parts[1]), parts[2], parts[3], query)
    else:
        raise Missing("/".join(parts))
    return DONE


def _delete_of_vm(engine, vm, kind, identifier, query):
    if kind == "diskattachments":
        detach_only = query.get("detach_only", "true").lower() in reading.TRUE
        disks.detach(engine, vm, identifier, detach_only)
    elif kind == "checkpoints":
        backups.remove_checkpoint(engine, vm, identifier)
    elif kind == "snapshots":
        snapshots.remove(engine, vm, identifier)
    elif kind == "nics" and identifier in vm["_nics"]:
        del vm["_nics"][identifier]
    elif kind == "tags" and identifier in vm["_tags"]:
        vm["_tags"].remove(identifier)
    else:
        raise Missing(identifier)
