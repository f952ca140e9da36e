"""Backups of running VMs: the guest writes all the time."""

import os
import subprocess
import time
import unittest

import ovirtsdk4
from lab_case import HAS_GUESTS, MIB, LabCase, sha256
from ovirt_imageio import client
from ovirtsdk4 import types


@unittest.skipUnless(HAS_GUESTS, "no qemu-storage-daemon on this machine")
class Live(LabCase):
    """Fleecing, checkpoints, crashes."""

    def run_vm(self, name):
        vm, service = self.vm(name)
        self.control("start-vm", vm=name)
        self.addCleanup(self.control, "stop-vm", vm=name)
        self.assertEqual(types.VmStatus.UP, service.get().status)
        return vm, service

    def read(self, disk, backup, path, previous=None):
        """Reads one disk of a backup into `path`, whole or on top of `previous`."""
        if previous is None:
            self.download(disk, backup, path)
            return
        layer = path + ".layer"
        self.download(disk, backup, layer, incremental=True)
        subprocess.run(["qemu-img", "rebase", "-u", "-b", previous, "-F", "raw", layer], check=True)
        subprocess.run(["qemu-img", "convert", "-O", "raw", layer, path], check=True)

    def test_backups_of_a_writing_guest_show_one_instant(self):
        _, service = self.run_vm("db01")
        self.control("configure", references=True)
        disks = self.disks(service)
        checkpoint, previous = None, {}
        for cycle in range(3):
            self.control("guest-writer", vm="db01", on=True)
            time.sleep(0.3)
            backup, backup_service = self.start_backup(service, disks, checkpoint)
            self.assertIsNotNone(backup.host)
            for disk in disks:
                path = os.path.join(self.work, f"{disk.name}-{cycle}")
                self.read(disk, backup, path, previous.get(disk.id))
                truth = self.control("reference", backup=backup.id, disk=disk.id)
                self.assertEqual(truth["sha256"], sha256(path), f"cycle {cycle}")
                previous[disk.id] = path
            self.end_backup(backup_service)
            checkpoint = backup.to_checkpoint_id
        self.assertGreater(self.control("guest-writer", vm="db01", on=False)["writes"], 100)

    def test_checkpoints_survive_an_orderly_shutdown(self):
        _, service = self.vm("db01")
        disk = self.disks(service)[0]
        base = os.path.join(self.work, "base")
        checkpoint = self.full(service, disk, base)
        self.run_vm("db01")
        self.control("write", disk=disk.id, changes=[
            {"offset": 7 * MIB, "length": 65536, "pattern": 0x55}])
        self.control("stop-vm", vm="db01")
        backup, backup_service = self.start_backup(service, [disk], checkpoint)
        path = os.path.join(self.work, "whole")
        self.read(disk, backup, path, base)
        self.end_backup(backup_service)
        self.assertEqual(self.truth(disk), sha256(path))

    def test_a_crash_costs_all_checkpoints_and_asks_for_a_full_backup(self):
        vm, service = self.run_vm("db01")
        disk = self.disks(service)[0]
        path = os.path.join(self.work, "disk")
        checkpoint = self.full(service, disk, path)
        self.control("stop-vm", vm="db01", crash=True)
        self.control("start-vm", vm="db01")
        backup, backup_service = self.start_backup(service, [disk], checkpoint, ready=False)
        self.wait(lambda: backup_service.get().phase, [types.BackupPhase.FAILED])
        self.assertEqual([], service.checkpoints_service().list())
        events = self.system.events_service().list(search=backup.id)
        self.assertIn(10791, [one.code for one in events])
        self.full(service, disk, path)

    def test_a_guest_that_dies_ends_the_transfer(self):
        _, service = self.run_vm("db01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        self.control("stop-vm", vm="db01", crash=True)
        with self.assertRaisesRegex(Exception, "Server failed to perform the request"):
            client.download(transfer.get().transfer_url, os.path.join(self.work, "x"),
                            self.info["internal_ca_file"], fmt="raw")
        transfer.cancel()
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.FINISHED_FAILURE])
        self.end_backup(backup_service)

    def test_hybrid_backups_of_a_running_and_of_a_stopped_vm(self):
        _, service = self.vm("modern01")
        disk = self.disks(service)[0]
        checkpoint, previous = None, None
        for cycle, running in enumerate((False, True, True, False)):
            if running:
                self.control("start-vm", vm="modern01")
            backup, backup_service = self.start_backup(service, [disk], checkpoint)
            self.assertIsNotNone(backup.snapshot)
            path = os.path.join(self.work, f"hybrid-{cycle}")
            change = [{"offset": (cycle + 9) * MIB, "length": 65536, "pattern": 0x60 + cycle}]
            if running:
                self.control("write", disk=disk.id, changes=change)
            self.read(disk, backup, path, previous)
            self.end_backup(backup_service)
            if running:
                self.control("stop-vm", vm="modern01")
            else:
                self.assertEqual(self.truth(disk), sha256(path), f"cycle {cycle}")
                self.control("write", disk=disk.id, changes=change)
            checkpoint, previous = backup.to_checkpoint_id, path
        self.assertEqual(1, len(service.snapshots_service().list()))

    def test_a_hybrid_backup_allows_migration_and_no_other_allows_anything(self):
        for name, hybrid in (("modern01", True), ("db01", False)):
            _, service = self.run_vm(name)
            disk = self.disks(service)[0]
            _, backup_service = self.start_backup(service, [disk])
            with self.assertRaisesRegex(ovirtsdk4.Error, "during a backup operation"):
                service.snapshots_service().add(types.Snapshot(description="by hand"))
            if hybrid:
                service.migrate()
                self.assertEqual(types.VmStatus.MIGRATING, service.get().status)
                self.wait(lambda: service.get().status, [types.VmStatus.UP])
            else:
                with self.assertRaisesRegex(ovirtsdk4.Error, "during a backup operation"):
                    service.migrate()
            self.end_backup(backup_service)


if __name__ == "__main__":
    unittest.main()
