"""Starting, stopping, dying."""

import json
import os
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

from lab_case import HAS_GUESTS, PROGRAM, LabCase, program, sha256
from ovirt_imageio import client
from ovirt_lab.procs import Processes, start_time
from ovirtsdk4 import types


class Lifecycle(LabCase):
    """A second lab beside the first, killed in many ways."""

    def setUp(self):
        super().setUp()
        self.second = os.path.join(self.work, "s")
        self.addCleanup(program, "down", "--dir", self.second)

    def state(self, info):
        with urllib.request.urlopen(info["control_url"] + "/state") as response:
            return json.load(response)

    def test_two_labs_and_each_goes_alone(self):
        info = json.loads(program("up", "--dir", self.second, "--no-ipv6"))
        self.assertIsNone(info["engine_url_ipv6"])
        self.assertEqual(info, json.loads(program("up", "--dir", self.second)))
        self.assertEqual(info, json.loads(program("info", "--dir", self.second)))
        pids = [Processes(self.second).record(name)["pid"]
                for name in Processes(self.second).names()]
        self.assertEqual(3, len(pids))
        program("down", "--dir", self.second, "--purge")
        self.assertEqual([None] * 3, [start_time(pid) for pid in pids])
        self.assertFalse(os.path.exists(self.second))
        self.assertTrue(self.connection.test())

    def test_a_killed_engine_comes_back_with_its_state(self):
        info = json.loads(program("up", "--dir", self.second))
        before = self.state(info)
        processes = Processes(self.second)
        os.kill(processes.record("engine")["pid"], signal.SIGKILL)
        while processes.alive("engine"):
            time.sleep(0.01)
        done = subprocess.run([PROGRAM, "status", "--dir", self.second], check=False,
                              capture_output=True)
        self.assertEqual(3, done.returncode)
        program("up", "--dir", self.second)
        after = self.state(info)
        self.assertEqual(before["vms"].keys(), after["vms"].keys())
        self.assertEqual(before["disks"], after["disks"])

    def in_second(self):
        """Talks to a second lab from now on."""
        self.info = json.loads(program("up", "--dir", self.second))
        self.connection = self.connect()
        self.addCleanup(self.connection.close)
        self.system = self.connection.system_service()

    def kill_engine(self):
        """Kills the second lab's engine and starts it again."""
        processes = Processes(self.second)
        os.kill(processes.record("engine")["pid"], signal.SIGKILL)
        while processes.alive("engine"):
            time.sleep(0.01)
        running = [name for name in processes.names() if processes.alive(name)]
        program("up", "--dir", self.second)
        return running

    def test_an_engine_that_dies_in_a_backup_fails_it_when_it_is_back(self):
        self.in_second()
        _, service = self.vm("web01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        export = [name for name in self.kill_engine() if name.startswith("nbd-")]
        self.assertEqual(1, len(export))
        self.assertFalse(Processes(self.second).alive(export[0]))
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.FINISHED_FAILURE])
        self.assertEqual(types.BackupPhase.FAILED, backup_service.get().phase)
        self.assertEqual(types.DiskStatus.OK, self.disks(service)[0].status)
        events = self.system.events_service().list(search=backup.id)
        self.assertIn(10814, [one.code for one in events])

    @unittest.skipUnless(HAS_GUESTS, "no qemu-storage-daemon on this machine")
    def test_guests_go_on_without_an_engine_and_so_may_their_backups(self):
        self.in_second()
        self.control("start-vm", vm="db01")
        _, service = self.vm("db01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        self.kill_engine()
        self.assertEqual(types.VmStatus.UP, service.get().status)
        self.assertEqual(types.BackupPhase.FAILED, backup_service.get().phase)
        self.control("configure", restart_forgets=False)
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        old = self.connection.authenticate()
        self.kill_engine()
        self.assertEqual(401, self.http("GET", "/api", token=old)[0])
        path = os.path.join(self.work, "disk")
        client.download(transfer.get().transfer_url, path, self.info["internal_ca_file"],
                        fmt="raw")
        self.end_transfer(transfer)
        self.end_backup(backup_service)
        self.control("stop-vm", vm="db01")
        self.assertEqual(self.truth(disk), sha256(path))

    def test_a_lab_goes_with_its_owner(self):
        owner = subprocess.Popen(["sleep", "60"])
        self.addCleanup(owner.wait)
        self.addCleanup(owner.kill)
        program("up", "--dir", self.second, "--owner", str(owner.pid))
        records = [Processes(self.second).record(name) for name in Processes(self.second).names()]
        time.sleep(1.5)
        self.assertTrue(os.path.exists(self.second))
        owner.kill()
        owner.wait()
        self.wait(lambda: os.path.exists(self.second), [False])
        self.wait(lambda: {start_time(one["pid"]) for one in records}, [{None}])

    def test_a_strangers_process_with_a_recorded_pid_is_spared(self):
        program("up", "--dir", self.second)
        stranger = subprocess.Popen(["sleep", "60"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        processes = Processes(self.second)
        record = processes.record("imageio-proxy")
        with open(os.path.join(self.second, "pids", "x.json"), "w", encoding="utf-8") as file:
            json.dump({**record, "pid": stranger.pid}, file)
        program("down", "--dir", self.second)
        self.assertIsNone(stranger.poll())

    def test_a_killed_daemon_ends_transfers_and_can_be_restarted(self):
        _, service = self.vm("web01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        self.control("kill", what="imageio-v4")
        self.addCleanup(self.control, "restart", what="imageio-v4")
        self.wait(lambda: transfer.get().phase, [types.ImageTransferPhase.FINISHED_FAILURE])
        self.end_backup(backup_service)

    def test_fixed_ports_and_what_is_refused(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        info = json.loads(program("up", "--dir", self.second, "--ports", f"engine={port}"))
        self.assertIn(f":{port}/", info["api_url"])
        with self.assertRaisesRegex(RuntimeError, "too long"):
            program("up", "--dir", "/tmp/" + "x" * 80)
        with self.assertRaisesRegex(RuntimeError, "is no lab|there is no lab"):
            program("info", "--dir", self.work)


if __name__ == "__main__":
    unittest.main()
