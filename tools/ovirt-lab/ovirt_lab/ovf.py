"""OVF in the engine's dialect: enough to save a VM and to make it again."""

import xml.etree.ElementTree as ET

from .faults import conflict

NAMESPACES = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1/",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance"}
for _prefix, _address in NAMESPACES.items():
    ET.register_namespace(_prefix, _address)
GIB = 1 << 30


def _name(prefix, tag):
    return f"{{{NAMESPACES[prefix]}}}{tag}"


def _item(section, kind, **values):
    item = ET.SubElement(section, "Item")
    ET.SubElement(item, _name("rasd", "ResourceType")).text = str(kind)
    for key, value in values.items():
        ET.SubElement(item, _name("rasd", key)).text = str(value)
    return item


def write(engine, vm, secrets=False):
    """The configuration of a VM; `secrets` adds the cloud-init block, as snapshots' OVFs do."""
    root = ET.Element(_name("ovf", "Envelope"), {_name("ovf", "version"): "4.4.0.0"})
    references = ET.SubElement(root, "References")
    section = ET.SubElement(root, "Section", {_name("xsi", "type"): "ovf:DiskSection_Type"})
    ET.SubElement(section, "Info").text = "List of Virtual Disks"
    content = ET.SubElement(root, "Content", {
        _name("ovf", "id"): "out", _name("xsi", "type"): "ovf:VirtualSystem_Type"})
    topology = vm["cpu"]["topology"]
    for tag, text in (
            ("Name", vm["name"]), ("Description", vm["description"]),
            ("Comment", vm["comment"]), ("CreationDate", vm["creation_time"]),
            ("DeleteProtected", str(vm["delete_protected"]).lower()),
            ("IsStateless", str(vm["stateless"]).lower()), ("Origin", vm["origin"]),
            ("ClusterName", engine.get("clusters", vm["cluster"]["id"])["name"]),
            ("TemplateId", "00000000-0000-0000-0000-000000000000"), ("TemplateName", "Blank")):
        ET.SubElement(content, tag).text = text
    if secrets and vm.get("initialization"):
        initialization = vm["initialization"]
        ET.SubElement(content, "VmInit", {
            _name("ovf", name): initialization.get(member) or "" for name, member in (
                ("customScript", "custom_script"), ("authorizedKeys", "authorized_ssh_keys"),
                ("rootPassword", "root_password"), ("winKey", "windows_license_key"))})
    system = ET.SubElement(content, "Section", {
        _name("ovf", "id"): vm["id"], _name("xsi", "type"): "ovf:OperatingSystemSection_Type"})
    ET.SubElement(system, "Description").text = vm["os"]["type"]
    hardware = ET.SubElement(content, "Section",
                             {_name("xsi", "type"): "ovf:VirtualHardwareSection_Type"})
    _item(hardware, 3, InstanceId=1, num_of_sockets=topology["sockets"],
          cpu_per_socket=topology["cores"], threads_per_cpu=topology["threads"])
    _item(hardware, 4, InstanceId=2, AllocationUnits="MegaBytes",
          VirtualQuantity=vm["memory"] >> 20)
    for disk_id, entry in vm["_attachments"].items():
        disk = engine.state["disks"][disk_id]
        if disk["storage_type"] == "image" and not disk["shareable"]:
            _write_disk(references, section, hardware, disk, entry)
    for nic in vm["_nics"].values():
        _item(hardware, 10, InstanceId=nic["id"], ElementName=nic["name"],
              Connection=nic.get("_network", ""), Name=nic["name"],
              MACAddress=nic["mac"]["address"])
    text = ET.tostring(root, encoding="unicode")
    return "<?xml version='1.0' encoding='UTF-8'?>" + text


def _write_disk(references, section, hardware, disk, entry):
    below = None
    for layer in disk["_layers"]:
        file = f"{disk['id']}/{layer['image']}"
        ET.SubElement(references, "File", {
            _name("ovf", "href"): file, _name("ovf", "id"): layer["image"],
            _name("ovf", "size"): str(disk["actual_size"])})
        ET.SubElement(section, "Disk", {_name("ovf", key): value for key, value in {
            "diskId": layer["image"], "size": str(-(-disk["provisioned_size"] // GIB)),
            "capacity": str(disk["provisioned_size"]), "fileRef": file,
            "parentRef": below or "", "vm_snapshot_id": layer.get("snapshot") or "",
            "volume-format": layer["format"].upper(),
            "volume-type": "Sparse" if disk["sparse"] else "Preallocated",
            "disk-interface": {"virtio": "VirtIO", "virtio_scsi": "VirtIO_SCSI"}.get(
                entry["interface"], entry["interface"].upper()),
            "boot": str(entry["bootable"]).lower(), "disk-alias": disk["name"],
            "incremental-backup": str(disk["backup"] == "incremental").lower()}.items()})
        below = file
    _item(hardware, 17, InstanceId=disk["_layers"][-1]["image"], ElementName=disk["name"],
          HostResource=f"{disk['id']}/{disk['_layers'][-1]['image']}",
          BootOrder="1" if entry["bootable"] else "0")


def _text(element, path, otherwise=""):
    found = element.find(path, NAMESPACES)
    return otherwise if found is None or found.text is None else found.text


def read(text):
    """What a VM is made of: name, id, memory, CPUs, ids of disks, NICs."""
    try:
        root = ET.fromstring(text.encode() if isinstance(text, str) else text)
    except ET.ParseError:
        root = None
    content = root.find("Content") if root is not None else None
    if content is None:
        raise conflict("Cannot add VM. The OVF configuration could not be parsed.")
    kind = _name("xsi", "type")
    sections = {one.get(kind): one for one in content.findall("Section")}
    system = sections.get("ovf:OperatingSystemSection_Type")
    hardware = sections.get("ovf:VirtualHardwareSection_Type")
    if hardware is None or system is None:
        raise conflict("Cannot add VM. The OVF configuration could not be parsed.")
    vm = {"id": system.get(_name("ovf", "id")), "os": _text(system, "Description", "other"),
          "name": _text(content, "Name"), "description": _text(content, "Description"),
          "comment": _text(content, "Comment"),
          "delete_protected": _text(content, "DeleteProtected") == "true",
          "stateless": _text(content, "IsStateless") == "true",
          "memory": 1 << 30, "topology": {"sockets": 1, "cores": 1, "threads": 1},
          "disks": [], "nics": []}
    boot = {one.get(_name("ovf", "fileRef")): one for one in root.iter("Disk")}
    for item in hardware.findall("Item"):
        _read_item(vm, item, boot)
    return vm


def _read_item(vm, item, boot):
    kind = _text(item, "rasd:ResourceType")
    if kind == "3":
        for key, tag in (("sockets", "num_of_sockets"), ("cores", "cpu_per_socket"),
                         ("threads", "threads_per_cpu")):
            vm["topology"][key] = int(_text(item, "rasd:" + tag, "1"))
    elif kind == "4":
        vm["memory"] = int(_text(item, "rasd:VirtualQuantity", "1024")) << 20
    elif kind == "17":
        reference = _text(item, "rasd:HostResource")
        entry = boot.get(reference)
        attributes = {} if entry is None else entry.attrib
        vm["disks"].append({
            "id": reference.split("/")[0],
            "bootable": attributes.get(_name("ovf", "boot")) == "true",
            "interface": attributes.get(_name("ovf", "disk-interface"), "virtio_scsi").lower()})
    elif kind == "10":
        vm["nics"].append({"name": _text(item, "rasd:Name"),
                           "network": _text(item, "rasd:Connection"),
                           "mac": _text(item, "rasd:MACAddress")})
