"""What clients see of the entities: copies without private members, with addresses."""

from .links import BASE, HOMES


def show(path, entity, drop=()):
    """An entity at `path` (below the API's root) as a client sees it."""
    view = {"id": entity["id"], "href": f"{BASE}/{path}"}
    for key, value in entity.items():
        if key.startswith("_") or key in drop or value is None:
            continue
        view[key] = _linked(key, value)
    return view


def _linked(key, value):
    if isinstance(value, dict):
        if "id" in value and key in HOMES:
            return {"href": f"{BASE}/{HOMES[key]}/{value['id']}", **value}
        return {name: _linked(name, member) for name, member in value.items()
                if not name.startswith("_")}
    if isinstance(value, list) and key.endswith("s"):
        return [_linked(key[:-1], item) for item in value]
    return value


def disk(entity):
    """A disk; a LUN has no status, format, sizes nor storage domains."""
    if entity.get("storage_type") == "lun":
        drop = ("status", "format", "sparse", "provisioned_size", "actual_size", "total_size",
                "storage_domains", "backup", "content_type", "image_id", "qcow_version")
    else:
        drop = ()
    return show(f"disks/{entity['id']}", {**entity, "alias": entity["name"]}, drop)


def attachment(vm_id, identifier, entity):
    """A disk attachment, whose id is the disk's."""
    view = show(f"vms/{vm_id}/diskattachments/{identifier}", {**entity, "id": identifier})
    view["disk"] = {"id": identifier, "href": f"{BASE}/disks/{identifier}"}
    view["vm"] = {"id": vm_id, "href": f"{BASE}/vms/{vm_id}"}
    return view


def transfer(entity):
    """An image transfer; never shows its disk or backup, only the image."""
    return show(f"imagetransfers/{entity['id']}", entity)


def of_vm(vm_id, collection, entity):
    """A member of one of a VM's collections."""
    return show(f"vms/{vm_id}/{collection}/{entity['id']}",
                {**entity, "vm": {"id": vm_id}} if collection != "snapshots" else entity)
