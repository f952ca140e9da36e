"""The SDK's own example programs, unchanged: what administrators run against a real engine."""

import glob
import os
import re
import subprocess
import sys
import unittest

from lab_case import MIB, LabCase, sha256
from ovirt_lab import install


class Examples(LabCase):
    """backup_vm.py, upload_disk.py, download_disk.py."""

    def setUp(self):
        super().setUp()
        os.makedirs(os.path.join(self.work, ".config"))
        with open(self.info["password_file"], encoding="utf-8") as file:
            password = file.read()
        with open(os.path.join(self.work, ".config", "ovirt.conf"), "w", encoding="utf-8") as file:
            file.write(f"[lab]\nengine_url = {self.info['engine_url'].rpartition('/')[0]}\n"
                       f"username = {self.info['user']}\npassword = {password}\n"
                       f"cafile = {self.info['ca_bundle_file']}\n")

    def example(self, name, *arguments):
        """Runs an example; its output."""
        program = os.path.join(install.sdk_examples(), name)
        done = subprocess.run([sys.executable, program, "-c", "lab", *arguments], cwd=self.work,
                              env={**os.environ, "HOME": self.work}, text=True,
                              capture_output=True, check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def whole(self, image):
        """A digest of the contents of an image."""
        raw = os.path.join(self.work, "whole.raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
        return sha256(raw)

    def test_backup_vm_full_and_incremental(self):
        vm, service = self.vm("web01")
        disks = self.disks(service)
        words = self.example("backup_vm.py", "full", vm.id, "--backup-dir", self.work)
        checkpoint = re.search("Created checkpoint '(.*)'", words).group(1)
        for disk in disks:
            found, = glob.glob(f"{self.work}/*{checkpoint}.{disk.id}.full.qcow2")
            self.assertEqual(self.truth(disk), self.whole(found))
        self.control("write", disk=disks[0].id, changes=[
            {"offset": 11 * MIB, "length": MIB, "pattern": 0xe1},
            {"op": "discard", "offset": 0, "length": MIB}])
        words = self.example("backup_vm.py", "incremental", vm.id, "--backup-dir", self.work,
                             "--from-checkpoint-uuid", checkpoint)
        self.assertIn("Incremental backup not available for disk %r" % disks[1].id, words)
        later = re.search("Created checkpoint '(.*)'", words).group(1)
        found, = glob.glob(f"{self.work}/*{later}.{disks[0].id}.incremental.qcow2")
        self.assertLess(os.path.getsize(found), 3 * MIB)
        self.assertEqual(self.truth(disks[0]), self.whole(found))

    def test_upload_disk_and_download_disk(self):
        path = os.path.join(self.work, "disk.raw")
        with open(path, "wb") as file:
            file.truncate(24 * MIB)
            file.seek(5 * MIB)
            file.write(os.urandom(2 * MIB))
        words = self.example("upload_disk.py", "--disk-format", "qcow2", "--disk-sparse",
                             "--enable-backup", "--sd-name", "data", path)
        disk = re.search("Disk ID: (.*)|disk (?:id|ID):? *'?([-0-9a-f]{36})", words)
        identifier = disk.group(1) or disk.group(2)
        self.addCleanup(self.system.disks_service().disk_service(identifier).remove)
        copy = os.path.join(self.work, "copy.raw")
        self.example("download_disk.py", "-f", "raw", identifier, copy)
        self.assertEqual(sha256(path), sha256(copy))


if __name__ == "__main__":
    unittest.main()
