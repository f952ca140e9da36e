"""VMs: power, creation, import of configurations, network interfaces."""

import time

from . import backups, disks, live, ovf, snapshots, views, wire
from .engine import new_id
from .faults import Missing, bad, conflict, incomplete

BLANK = "00000000-0000-0000-0000-000000000000"


def new_vm(name, cluster, **members):
    """A record of a VM without disks."""
    now = wire.date(time.time())
    active = snapshots.new_snapshot(snapshots.ACTIVE, "active")
    return {
        "id": new_id(), "name": name, "description": "", "comment": "",
        "bios": {"boot_menu": {"enabled": False}, "type": "q35_sea_bios"},
        "cpu": {"architecture": "x86_64",
                "topology": {"cores": 1, "sockets": 2, "threads": 1}},
        "creation_time": now, "delete_protected": False,
        "high_availability": {"enabled": False, "priority": 0},
        "io": {"threads": 1}, "memory": 1 << 30,
        "memory_policy": {"guaranteed": 1 << 30, "max": 4 << 30}, "origin": "ovirt",
        "os": {"boot": {"devices": ["hd"]}, "type": "rhel_9x64"}, "stateless": False,
        "type": "server", "cluster": {"id": cluster},
        "next_run_configuration_exists": False, "status": "down", "stop_time": now,
        "template": {"id": BLANK}, "_attachments": {}, "_nics": {}, "_tags": [],
        "_snapshots": {active["id"]: active}, "_backups": {}, "_checkpoints": {}, **members}


def view(engine, vm, query, all_content=False):
    """A VM as clients see it; `next_run`: with the changes that wait for its next start."""
    if query.get("next_run") in ("true", ""):
        vm = {**vm, **vm.get("_next_run", {})}
    shown = views.show(f"vms/{vm['id']}", vm)
    if vm["status"] == "down":
        for name in ("host", "fqdn", "start_time"):
            shown.pop(name, None)
    if any(engine.state["disks"].get(one, {}).get("status") == "illegal"
           for one in vm["_attachments"]):
        shown["has_illegal_images"] = True
    if all_content:
        text = _configuration(engine, vm)
        if text is not None:
            kind = "ova" if query.get("ovf_as_ova") in ("true", "") else "ovf"
            shown["initialization"] = {**(shown.get("initialization") or {}),
                                       "configuration": {"data": text, "type": kind}}
    return shown


def _configuration(engine, vm):
    """The OVF; silently absent whenever something is locked."""
    locked = any(engine.state["disks"].get(one, {}).get("status") == "locked"
                 for one in vm["_attachments"])
    if vm["status"] == "image_locked" or locked or engine.config["hide_ovf"]:
        return None
    return ovf.write(engine, vm, secrets=engine.config["ovf_secrets"])


# Power -----------------------------------------------------------------------------------------

def guest_layers(engine, vm):
    """What a running guest opens."""
    layers = {}
    for disk_id, entry in vm["_attachments"].items():
        disk = engine.state["disks"][disk_id]
        if entry["active"] and disk["storage_type"] == "image" and not disk["shareable"]:
            top = disks.active_layer(disk)
            layers[disk_id] = (top["path"], top["format"])
    return layers


def power_on(engine, vm):
    """Starts the guest and tells."""
    guest = live.Guest(engine, vm["id"])
    guest.start(guest_layers(engine, vm))
    with engine.lock:
        engine.guests[vm["id"]] = guest
        hosts = [one for one in engine.state["hosts"].values() if one["status"] == "up"]
        vm["host"] = {"id": vm.get("_host") or hosts[0]["id"]}
        vm["start_time"] = wire.date(time.time())
        vm["status"] = "up"
    engine.save()


def power_off(engine, vm, crash=False):
    """Stops the guest, in order or as a crash does."""
    guest = engine.guests.pop(vm["id"], None)
    if guest is not None:
        guest.crash() if crash else guest.stop()
    with engine.lock:
        vm["status"] = "down"
        vm.pop("host", None)
        vm["stop_time"] = wire.date(time.time())
    engine.save()


