"""Full and incremental backups of stopped VMs, by oVirt's own clients."""

import os
import subprocess
import unittest

from lab_case import MIB, LabCase, sha256
from ovirt_imageio import client
from ovirtsdk4 import types


class Backup(LabCase):
    """The main job."""

    def test_a_full_backup_equals_the_disks(self):
        vm, service = self.vm("web01")
        disks = self.disks(service)
        backup, backup_service = self.start_backup(service, disks)
        self.assertIsNone(backup.host)
        self.assertEqual(vm.id, backup.vm.id)
        modes = {one.name: one.backup_mode for one in backup_service.disks_service().list()}
        self.assertEqual({"web01_Disk1": types.DiskBackupMode.FULL,
                          "web01_Disk2": types.DiskBackupMode.FULL}, modes)
        for disk in disks:
            path = os.path.join(self.work, disk.name)
            self.download(disk, backup, path)
            self.assertEqual(self.truth(disk), sha256(path))
        self.end_backup(backup_service)
        found = [one.id for one in service.checkpoints_service().list()]
        self.assertIn(backup.to_checkpoint_id, found)

    def test_an_incremental_backup_holds_what_was_written_and_no_more(self):
        _, service = self.vm("web01")
        cow, raw = self.disks(service)
        base = os.path.join(self.work, "base.raw")
        checkpoint = self.full(service, cow, base)
        self.control("write", disk=cow.id, changes=[
            {"offset": 5 * MIB, "length": 65536, "pattern": 0x99},
            {"op": "zero", "offset": 0, "length": 65536}])
        backup, backup_service = self.start_backup(service, [cow, raw], checkpoint)
        modes = {one.id: one.backup_mode for one in backup_service.disks_service().list()}
        self.assertEqual({cow.id: types.DiskBackupMode.INCREMENTAL,
                          raw.id: types.DiskBackupMode.FULL}, modes)
        transfer = self.start_transfer(cow, types.ImageTransferDirection.DOWNLOAD, backup)
        with client.ImageioClient(transfer.get().transfer_url,
                                  self.info["internal_ca_file"]) as reader:
            extents = list(reader.extents("dirty"))
        layer = os.path.join(self.work, "layer.qcow2")
        client.download(transfer.get().transfer_url, layer, self.info["internal_ca_file"],
                        incremental=True, backing_file=base, backing_format="raw")
        self.end_transfer(transfer)
        self.end_backup(backup_service)
        whole = os.path.join(self.work, "whole.raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", layer, whole], check=True)
        self.assertEqual(self.truth(cow), sha256(whole))
        self.assertEqual([(0, 65536, True), (5 * MIB, 65536, False)], [
            (one.start, one.length, one.zero) for one in extents if one.dirty])


if __name__ == "__main__":
    unittest.main()
