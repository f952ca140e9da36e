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


class Middleman(LabCase):
    """Between a client on another machine and the daemon."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.control, "watch-transfers", on=False)
        _, self.service = self.vm("web01")
        self.disk = self.disks(self.service)[0]
        self.control("watch-transfers")
        self.backup, self.backup_service = self.start_backup(self.service, [self.disk])
        self.transfer = self.start_transfer(self.disk, DOWN, self.backup)
        self.url = urllib.parse.urlsplit(self.transfer.get().transfer_url)

    def ask(self, method="GET", tail="", **headers):
        """One request on a connection of its own: status and body."""
        context = ssl.create_default_context(cafile=self.info["internal_ca_file"])
        connection = http.client.HTTPSConnection(self.url.netloc, context=context, timeout=5)
        self.addCleanup(connection.close)
        connection.request(method, self.url.path + tail, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()

    def test_an_unchanged_client_reads_through_it_and_every_byte_is_counted(self):
        path = os.path.join(self.work, "disk")
        client.download(self.url.geturl(), path, self.info["internal_ca_file"], fmt="raw")
        self.assertEqual(self.truth(self.disk), sha256(path))
        seen = self.control("transfer-requests")
        ticket = self.url.path.rpartition("/")[2]
        reads = [one for one in seen["requests"] if one["range"]]
        bodies = sum(int(last) - int(first) + 1 for first, last in (
            one["range"].removeprefix("bytes=").split("-") for one in reads))
        total = seen["totals"][ticket]["received"]
        self.assertLess(bodies, total)
        self.assertLess(total, bodies + 2000 * len(seen["requests"]))
        self.assertNotIn(b"unix_socket", self.ask("OPTIONS")[1])

    def test_answers_are_spoilt_as_ordered_and_only_as_often(self):
        good = self.ask(Range="bytes=0-1048575")
        self.assertEqual((206, MIB), (good[0], len(good[1])))
        self.control("fail-transfers", cut=100000)
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.ask(Range="bytes=0-1048575")
        self.assertEqual(good[1][:100000], caught.exception.partial)
        self.control("fail-transfers", reset=100000)
        with self.assertRaises((ConnectionResetError, http.client.IncompleteRead)):
            self.ask(Range="bytes=0-1048575")
        self.control("fail-transfers", stall=100000, seconds=6)
        with self.assertRaises(TimeoutError):
            self.ask(Range="bytes=0-1048575")
        self.control("fail-transfers", corrupt=5)
        self.assertEqual([5], [place for place, (one, other) in enumerate(
            zip(good[1], self.ask(Range="bytes=0-1048575")[1])) if one != other])
        self.control("fail-transfers", path="/extents", status=503, count=2)
        self.assertEqual([503, 503, 200], [self.ask(tail="/extents")[0] for _ in range(3)])
        self.control("watch-transfers", old=True)
        self.assertEqual(404, self.ask(tail="/extents")[0])
        self.assertEqual(good, self.ask(Range="bytes=0-1048575"))

    def test_a_ticket_whose_time_is_over_is_extended_when_the_engine_looks_again(self):
        self.control("configure", poll_seconds=1)
        self.addCleanup(self.control, "configure", poll_seconds=0.25)
        self.ask("OPTIONS")
        self.control("expire-ticket", transfer=self.transfer.get().id, gone=False)
        status, body = self.ask(tail="/extents")
        self.assertEqual((403, True), (status, b"expired" in body))
        self.wait(lambda: self.ask(tail="/extents")[0], [200])

    def test_a_socket_on_the_same_machine_has_an_abstract_name(self):
        self.control("watch-transfers", on=False)
        other = self.start_transfer(self.disk, DOWN, self.backup)
        self.url = urllib.parse.urlsplit(other.get().transfer_url)
        self.assertIn(b'"unix_socket": "\\u0000/org/ovirt/imageio', self.ask("OPTIONS")[1])


if __name__ == "__main__":
    unittest.main()
