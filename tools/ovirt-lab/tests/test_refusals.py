"""What the engine refuses, its words and codes, and the trouble that one can order."""

import json
import os
import subprocess
import time
import unittest
import uuid

import ovirtsdk4
from lab_case import LabCase
from ovirtsdk4 import types

FAILED = [types.BackupPhase.FAILED]


class Refusals(LabCase):
    """Checks of the engine in their order."""

    def refused(self, code, text, call, *arguments, **named):
        """Asserts a fault."""
        with self.assertRaises(ovirtsdk4.Error) as caught:
            call(*arguments, **named)
        self.assertIn(text, str(caught.exception))
        self.assertEqual(code, caught.exception.code)

    def backup(self, name, previous=None, disks=None):
        """Tries to start a backup of all disks."""
        _, service = self.vm(name)
        return self.start_backup(service, disks or self.disks(service), previous, ready=False)

    def test_one_backup_at_a_time(self):
        backup, service = self.backup("web01")
        self.refused(409, "[Cannot backup VM. The VM is during a backup operation.]",
                     self.backup, "web01")
        _, vm_service = self.vm("web01")
        self.refused(409, "The VM is during a backup operation", vm_service.start)
        self.wait(lambda: service.get().phase, [types.BackupPhase.READY])
        self.end_backup(service)
        self.refused(400, "no need to stop the backup again", service.finalize)
        self.control("foreign-backup", vm="web01")
        self.refused(409, "The VM is during a backup operation", self.backup, "web01")

    def test_states_that_forbid_a_backup(self):
        self.refused(409, "Backup of Hosted Engine VM is not supported", self.backup,
                     "HostedEngine")
        self.control("preview", vm="preview01", on=True)
        self.refused(409, "VM is previewing a Snapshot", self.backup, "preview01")
        self.refused(409, "The following disks are not active on VM idle01", self.backup, "idle01")
        self.control("set-vm", vm="illegal01", status="paused")
        self.refused(409, "The Virtual Machine should be in Up or Down status", self.backup,
                     "illegal01")
        self.control("set-vm", vm="illegal01", status="down")
        _, service = self.vm("web01")
        disk = self.disks(service)[0]
        self.control("set-disk", disk=disk.id, status="locked")
        self.refused(409, "The following disks are locked: web01_Disk1", self.backup, "web01")
        self.control("set-disk", disk=disk.id, status="ok")
        self.control("foreign-transfer", disk=disk.id)
        self.refused(409, "Disk web01_Disk1 is being transferred", self.backup, "web01")
        self.control("settle")
        self.control("configure", engine_version="4.4.6")
        self.backup("HostedEngine")
        self.backup("preview01")
        self.control("configure", engine_version="4.5.6")

    def test_checkpoints_that_cannot_be_used(self):
        self.refused(400, "Checkpoint ID 0c0c0c0c-0000-4000-8000-000000000000 doesn't exist",
                     self.backup, "web01", "0c0c0c0c-0000-4000-8000-000000000000")
        vm, service = self.vm("web01")
        disk = self.disks(service)[0]
        checkpoint = self.full(service, disk, os.path.join(self.work, "d"))
        self.control("set-checkpoint", vm="web01", checkpoint=checkpoint, state="invalid")
        self.refused(400, "is invalid and should be removed", self.backup, "web01", checkpoint)
        self.control("set-checkpoint", vm="web01", checkpoint=checkpoint, state="created")
        self.control("drop-bitmap", disk=disk.id, bitmap=checkpoint)
        backup, backup_service = self.start_backup(service, [disk], checkpoint)
        self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup,
                            types.ImageTransferPhase.FINISHED_FAILURE)
        self.end_backup(backup_service)
        points = service.checkpoints_service()
        for point in points.list():
            points.checkpoint_service(point.id).remove()
        self.assertEqual([], points.list())
        self.assertEqual({}, self.control("digest", disk=disk.id)["bitmaps"])

    def test_disks_that_the_engine_drops_in_silence(self):
        _, service = self.vm("mixed01")
        disks = [types.Disk(id=one.id) for one in self.disks(service)]
        _, backup_service = self.start_backup(service, disks)
        self.assertEqual(["mixed01_Disk1"],
                         [one.name for one in backup_service.disks_service().list()])
        self.end_backup(backup_service)

    def test_a_disk_that_cannot_hold_bitmaps_and_phases_told_to_fail(self):
        _, service = self.vm("idle01")
        disk = self.disks(service)[:1]
        _, backup_service = self.start_backup(service, disk, ready=False)
        self.wait(lambda: backup_service.get().phase, FAILED)
        self.control("fail-phase", kind="backup", phase="initializing")
        _, backup_service = self.backup("web01")
        self.wait(lambda: backup_service.get().phase, FAILED)
        self.control("fail-phase", kind="backup", phase="finalizing")
        _, service = self.vm("web01")
        _, backup_service = self.start_backup(service, self.disks(service))
        backup_service.finalize()
        self.wait(lambda: backup_service.get().phase, FAILED)

    def test_an_early_finalize_aborts_and_an_open_transfer_forbids_it(self):
        self.control("hold-phase", kind="backup", phase="initializing")
        _, backup_service = self.backup("web01")
        self.refused(400, "premature backup stop was initiated", backup_service.finalize)
        self.wait(lambda: backup_service.get().phase, FAILED)
        self.control("clear-faults")
        time.sleep(0.3)
        self.assertEqual(types.BackupPhase.FAILED, backup_service.get().phase)
        _, service = self.vm("web01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        self.refused(409, "There is an active image transfer for VM backup",
                     backup_service.finalize)
        self.assertEqual(types.DiskStatus.LOCKED, self.disks(service)[0].status)
        self.end_transfer(transfer)
        self.assertEqual(types.DiskStatus.OK, self.disks(service)[0].status)
        self.end_backup(backup_service)

    def test_before_4_4_7_what_is_over_is_gone(self):
        self.control("configure", engine_version="4.4.6")
        _, service = self.vm("web01")
        disk = self.disks(service)[0]
        backup, backup_service = self.start_backup(service, [disk])
        transfer = self.start_transfer(disk, types.ImageTransferDirection.DOWNLOAD, backup)
        for one in (transfer, backup_service):
            one.finalize()
            with self.assertRaises(ovirtsdk4.NotFoundError):
                self.wait(lambda: one.get().phase, [])

    def test_other_refusals(self):
        _, service = self.vm("illegal01")
        disk = self.disks(service)[0]
        self.refused(500, "ILLEGAL status", self.start_transfer, disk,
                     types.ImageTransferDirection.DOWNLOAD)
        self.refused(400, "required for add", self.system.disks_service().add,
                     types.Disk(name="x"))
        event = types.Event(origin="lab", severity=types.LogSeverity.NORMAL, custom_id=7,
                            description="hello")
        if not self.system.events_service().list(search="origin=lab"):
            self.system.events_service().add(event)
        self.refused(400, "Cannot add External Event", self.system.events_service().add, event)


