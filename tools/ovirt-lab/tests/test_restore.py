"""Uploads, new disks, VMs from OVF."""

import os
import random
import unittest

import ovirtsdk4
from lab_case import MIB, LabCase, sha256
from ovirt_imageio import client
from ovirtsdk4 import types

UP = types.ImageTransferDirection.UPLOAD


class Restore(LabCase):
    """The way back."""

    def new_disk(self, name, size, **members):
        """A disk that is ready."""
        kind = members.pop("format", types.DiskFormat.COW)
        disk = self.system.disks_service().add(types.Disk(
            name=name, format=kind, provisioned_size=size, sparse=True,
            storage_domains=[types.StorageDomain(name="data")], **members))
        self.assertEqual(types.DiskStatus.LOCKED, disk.status)
        service = self.system.disks_service().disk_service(disk.id)
        self.wait(lambda: service.get().status, [types.DiskStatus.OK])
        self.addCleanup(self.remove, service)
        return service.get()

    @staticmethod
    def remove(service):
        try:
            service.remove()
        except ovirtsdk4.NotFoundError:
            pass

    def source(self, size):
        path = os.path.join(self.work, "source.raw")
        with open(path, "wb") as file:
            file.truncate(size)
            for offset in (0, 3 * MIB + 512, size - 4096):
                file.seek(offset)
                file.write(random.Random(offset).randbytes(4096))
        return path

    def test_an_upload_makes_the_disk_equal_to_the_file(self):
        path = self.source(20 * MIB)
        for kind in (types.DiskFormat.COW, types.DiskFormat.RAW):
            disk = self.new_disk("restored", 20 * MIB, format=kind)
            transfer = self.start_transfer(disk, UP)
            service = self.system.disks_service().disk_service(disk.id)
            self.assertEqual(types.DiskStatus.LOCKED, service.get().status)
            client.upload(path, transfer.get().transfer_url, self.info["internal_ca_file"])
            self.end_transfer(transfer)
            self.assertEqual(types.DiskStatus.OK, service.get().status)
            self.assertEqual(sha256(path), self.truth(disk))

    def test_the_proxy_and_the_second_host_carry_data_too(self):
        path = self.source(16 * MIB)
        disk = self.new_disk("proxied", 16 * MIB)
        transfer = self.start_transfer(disk, UP)
        client.upload(path, transfer.get().proxy_url, self.info["internal_ca_file"])
        self.end_transfer(transfer)
        self.assertEqual(sha256(path), self.truth(disk))
        hosts = self.system.hosts_service().list(search="name=host2")
        if not hosts:
            self.skipTest("no IPv6 on this machine")
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD,
                                       host=types.Host(id=hosts[0].id))
        self.assertIn("https://[::1]:", transfer.get().transfer_url)
        copy = os.path.join(self.work, "copy")
        client.download(transfer.get().transfer_url, copy, self.info["internal_ca_file"],
                        fmt="raw")
        self.end_transfer(transfer)
        self.assertEqual(sha256(path), sha256(copy))

    def test_an_upload_can_pause_and_go_on_with_a_new_ticket(self):
        disk = self.new_disk("paused", 16 * MIB)
        transfer = self.start_transfer(disk, UP)
        first = transfer.get().transfer_url
        transfer.pause()
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.PAUSED_USER])
        self.wait(lambda: transfer.get().transfer_url, [None])
        transfer.resume()
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.TRANSFERRING])
        self.assertNotEqual(first, transfer.get().transfer_url)
        self.end_transfer(transfer)
        with self.assertRaisesRegex(ovirtsdk4.Error, "not in a paused state"):
            transfer.resume()

    def test_a_cancelled_upload_takes_the_disk_with_it(self):
        disk = self.new_disk("doomed", 16 * MIB)
        transfer = self.start_transfer(disk, UP)
        transfer.cancel()
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.FINISHED_FAILURE])
        with self.assertRaises(ovirtsdk4.NotFoundError):
            self.system.disks_service().disk_service(disk.id).get()

    def test_an_idle_upload_is_paused_by_the_system(self):
        disk = self.new_disk("idle", 16 * MIB)
        transfer = self.start_transfer(disk, UP, inactivity_timeout=1)
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.PAUSED_SYSTEM])
        transfer.cancel()
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.FINISHED_FAILURE])

    def test_a_vm_comes_back_from_its_ovf_with_its_disks(self):
        vm, service = self.vm("web01")
        whole = self.system.vms_service().list(search="name=web01", all_content=True)[0]
        text = whole.initialization.configuration.data
        configuration = types.Initialization(
            regenerate_ids=True, configuration=types.Configuration(
                type=types.ConfigurationType.OVF, data=text))
        vms = self.system.vms_service()
        with self.assertRaisesRegex(ovirtsdk4.Error, "VM ID already exists in the system"):
            vms.add(types.Vm(cluster=types.Cluster(name="Default"),
                             initialization=types.Initialization(
                                 configuration=configuration.configuration)))
        made = vms.add(types.Vm(name="web01-restored", cluster=types.Cluster(name="Default"),
                                initialization=configuration))
        restored = vms.vm_service(made.id)
        self.addCleanup(restored.remove, detach_only=True)
        self.assertNotEqual(vm.id, made.id)
        self.assertEqual(vm.memory, made.memory)
        self.assertEqual([], restored.disk_attachments_service().list())
        macs = {one.mac.address for one in restored.nics_service().list()}
        self.assertFalse(macs & {one.mac.address for one in service.nics_service().list()})
        disk = self.new_disk("web01-restored_Disk1", 16 * MIB, backup=types.DiskBackup.INCREMENTAL)
        attached = restored.disk_attachments_service().add(types.DiskAttachment(
            disk=types.Disk(id=disk.id), interface=types.DiskInterface.VIRTIO_SCSI,
            bootable=True, active=True))
        self.assertEqual(disk.id, attached.id)

    def test_snapshots_carry_the_bitmaps(self):
        _, service = self.vm("preview01")
        self.control("preview", vm="preview01", on=False)
        disk = self.disks(service)[0]
        base = os.path.join(self.work, "base")
        checkpoint = self.full(service, disk, base)
        snapshots = service.snapshots_service()
        snapshot = snapshots.add(types.Snapshot(description="by hand"))
        one = snapshots.snapshot_service(snapshot.id)
        self.wait(lambda: one.get().snapshot_status, [types.SnapshotStatus.OK])
        for step in (1, 2):
            self.control("write", disk=disk.id, changes=[
                {"offset": step * MIB, "length": 65536, "pattern": step}])
            backup, backup_service = self.start_backup(service, [disk], checkpoint)
            transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
            with client.ImageioClient(transfer.get().transfer_url,
                                      self.info["internal_ca_file"]) as reader:
                dirty = [extent.start for extent in reader.extents("dirty") if extent.dirty]
            self.assertEqual([MIB, 2 * MIB][:step], dirty)
            self.end_transfer(transfer)
            self.end_backup(backup_service)
            if step == 1:
                one.remove()
                self.wait(lambda: snapshot.id in [each.id for each in snapshots.list()], [False])


if __name__ == "__main__":
    unittest.main()
