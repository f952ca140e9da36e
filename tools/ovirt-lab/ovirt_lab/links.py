"""Links and actions that the engine adds to the objects it shows."""

import xml.etree.ElementTree as ET

BASE = "/ovirt-engine/api"

#: For each kind of object: the collections it links to, and its actions.
SETS = {
    "vm": (("applications", "backups", "cdroms", "checkpoints", "diskattachments",
            "graphicsconsoles", "nics", "permissions", "reporteddevices", "snapshots", "tags"),
           ("start", "stop", "shutdown", "suspend", "previewsnapshot", "commitsnapshot",
            "undosnapshot")),
    "disk": (("disksnapshots", "permissions", "statistics"),
             ("reduce", "copy", "export", "move", "sparsify", "refreshlun", "convert")),
    "snapshot": (("disks", "nics"), ("restore",)),
    "backup": (("disks",), ("finalize",)),
    "checkpoint": (("disks",), ()),
    "image_transfer": ((), ("cancel", "extend", "finalize", "pause", "resume")),
    "storage_domain": (("disks", "disksnapshots", "vms"), ()),
    "data_center": (("clusters", "networks", "storagedomains"), ()),
    "cluster": (("networks",), ()),
    "host": (("nics", "statistics"), ("activate", "deactivate")),
    "nic": (("reporteddevices", "statistics"), ("activate", "deactivate")),
    "job": (("steps",), ("end", "clear")),
}
#: Links of the root document.
ROOT = ("clusters", "datacenters", "disks", "events", "hosts", "imagetransfers", "jobs", "networks",
        "storagedomains", "tags", "vms", "vnicprofiles")
#: Tags of collections, by the last part of their path.
TAGS = {
    "clusters": "clusters", "datacenters": "data_centers", "disks": "disks", "events": "events",
    "hosts": "hosts", "imagetransfers": "image_transfers", "jobs": "jobs", "networks": "networks",
    "storagedomains": "storage_domains", "tags": "tags", "vms": "vms",
    "vnicprofiles": "vnic_profiles", "diskattachments": "disk_attachments", "nics": "nics",
    "snapshots": "snapshots", "backups": "backups", "checkpoints": "checkpoints",
    "disksnapshots": "disk_snapshots", "reporteddevices": "reported_devices",
    "cdroms": "cdroms", "applications": "applications", "permissions": "permissions",
    "graphicsconsoles": "graphics_consoles", "steps": "steps", "statistics": "statistics",
}
COLLECTIONS = set(TAGS.values())
#: Where plain links to an object lead.
HOMES = {
    "vm": "vms", "disk": "disks", "host": "hosts", "cluster": "clusters",
    "data_center": "datacenters", "storage_domain": "storagedomains", "network": "networks",
    "vnic_profile": "vnicprofiles", "job": "jobs", "tag": "tags",
}


def is_collection(tag):
    """Whether this tag holds members of one kind."""
    return tag in COLLECTIONS


def decorate(element):
    """Adds links and actions to an object that is shown in full."""
    if element.tag == "api":
        for rel in ROOT:
            _link(element, rel, f"{BASE}/{rel}")
        return
    href = element.get("href")
    if href is None or not len(element) or element.tag not in SETS:
        return
    collections, actions = SETS[element.tag]
    present = {child.tag for child in element}
    for rel in collections:
        if TAGS.get(rel) not in present:
            _link(element, rel, f"{href}/{rel}")
    if actions:
        holder = ET.SubElement(element, "actions")
        for rel in actions:
            _link(holder, rel, f"{href}/{rel}")


def _link(parent, rel, href):
    ET.SubElement(parent, "link", {"href": href, "rel": rel})