class Trouble(LabCase):
    """Tokens, lost answers, documents."""

    def test_the_sdk_survives_an_expired_token(self):
        first = self.connection.authenticate()
        self.control("expire-tokens")
        self.assertTrue(self.connection.test(raise_exception=True))
        self.assertNotEqual(first, self.connection.authenticate())
        status, headers, body = self.http("GET", "/api", token=first)
        self.assertEqual((401, 'Basic realm="RESTAPI"'), (status, headers["WWW-Authenticate"]))
        self.assertTrue(body.startswith(b"<html>"))

    def test_a_wrong_password_and_a_wrong_accept(self):
        form = b"grant_type=password&scope=ovirt-app-api&username=x%40internal&password=y"
        status, _, body = self.http("POST", "/sso/oauth/token", form)
        self.assertEqual((400, "access_denied"), (status, json.loads(body)["error_code"]))
        status, _, body = self.http("POST", "/sso/oauth/token", form, "application/json, */*")
        self.assertEqual((400, "invalid_request"), (status, json.loads(body)["error_code"]))

    def test_json_has_strings_for_numbers_and_numbers_for_dates(self):
        _, _, body = self.http("GET", "/api/vms?search=name%3Dweb01&follow=disk_attachments.disk")
        vm = json.loads(body)["vm"][0]
        self.assertEqual("1073741824", vm["memory"])
        self.assertEqual("false", vm["delete_protected"])
        self.assertIsInstance(vm["creation_time"], int)
        found = vm["disk_attachments"]["disk_attachment"]
        self.assertEqual({"67108864", "33554432"},
                         {one["disk"]["provisioned_size"] for one in found})
        _, _, body = self.http("GET", "/api/vms?search=name%3Dnobody")
        self.assertEqual({}, json.loads(body))

    def test_faults_in_both_formats_and_404_without_a_body(self):
        missing = f"/api/vms/{uuid.uuid4()}"
        status, headers, body = self.http("GET", missing)
        self.assertEqual((404, "0", b""), (status, headers["Content-Length"], body))
        vm, _ = self.vm("HostedEngine")
        path = f"/api/vms/{vm.id}/backups"
        kind = {"Content-Type": "application/json"}
        status, _, body = self.http("POST", path, b'{"disks":{"disk":[]}}', **kind)
        self.assertEqual((409, {"detail": "[Cannot backup VM. Backup of Hosted Engine VM is not "
                                          "supported.]", "reason": "Operation Failed"}),
                         (status, json.loads(body)))
        status, _, body = self.http("POST", path, b'{"disc":"x"}', **kind)
        self.assertEqual(400, status)
        self.assertIn(b"Unrecognized field", body)
        status, _, body = self.http("POST", path, b"<backup><nonsense/><disks/></backup>",
                                    "application/xml", **{"Content-Type": "application/xml"})
        self.assertEqual(409, status)
        self.assertIn(b"<reason>Operation Failed</reason>", body)

    def test_ordered_trouble_and_the_record_of_requests(self):
        vm, service = self.vm("web01")
        subprocess.run(["curl", "-s", "-X", "DELETE", self.info["control_url"] + "/requests"],
                       check=True, stdout=subprocess.DEVNULL)
        self.control("fail-requests", method="GET", path="/vms", status=503, count=2)
        self.assertEqual([503, 503, 200], [self.http("GET", "/api/vms?max=1")[0]
                                           for _ in range(3)])
        self.control("fail-requests", method="POST", path="/backups$", status=502, after=True)
        backups = service.backups_service()
        before = len(backups.list())
        body = json.dumps({"id": str(uuid.uuid4()), "disks": {
            "disk": [{"id": self.disks(service)[0].id}]}}).encode()
        call = ("POST", f"/api/vms/{vm.id}/backups", body)
        self.assertEqual(502, self.http(*call, **{"Content-Type": "application/json"})[0])
        self.assertEqual(before + 1, len(backups.list()))
        self.control("settle")
        status, _, text = self.http(*call, **{"Content-Type": "application/json"})
        self.assertEqual(400, status)
        self.assertIn(b"already exists", text)
        changing = [one["path"] for one in self.control("requests") if one["changing"]]
        self.assertEqual([f"/ovirt-engine/api/vms/{vm.id}/backups"] * 2, changing)

    def test_the_configuration_is_absent_while_a_disk_is_locked(self):
        _, service = self.vm("web01")
        self.assertIn("<?xml", service.get(all_content=True).initialization.configuration.data)
        _, backup_service = self.start_backup(service, self.disks(service))
        found = service.get(all_content=True).initialization
        self.assertIsNone(found and found.configuration)
        self.end_backup(backup_service)

    def test_the_internal_authority_is_not_the_one_of_the_web(self):
        _, _, body = self.http(
            "GET", "/services/pki-resource?resource=ca-certificate&format=X509-PEM-CA")
        with open(self.info["internal_ca_file"], "rb") as file:
            self.assertEqual(file.read(), body)
        self.assertNotEqual(self.info["internal_ca_sha256"], self.info["api_ca_sha256"])


if __name__ == "__main__":
    unittest.main()
