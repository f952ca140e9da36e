"""Bad networks, and what tests build for themselves."""

import http.client
import os
import ssl
import unittest
import urllib.parse

from lab_case import MIB, LabCase, sha256
from ovirt_imageio import client
from ovirtsdk4 import types

DOWN = types.ImageTransferDirection.DOWNLOAD


class Network(LabCase):
    """Between a client and the daemon."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.control, "relay", on=False)
        _, self.service = self.vm("web01")
        self.disk = self.disks(self.service)[0]
        self.path = os.path.join(self.work, "disk")

    def read(self, **named):
        """Downloads the disk in a backup of its own."""
        backup, backup_service = self.start_backup(self.service, [self.disk])
        transfer = self.start_transfer(self.disk, DOWN, backup)
        shown = transfer.get()
        try:
            client.download(shown.transfer_url, self.path, self.info["internal_ca_file"],
                            fmt="raw", proxy_url=shown.proxy_url, **named)
        finally:
            self.end_transfer(transfer)
            self.end_backup(backup_service)

    def test_a_connection_is_cut_in_the_middle_of_an_answer(self):
        self.control("relay", count=1, cut_after=MIB)
        backup, _ = self.start_backup(self.service, [self.disk])
        url = urllib.parse.urlsplit(self.start_transfer(self.disk, DOWN, backup).get().transfer_url)
        context = ssl.create_default_context(cafile=self.info["internal_ca_file"])

        def read():  # the official client would read through the local socket
            connection = http.client.HTTPSConnection(url.netloc, context=context, timeout=30)
            self.addCleanup(connection.close)
            connection.request("GET", url.path, headers={"Range": f"bytes=0-{4 * MIB - 1}"})
            return connection.getresponse().read()
        with self.assertRaises((http.client.IncompleteRead, OSError)):
            read()
        self.assertEqual(4 * MIB, len(read()))
        self.assertEqual(2, self.control("relay")["connections"])

    def test_a_host_that_cannot_be_reached_leaves_the_proxy(self):
        self.control("configure", transfer_address="127.0.0.1:1")
        self.read()
        self.assertEqual(self.truth(self.disk), sha256(self.path))

    def test_a_vm_made_by_a_test_has_the_given_data(self):
        source = os.path.join(self.work, "source")
        with open(source, "wb") as file:
            file.write(os.urandom(3 * MIB))
        made = self.control("add-vm", name="own", cluster="Default", stateless=True, disks=[
            {"source": source, "backup": "incremental"}, {"size": 8 * MIB, "format": "raw"}])
        vm, service = self.vm("own")
        self.addCleanup(service.remove)
        self.assertEqual((made["id"], True), (vm.id, vm.stateless))
        self.assertEqual(sha256(source), self.control("digest", disk=made["disks"][0])["sha256"])
        self.assertEqual(["own_Disk1", "own_Disk2"], [one.name for one in self.disks(service)])


if __name__ == "__main__":
    unittest.main()
