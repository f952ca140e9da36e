"""The demonstration inventory: small disks with known contents, and one VM for each case that a
backup product must treat in a special way."""

import os

from . import disks, snapshots, storage, vms
from .engine import new_id

MIB = 1 << 20


def build(engine):
    """Fills an empty engine."""
    engine.state["instance"] = new_id()
    places = _places(engine)
    _plain(engine, places)
    _special(engine, places)
    _cases(engine, places)


def _add(engine, collection, **members):
    entity = {"id": new_id(), **members}
    engine.state[collection][entity["id"]] = entity
    return entity


def _places(engine):
    center = _add(engine, "datacenters", name="Default", description="", local=False,
                  status="up", version={"major": 4, "minor": 7})
    clusters = {}
    for name, level in (("Default", (4, 6)), ("Modern", (4, 7)), ("Old", (4, 4))):
        clusters[name] = _add(
            engine, "clusters", name=name, description="", comment="",
            cpu={"architecture": "x86_64", "type": "Secure Intel Cascadelake Server Family"},
            data_center={"id": center["id"]}, version={"major": level[0], "minor": level[1]})["id"]
    for name, daemon in (("host1", "v4"), ("host2", "v6")):
        if daemon in engine.daemons:
            _add(engine, "hosts", name=name, description="", comment="",
                 address=engine.daemons[daemon].host, status="up", type="rhel",
                 cluster={"id": clusters["Default"]}, _daemon=daemon,
                 _never_chosen=daemon == "v6")
    for name, kind in (("data", "nfs"), ("block", "iscsi")):
        _add(engine, "storagedomains", name=name, description="", comment="", type="data",
             status="active", available=100 << 30, used=10 << 30, committed=0, master=kind == "nfs",
             external_status="ok", wipe_after_delete=False, storage_format="v5",
             storage={"type": kind}, data_centers=[{"id": center["id"]}])
    network = _add(engine, "networks", name="ovirtmgmt", description="Management Network",
                   mtu=1500, stp=False, data_center={"id": center["id"]})
    _add(engine, "vnicprofiles", name="ovirtmgmt", port_mirroring=False,
         network={"id": network["id"]})
    for name in ("backup", "production"):
        _add(engine, "tags", name=name, description="")
    return find_places(engine)


def find_places(engine):
    """Where new VMs and disks go."""
    return {"clusters": {one["name"]: one["id"] for one in engine.state["clusters"].values()},
            "domain": engine.find("storagedomains", "data")["id"],
            "profile": engine.find("vnicprofiles", "ovirtmgmt")}


def add_custom(engine, name, cluster, wanted, members):
    """A VM that a test describes."""
    places = find_places(engine)
    vm = add_vm(engine, places, name, cluster, **members)
    made = []
    for number, given in enumerate(wanted, 1):
        given = dict(given)
        source = given.pop("source", None)
        size = given.pop("size", None) or os.path.getsize(source)
        disk = add_disk(engine, places, vm, given.pop("name", f"{name}_Disk{number}"), size,
                        seed=None if source else number, **given)
        if source:
            storage.fill(disk["_layers"][0]["path"], disk["format"], source)
        made.append(disk["id"])
    return {"id": vm["id"], "disks": made}


def add_vm(engine, places, name, cluster="Default", **members):
    """A VM with one network interface."""
    vm = vms.new_vm(name, places["clusters"][cluster], **members)
    nic = vms.new_nic(engine, "nic1", profile=places["profile"])
    vm["_nics"][nic["id"]] = nic
    engine.state["vms"][vm["id"]] = vm
    return vm


def add_disk(engine, places, vm, name, size, *, seed=1, attached=None, **members):
    """A disk with some data, attached to `vm` (if any)."""
    disk = disks.new_disk(engine, name=name, provisioned_size=size,
                          storage_domains=[{"id": places["domain"]}], **members)
    engine.state["disks"][disk["id"]] = disk
    if disk["storage_type"] == "image":
        disks.create_file(disk)
        if seed is not None:
            storage.change(disk["_layers"][0]["path"], storage.driver(disk["format"]),
                           contents(size, seed))
        disks.refresh_sizes(disk)
    if vm is not None:
        vm["_attachments"][disk["id"]] = disks.attachment(
            **{"bootable": not vm["_attachments"], **(attached or {})})
    return disk