def act(engine, vm, action):
    """POST /vms/ID/start and so on."""
    if action == "start":
        backups.refuse_if_running(vm, "run VM")
        if vm["status"] != "down":
            raise conflict(f"Cannot run VM. VM is running.")
        locked = [one for one in vm["_attachments"]
                  if engine.state["disks"][one].get("status") == "locked"]
        if locked:
            names = ", ".join(engine.state["disks"][one]["name"] for one in locked)
            raise conflict(f"Cannot run VM. The following disks are locked: {names}. "
                           "Please try again in a few minutes.")
        vm["status"] = "wait_for_launch"

        def work():
            engine.step("vm", "start")
            power_on(engine, vm)

        def failed(_error):
            vm["status"] = "down"
        engine.background("vm-start", work, failed)
        return
    if action == "migrate":
        return _migrate(engine, vm)
    words = {"stop": "stop VM", "shutdown": "shutdown VM", "suspend": "hibernate VM"}[action]
    backups.refuse_if_running(vm, words)
    if vm["status"] == "down":
        raise conflict(f"Cannot {words}. VM is not running.")
    vm["status"] = "saving_state" if action == "suspend" else "powering_down"

    def down():
        engine.step("vm", action)
        power_off(engine, vm)
        if action == "suspend":
            vm["status"] = "suspended"
    engine.background("vm-stop", down)


def _migrate(engine, vm):
    """To another host, as far as clients see it."""
    backups.refuse_if_running(vm, "migrate VM")
    if vm["status"] != "up":
        raise conflict("Cannot migrate VM. VM is not running.")
    vm["status"] = "migrating"

    def arrived(_error=None):
        engine.step("vm", "migrate")
        vm["status"] = "up"
    engine.background("vm-migrate", arrived)


# Making and removing ---------------------------------------------------------------------------

def _cluster(engine, given):
    if given.cluster is None or not (given.cluster.id or given.cluster.name):
        raise incomplete("Vm", "cluster.id|name", "add")
    for cluster in engine.state["clusters"].values():
        if given.cluster.id == cluster["id"] or (
                given.cluster.name and given.cluster.name == cluster["name"]):
            return cluster["id"]
    raise bad("Cannot add VM. Cluster ID is not valid.")


def _refuse_taken(engine, name, identifier=None):
    if identifier in engine.state["vms"]:
        raise conflict("Cannot add VM. VM ID already exists in the system.")
    if any(one["name"] == name for one in engine.state["vms"].values()):
        raise conflict("Cannot add VM. VM Name already exists in the Data Center.")


def add(engine, given):
    """POST /vms: plain, or from an OVF."""
    if given is None:
        raise incomplete("Vm", "name", "add")
    cluster = _cluster(engine, given)
    configuration = given.initialization.configuration if given.initialization else None
    if configuration is not None:
        return _import(engine, given, cluster, configuration)
    if not given.name:
        raise incomplete("Vm", "name", "add")
    _refuse_taken(engine, given.name)
    vm = new_vm(given.name, cluster)
    _apply(vm, given)
    engine.state["vms"][vm["id"]] = vm
    return vm


def _apply(vm, given):
    for name in ("name", "description", "comment", "memory", "delete_protected", "stateless"):
        if getattr(given, name) is not None:
            vm[name] = getattr(given, name)
    if given.cpu is not None and given.cpu.topology is not None:
        for name in ("cores", "sockets", "threads"):
            value = getattr(given.cpu.topology, name)
            if value is not None:
                vm["cpu"]["topology"][name] = value
    if given.os is not None and given.os.type is not None:
        vm["os"]["type"] = given.os.type
    if given.bios is not None and given.bios.type is not None:
        vm["bios"]["type"] = given.bios.type.value
    if given.initialization is not None and given.initialization.configuration is None:
        members = {name: getattr(given.initialization, name) for name in (
            "custom_script", "user_name", "host_name", "authorized_ssh_keys")}
        vm["initialization"] = {key: value for key, value in members.items() if value is not None}


