"""What GET answers: documents by path, with `search`, `follow` and `all_content`."""

import time

from . import disks, search, views, vms, wire
from .engine import version_tuple
from .faults import Missing
from .links import BASE, TAGS
from .wire import singular

TRUE = ("", "t", "true", "y", "yes", "1")
EMPTY = ("applications", "cdroms", "graphicsconsoles", "permissions", "reporteddevices",
         "statistics", "steps")
FOLLOWED = {"disk": "disks", "cluster": "clusters", "host": "hosts", "vm": "vms",
            "vnicprofile": "vnicprofiles"}


def is_true(query, name):
    """Whether a boolean parameter is given and true."""
    return name in query and query[name].lower() in TRUE


def read(engine, parts, query):
    """The tag and the value of the document at a path; a list for collections."""
    tag, value = _find(engine, parts, query)
    follow = query.get("follow")
    if follow:
        for path in follow.split(","):
            _follow(engine, value, path.strip().split("."))
    return tag, value


def _find(engine, parts, query):
    if not parts:
        return "api", root(engine)
    head, rest = parts[0], parts[1:]
    if head == "vms":
        return _vms(engine, rest, query)
    if head == "storagedomains" and len(rest) == 2 and rest[1] in ("disks", "disksnapshots"):
        return _domain(engine, rest[0], rest[1])
    if head not in engine.state or head not in TAGS:
        raise Missing(head)
    tag = TAGS[head]
    if not rest:
        found = list(engine.state[head].values())
        if head == "events":
            found.reverse()
        found = search.select(found, query)
        return tag, [_one(engine, head, entity) for entity in found]
    entity = engine.get(head, rest[0])
    if len(rest) == 1:
        return singular(tag), _one(engine, head, entity)
    if head == "disks" and rest[1] == "disksnapshots":
        return "disk_snapshots", _disk_snapshots(entity)
    if len(rest) == 2 and rest[1] in EMPTY:
        return TAGS[rest[1]], []
    if head == "datacenters" and rest[1] in ("clusters", "networks", "storagedomains"):
        return TAGS[rest[1]], [_one(engine, rest[1], one)
                               for one in engine.state[rest[1]].values()]
    raise Missing("/".join(parts))


def _one(engine, collection, entity):
    if collection == "vms":
        return vms.view(engine, entity, {})
    if collection == "disks":
        return disks.view(engine, entity["id"])
    if collection == "imagetransfers":
        return views.transfer(entity)
    return views.show(f"{collection}/{entity['id']}", entity)


def _domain(engine, domain_id, kind):
    engine.get("storagedomains", domain_id)
    here = [one for one in engine.state["disks"].values()
            if {"id": domain_id} in one.get("storage_domains", [])]
    if kind == "disks":
        return "disks", [views.disk(one) for one in here]
    return "disk_snapshots", [snapshot for one in here for snapshot in _disk_snapshots(one)]


def _disk_snapshots(disk):
    return [{"id": layer["image"], "name": disk["name"], "format": layer["format"],
             "provisioned_size": disk["provisioned_size"], "status": disk["status"],
             "storage_type": "image", "image_id": layer["image"],
             "disk": {"id": disk["id"], "href": f"{BASE}/disks/{disk['id']}"}}
            for layer in disk["_layers"][:-1]]


def _vms(engine, rest, query):
    everything = is_true(query, "all_content")
    if not rest:
        found = search.select(list(engine.state["vms"].values()), query)
        return "vms", [vms.view(engine, one, query, everything) for one in found]
    vm = engine.get("vms", rest[0])
    if len(rest) == 1:
        return "vm", vms.view(engine, vm, query, everything)
    kind, tail = rest[1], rest[2:]
    if kind in EMPTY:
        return TAGS[kind], []
    if kind == "tags":
        return "tags", [views.show(f"tags/{one}", engine.get("tags", one)) for one in vm["_tags"]]
    if kind == "diskattachments":
        members = {key: views.attachment(vm["id"], key, one)
                   for key, one in vm["_attachments"].items()}
    elif kind in ("nics", "snapshots", "backups", "checkpoints"):
        members = {key: _member(engine, vm, kind, one, everything)
                   for key, one in vm["_" + kind].items()}
    else:
        raise Missing(kind)
    if not tail:
        return TAGS[kind], list(members.values())
    if tail[0] not in members:
        raise Missing(tail[0])
    if len(tail) == 1:
        return singular(TAGS[kind]), members[tail[0]]
    return _below(engine, vm, kind, tail)