def contents(size, seed):
    """Some data at the start, in the middle, not aligned to any block, and at the end."""
    return [{"offset": 0, "length": MIB, "pattern": seed},
            {"offset": size // 2, "length": 3 * MIB, "pattern": seed + 1},
            {"offset": size // 4 + 4096, "length": 70000 // 512 * 512, "pattern": seed + 2},
            {"offset": size - 65536, "length": 65536, "pattern": seed + 3}]


def _plain(engine, places):
    web = add_vm(engine, places, "web01", description="two disks, powered off")
    web["_tags"] = [next(iter(engine.state["tags"]))]
    add_disk(engine, places, web, "web01_Disk1", 64 * MIB, backup="incremental", seed=0x11)
    add_disk(engine, places, web, "web01_Disk2", 32 * MIB, format="raw", seed=0x21)
    db = add_vm(engine, places, "db01", description="runs; start it with the control endpoint")
    add_disk(engine, places, db, "db01_Disk1", 64 * MIB, backup="incremental", seed=0x31)
    add_disk(engine, places, db, "db01_Disk2", 48 * MIB, backup="incremental", seed=0x41)
    modern = add_vm(engine, places, "modern01", "Modern", description="hybrid backups")
    add_disk(engine, places, modern, "modern01_Disk1", 32 * MIB, backup="incremental", seed=0x51)
    old = add_vm(engine, places, "old01", "Old", description="cluster level 4.4")
    add_disk(engine, places, old, "old01_Disk1", 16 * MIB, seed=0x61)
    blank = add_disk(engine, places, None, "floating", 16 * MIB, backup="incremental", seed=0x71)
    blank["description"] = "belongs to no VM"


def _special(engine, places):
    hosted = add_vm(engine, places, "HostedEngine", origin="managed_hosted_engine")
    add_disk(engine, places, hosted, "he_virtio_disk", 16 * MIB, content_type="hosted_engine",
             format="raw")
    worker = add_vm(engine, places, "worker", initialization={
        "custom_script": "runcmd:\n- echo hello\n", "regenerate_ssh_keys": False})
    add_disk(engine, places, worker, "worker_Disk1", 16 * MIB)
    preview = add_vm(engine, places, "preview01")
    add_disk(engine, places, preview, "preview01_Disk1", 16 * MIB)
    snapshots.preview(engine, preview, None, True)
    shared = add_disk(engine, places, None, "shared", 16 * MIB, format="raw", sparse=False,
                      shareable=True)
    mixed = add_vm(engine, places, "mixed01", description="a disk of every kind")
    add_disk(engine, places, mixed, "mixed01_Disk1", 16 * MIB, backup="incremental")
    mixed["_attachments"][shared["id"]] = disks.attachment()
    add_disk(engine, places, mixed, "mixed01_lun", 0, storage_type="lun", lun_storage={
        "type": "iscsi", "logical_units": [{
            "id": "36001405aaaa", "address": "192.0.2.10", "port": 3260,
            "target": "iqn.2026-01.test:lun", "size": 16 * MIB}]})
    for kind in ("cinder", "managed_block_storage"):
        add_disk(engine, places, mixed, "mixed01_" + kind, 16 * MIB, storage_type=kind,
                 format="raw")


def _cases(engine, places):
    idle = add_vm(engine, places, "idle01", description="one disk unplugged, one qcow2 version 2")
    add_disk(engine, places, idle, "idle01_Disk1", 16 * MIB, qcow_version="qcow2_v2")
    add_disk(engine, places, idle, "idle01_Disk2", 16 * MIB, attached={"active": False})
    broken = add_vm(engine, places, "illegal01")
    add_disk(engine, places, broken, "illegal01_Disk1", 16 * MIB, status="illegal")
    ro = add_vm(engine, places, "readonly01", stateless=True)
    add_disk(engine, places, ro, "readonly01_Disk1", 16 * MIB, attached={"read_only": True})
    add_vm(engine, places, "diskless01")
