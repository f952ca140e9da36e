"""What the tests share: one lab for all of them, the official SDK's connection, the official
transfer client."""

import atexit
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import ovirtsdk4
from ovirt_imageio import client
from ovirtsdk4 import types

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(HOME, "ovirt-lab")
MIB = 1 << 20
HAS_GUESTS = shutil.which("qemu-storage-daemon") is not None
_labs = {}


def program(*arguments):
    """Runs the lab's program."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ovirt-lab {arguments}: {done.stderr}")
    return done.stdout


def lab():
    """The running lab, started at the first use."""
    if "info" not in _labs:
        base = tempfile.mkdtemp(prefix="lab-", dir="/tmp")
        directory = os.path.join(base, "l")

        def end():
            program("down", "--dir", directory)
            shutil.rmtree(base)
        atexit.register(end)
        _labs["info"] = json.loads(program("up", "--dir", directory))
        _labs["base"] = base
    return _labs["info"]


class LabCase(unittest.TestCase):
    """A test against the running lab."""

    maxDiff = None

    def setUp(self):
        self.info = lab()
        self.work = tempfile.mkdtemp(dir=_labs["base"])
        self.control("clear-faults")
        self.control("configure", engine_version="4.5.6", token_seconds=None,
                     token_requests=None, transfer_address=None, references=False)
        self.connection = self.connect()
        self.addCleanup(self.connection.close)
        self.system = self.connection.system_service()

    def connect(self):
        """The official SDK, unchanged."""
        with open(self.info["password_file"], encoding="utf-8") as file:
            return ovirtsdk4.Connection(
                url=self.info["api_url"], username=self.info["user"], password=file.read(),
                ca_file=self.info["api_ca_file"])

    def control(self, operation, **values):
        """An operation of the control endpoint; `state` and `requests` only look."""
        url = f"{self.info['control_url']}/{operation}"
        looks = operation in ("state", "requests")
        body = None if looks else json.dumps(values).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{operation}: {error.read().decode()}") from None

    def http(self, method, path, body=None, accept="application/json", token=None, **headers):
        """A bare request to the engine: status, headers, body."""
        request = urllib.request.Request(
            self.info["engine_url"] + path, body, method=method, headers={
                "Accept": accept, "Authorization": "Bearer " + (
                    token or self.connection.authenticate()), **headers})
        context = ssl.create_default_context(cafile=self.info["api_ca_file"])
        try:
            with urllib.request.urlopen(request, context=context) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def vm(self, name):
        """A VM of the inventory, and its service."""
        found = self.system.vms_service().list(search=f"name={name}")
        self.assertEqual([name], [one.name for one in found])
        return found[0], self.system.vms_service().vm_service(found[0].id)

    def disks(self, vm_service):
        """The VM's disks, in the order of their names."""
        attached = vm_service.disk_attachments_service().list()
        found = [self.connection.follow_link(one.disk) for one in attached]
        return sorted(found, key=lambda disk: disk.name)

    def wait(self, look, wanted, seconds=30):
        """Polls until `look()` is in `wanted`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = look()
            if found in wanted:
                return found
            time.sleep(0.05)
        self.fail(f"still {found}, not {wanted}")

    # Backups -----------------------------------------------------------------------------------

    def start_backup(self, vm_service, disks, previous=None, ready=True, **query):
        """A backup, ready to be read."""
        backup = vm_service.backups_service().add(types.Backup(
            disks=disks, from_checkpoint_id=previous, description="selftest"), query=query)
        service = vm_service.backups_service().backup_service(backup.id)
        self.addCleanup(self.control, "settle")
        if ready:
            self.wait(lambda: service.get().phase, [types.BackupPhase.READY])
            return service.get(), service
        return backup, service

    def end_backup(self, service):
        """Finalizes, and waits for success."""
        service.finalize()
        self.wait(lambda: service.get().phase, [types.BackupPhase.SUCCEEDED])

    def start_transfer(self, disk, direction, backup=None, phase=None, **members):
        """A transfer, ready to be used."""
        transfers = self.system.image_transfers_service()
        transfer = transfers.add(types.ImageTransfer(
            disk=types.Disk(id=disk.id), backup=backup and types.Backup(id=backup.id),
            direction=direction, format=types.DiskFormat.RAW, **members))
        service = transfers.image_transfer_service(transfer.id)
        self.wait(lambda: service.get().phase, [phase or types.ImageTransferPhase.TRANSFERRING])
        return service

    def end_transfer(self, service):
        """Finalizes, and waits for success."""
        service.finalize()
        self.wait(lambda: service.get().phase, [types.ImageTransferPhase.FINISHED_SUCCESS])

    def download(self, disk, backup, path, incremental=False, url=None):
        """What oVirt's own client makes of a disk in a backup."""
        service = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        transfer = service.get()
        client.download(url or transfer.transfer_url, path, self.info["internal_ca_file"],
                        fmt="raw" if not incremental else "qcow2", incremental=incremental)
        self.end_transfer(service)

    def full(self, vm_service, disk, path):
        """A whole full backup of one disk: its checkpoint."""
        backup, service = self.start_backup(vm_service, [disk])
        self.download(disk, backup, path)
        self.end_backup(service)
        return backup.to_checkpoint_id

    def truth(self, disk):
        """The lab's own digest of a stopped VM's disk."""
        return self.control("digest", disk=disk.id)["sha256"]


def sha256(path):
    """Digest of a file."""
    return subprocess.check_output(["sha256sum", path], text=True).split()[0]