def _member(engine, vm, kind, entity, everything):
    view = views.of_vm(vm["id"], kind, entity)
    if kind == "backups" and engine.config["phase_missing"]:
        view.pop("phase", None)
    if kind == "backups" and not engine.at_least("4.4.8"):
        view.pop("modification_date", None)
    if kind == "checkpoints" and not engine.at_least("4.4.7.5"):
        view.pop("state", None)
    if kind == "snapshots" and everything and entity["snapshot_type"] == "regular":
        from . import ovf
        view["initialization"] = {"configuration": {
            "type": "ovf", "data": ovf.write(engine, vm, secrets=True)}}
    return view


def _below(engine, vm, kind, tail):
    if tail[1] in EMPTY:
        return TAGS[tail[1]], []
    if tail[1] != "disks" or kind == "diskattachments":
        raise Missing(tail[1])
    entity = vm["_" + kind][tail[0]]
    if kind == "snapshots":
        wanted = entity["_images"] or (vm["_attachments"] if
                                       entity["snapshot_type"] == "active" else {})
    else:
        wanted = entity["_disks"]
    found = []
    for disk_id in wanted:
        if disk_id not in engine.state["disks"]:
            continue
        view = views.disk(engine.state["disks"][disk_id])
        if kind == "backups":
            view["backup_mode"] = entity["_disks"][disk_id]
        found.append(view)
    return "disks", found


def _follow(engine, value, path):
    """Inlines what links lead to."""
    for one in value if isinstance(value, list) else [value]:
        wanted = path[0].replace("_", "").lower()
        key = next((name for name in one if name.replace("_", "") == wanted
                    and isinstance(one[name], dict)), None)
        if key is not None and one[key].get("id") and wanted in FOLLOWED:
            target = [FOLLOWED[wanted], one[key]["id"]]
        elif wanted in TAGS and "href" in one:
            target = one["href"][len(BASE) + 1:].split("/") + [wanted]
            key = TAGS[wanted]
        else:
            continue
        try:
            one[key] = _find(engine, target, {})[1]
        except Missing:
            continue
        if len(path) > 1:
            _follow(engine, one[key], path[1:])


def root(engine):
    """The document at the API's root."""
    state, version = engine.state, version_tuple(engine.config["engine_version"])
    user = {"id": "5a1f1b1c-0000-4000-8000-000000000001"}
    user["href"] = f"{BASE}/users/{user['id']}"

    def summary(entities, active):
        return {"active": sum(one.get("status") == active for one in entities),
                "total": len(entities)}
    parts = list(version) + [0, 0, 0]
    return {
        "authenticated_user": user, "effective_user": dict(user),
        "product_info": {
            "name": "oVirt Engine", "vendor": "ovirt.org",
            "instance_id": state["instance"],
            "version": {"build": parts[2], "full_version":
                        engine.config["engine_version"] + "-1.el9",
                        "major": parts[0], "minor": parts[1], "revision": parts[3]}},
        "special_objects": {
            "blank_template": {"href": f"{BASE}/templates/{vms.BLANK}", "id": vms.BLANK},
            "root_tag": {"href": f"{BASE}/tags/{vms.BLANK}", "id": vms.BLANK}},
        "summary": {
            "hosts": summary(state["hosts"].values(), "up"),
            "storage_domains": summary(state["storagedomains"].values(), "active"),
            "users": {"active": 1, "total": 1},
            "vms": summary(state["vms"].values(), "up")},
        "time": wire.date(time.time())}


def schema(engine):
    """A small part of the API's schema: members by which clients tell versions apart."""
    members = {"backup": ["creation_date", "from_checkpoint_id", "phase", "to_checkpoint_id"],
               "disk": ["backup", "format", "provisioned_size"],
               "checkpoint": ["creation_date", "parent_id"]}
    for version, kind, name in (("4.4.3", "disk", "backup_mode"), ("4.4.4", "backup", "host"),
                                ("4.4.8", "backup", "modification_date"),
                                ("4.5", "backup", "snapshot"), ("4.4.7.5", "checkpoint", "state")):
        if engine.at_least(version):
            members[kind].append(name)
    types = "".join(
        f'<xs:complexType name="{kind.title()}"><xs:sequence>'
        + "".join(f'<xs:element name="{name}" minOccurs="0"/>' for name in names)
        + "</xs:sequence></xs:complexType>" for kind, names in members.items())
    return ('<?xml version="1.0" encoding="UTF-8"?><xs:schema version="1.0" '
            f'xmlns:xs="http://www.w3.org/2001/XMLSchema">{types}</xs:schema>')