def _import(engine, given, cluster, configuration):
    if configuration.type is None or configuration.data is None:
        raise incomplete("Vm", "initialization.configuration.type|data", "add")
    read = ovf.read(configuration.data)
    fresh = bool(given.initialization.regenerate_ids)
    name = given.name or read["name"]
    _refuse_taken(engine, name, None if fresh else read["id"])
    taken = {nic["mac"]["address"].lower() for vm in engine.state["vms"].values()
             for nic in vm["_nics"].values()}
    if not fresh and any(nic["mac"].lower() in taken for nic in read["nics"]):
        raise conflict("Cannot add VM. Importing this VM would create duplicates in target MAC "
                       "pool.")
    vm = new_vm(name, cluster, description=read["description"], comment=read["comment"],
                memory=read["memory"], stateless=read["stateless"],
                delete_protected=read["delete_protected"])
    vm["cpu"]["topology"] = read["topology"]
    vm["os"]["type"] = read["os"]
    if not fresh:
        vm["id"] = read["id"]
    given.initialization = None
    _apply(vm, given)
    for nic in read["nics"]:
        _import_nic(engine, vm, nic, fresh)
    engine.state["vms"][vm["id"]] = vm
    missing = [one["id"] for one in read["disks"] if not _attach_again(engine, vm, one)]
    if missing:
        engine.event(175, "warning", f"VM {name} has been imported from the given configuration "
                     "but the following disk(s) failed to attach: " + ", ".join(missing),
                     vm={"id": vm["id"]})
    else:
        engine.event(174, "normal", f"VM {name} has been successfully imported from the given "
                     "configuration.", vm={"id": vm["id"]})
    return vm


def _attach_again(engine, vm, wanted):
    disk = engine.state["disks"].get(wanted["id"])
    if disk is None or disks.vms_of(engine, wanted["id"]):
        return False
    interface = wanted["interface"] if wanted["interface"] in (
        "virtio", "virtio_scsi", "ide", "sata") else "virtio_scsi"
    vm["_attachments"][disk["id"]] = disks.attachment(bootable=wanted["bootable"],
                                                      interface=interface)
    return True


def update(engine, vm, given):
    """PUT /vms/ID."""
    backups.refuse_if_running(vm, "update VM")
    _apply(vm, given)
    return vm


def remove(engine, vm, detach_only):
    """DELETE /vms/ID."""
    backups.refuse_if_running(vm, "remove VM")
    if vm["status"] != "down":
        raise conflict("Cannot remove VM. VM is running.")
    if vm["delete_protected"]:
        raise conflict("Cannot remove VM. Delete protection is enabled. In order to delete, "
                       "disable Delete protection first.")
    own = [one for one in vm["_attachments"] if not engine.state["disks"][one]["shareable"]
           and engine.state["disks"][one]["storage_type"] == "image"]
    del engine.state["vms"][vm["id"]]
    if not detach_only:
        for disk_id in own:
            disks.forget(engine, disk_id)


# Network interfaces ----------------------------------------------------------------------------

def new_nic(engine, name, mac=None, profile=None, interface="virtio"):
    """A record of a network interface; without `mac`, one of the pool."""
    if mac is None:
        engine.state["counters"]["mac"] = engine.state["counters"].get("mac", 0) + 1
        mac = "56:6f:1a:00:00:%02x" % engine.state["counters"]["mac"]
    nic = {"id": new_id(), "name": name, "interface": interface, "linked": True, "plugged": True,
           "mac": {"address": mac}}
    if profile:
        nic["vnic_profile"] = {"id": profile["id"]}
        nic["_network"] = engine.get("networks", profile["network"]["id"])["name"]
    return nic


def _import_nic(engine, vm, wanted, fresh):
    profile = next((one for one in engine.state["vnicprofiles"].values()
                    if engine.get("networks", one["network"]["id"])["name"]
                    == wanted["network"]), None)
    nic = new_nic(engine, wanted["name"], None if fresh else wanted["mac"], profile)
    vm["_nics"][nic["id"]] = nic


def add_nic(engine, vm, given):
    """POST /vms/ID/nics."""
    if given is None or not given.name:
        raise incomplete("Nic", "name", "add")
    mac = given.mac.address.lower() if given.mac and given.mac.address else None
    if mac and any(nic["mac"]["address"] == mac for other in engine.state["vms"].values()
                   for nic in other["_nics"].values()):
        raise conflict(f"Cannot add Interface. MAC Address {mac} is already in use.")
    profile = engine.get("vnicprofiles", given.vnic_profile.id) if given.vnic_profile else None
    nic = new_nic(engine, given.name, mac, profile,
                  given.interface.value if given.interface else "virtio")
    vm["_nics"][nic["id"]] = nic
    return nic


def update_nic(engine, vm, nic_id, given):
    """PUT /vms/ID/nics/ID."""
    nic = vm["_nics"].get(nic_id)
    if nic is None:
        raise Missing("nic")
    if given.name:
        nic["name"] = given.name
    if given.mac and given.mac.address:
        nic["mac"] = {"address": given.mac.address.lower()}
    if given.vnic_profile:
        nic["vnic_profile"] = {"id": given.vnic_profile.id}
    return nic
