"""A running guest without a kernel: one qemu-storage-daemon holds the disks, the "guest" writes
through an NBD export, and backups do with QMP what libvirt's pull backups do."""

import json
import os
import random
import socket
import threading
import time
from dataclasses import dataclass

from . import storage

GRANULARITY = 65536


@dataclass
class Wish:
    """What a backup wants of one disk: the bitmap to read by, and the one to begin."""

    previous: str | None
    next: str | None


class Qmp:
    """One conversation with QEMU's monitor."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        """Executes one command; keys with underscores mean dashes."""
        names = {key.replace("_", "-"): value for key, value in arguments.items()}
        message = {"execute": command, "arguments": names}
        self.socket.sendall(json.dumps(message).encode())
        while True:
            line = self.file.readline()
            if not line:
                raise RuntimeError(f"{command}: the guest is gone")
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


class Guest:
    """The running VM: its disks by id, in the order of `layers`. `facts`: one that runs already,
    as an engine that was killed has left it."""

    def __init__(self, engine, vm_id, facts=None):
        self.engine = engine
        self.process = "vm-" + vm_id[:8]
        self.monitor = engine.path("s", vm_id[:8] + ".qmp")
        self.nbd = engine.path("s", vm_id[:8] + ".vm")
        facts = facts or {"tops": {}, "letters": {}, "layers": 0}
        self.tops = facts["tops"]
        self.letters = facts["letters"]
        self.layers = facts["layers"]
        self.lock = threading.RLock()
        self.writer = None
        self.count = 0

    def facts(self):
        """What another engine needs to know of it."""
        return {"tops": self.tops, "letters": self.letters, "layers": self.layers}

    # Power -------------------------------------------------------------------------------------

    def start(self, layers):
        """Opens the disks (`layers`: id -> path and format) and gives them to the guest."""
        os.makedirs(os.path.dirname(self.nbd), exist_ok=True)
        for stale in (self.monitor, self.nbd):
            if os.path.exists(stale):
                os.unlink(stale)
        self.engine.processes.spawn(self.process, [
            "qemu-storage-daemon", "--chardev",
            f"socket,id=monitor,path={self.monitor},server=on,wait=off",
            "--monitor", "chardev=monitor", "--nbd-server", f"addr.type=unix,addr.path={self.nbd}"],
            lambda: os.path.exists(self.monitor) and os.path.exists(self.nbd))
        with self.lock, Qmp(self.monitor) as qmp:
            for index, (disk, (path, disk_format)) in enumerate(layers.items()):
                node = f"n{index}"
                self.letters[disk] = "vd" + chr(ord("a") + index)
                qmp.run("blockdev-add", **_node(node, path, disk_format))
                qmp.run("block-export-add", type="nbd", id="guest-" + node, node_name=node,
                        name="guest-" + self.letters[disk], writable=True)
                self.tops[disk] = node

    def alive(self):
        """Whether the guest runs."""
        return self.engine.processes.alive(self.process)

    def stop(self):
        """Powers off in order: bitmaps go to disk."""
        self.write_on(False)
        self.engine.processes.stop(self.process)

    def crash(self):
        """As when the host dies: bitmaps in memory are lost."""
        self.write_on(False)
        return self.engine.processes.kill(self.process)

    # The guest's own writes --------------------------------------------------------------------

    def address(self, disk):
        """Where the guest reads and writes this disk."""
        return f"nbd+unix:///guest-{self.letters[disk]}?socket={self.nbd}"

    def export_url(self, name):
        """The same for the daemon, of a backup's export."""
        return f"nbd:unix:{self.nbd}:exportname={name}"

    def change(self, disk, changes):
        """The guest writes."""
        storage.change(self.address(disk), "raw", changes)

    def write_on(self, wanted, size=0):
        """Starts or stops a writer that never rests."""
        if self.writer is not None:
            self.writer.set()
            self.writer = None
        if not wanted:
            return
        halt = self.writer = threading.Event()
        threading.Thread(target=self._write_until, args=(halt, size), daemon=True).start()

    def _write_until(self, halt, size):
        chance = random.Random(1)
        while not halt.is_set() and self.alive():
            disk = chance.choice(list(self.tops))
            changes = [self._random_change(chance, size) for _ in range(20)]
            try:
                self.change(disk, changes)
            except RuntimeError:
                return
            self.count += len(changes)
            halt.wait(0.02)

    @staticmethod
    def _random_change(chance, size):
        length = chance.choice((4096, 4096, 65536, 1 << 20))
        return {"op": chance.choice(("write",) * 8 + ("zero", "discard")), "length": length,
                "offset": chance.randrange(0, size - length) // 4096 * 4096,
                "pattern": chance.randrange(1, 255)}

    # Bitmaps -----------------------------------------------------------------------------------

    def _bitmaps(self, qmp, node):
        for entry in qmp.run("query-named-block-nodes"):
            if entry["node-name"] == node:
                return {one["name"]: one for one in entry.get("dirty-bitmaps", []) if "name" in one}
        return {}

    def has_bitmap(self, disk, name):
        """Whether a usable bitmap of this name records."""
        with self.lock, Qmp(self.monitor) as qmp:
            found = self._bitmaps(qmp, self.tops[disk]).get(name) if disk in self.tops else None
        return found is not None and not found.get("inconsistent")

    def remove_bitmap(self, disk, name):
        """Ends a bitmap, if it is there."""
        with self.lock, Qmp(self.monitor) as qmp:
            if disk in self.tops and name in self._bitmaps(qmp, self.tops[disk]):
                qmp.run("block-dirty-bitmap-remove", node=self.tops[disk], name=name)

    # Backups -----------------------------------------------------------------------------------

    def begin_backup(self, identifier, wishes, references=None):
        """Fixes this instant for all disks at once; returns the exports' names by disk."""
        with self.lock, Qmp(self.monitor) as qmp:
            actions, later = [], []
            for disk, wish in wishes.items():
                self._prepare(qmp, identifier, disk, wish, actions, later)
                if references and disk in references:
                    self._reference(qmp, disk, references[disk], actions)
            qmp.run("transaction", actions=actions)
            for export in later:
                qmp.run("block-export-add", **export)
        return {disk: self._export_name(identifier, disk) for disk in wishes}

    def _export_name(self, identifier, disk):
        return f"{self.letters[disk]}-{identifier[:8]}"

    def _scratch(self, identifier, disk):
        return self.engine.path("scratch", self._export_name(identifier, disk) + ".qcow2")

    def _prepare(self, qmp, identifier, disk, wish, actions, later):
        top, name = self.tops[disk], self._export_name(identifier, disk)
        size = self._size(qmp, top)
        path = self._scratch(identifier, disk)
        storage.create(path, "cow", size)
        node = "s-" + name
        qmp.run("blockdev-add", driver="qcow2", node_name=node, backing=top,
                file={"driver": "file", "filename": path})
        export = {"type": "nbd", "id": "e-" + name, "node-name": node, "name": name,
                  "writable": False}
        if wish.previous:
            actions += [
                _action("block-dirty-bitmap-add", node=node, name="backup", persistent=False,
                        disabled=True, granularity=GRANULARITY),
                _action("block-dirty-bitmap-merge", node=node, target="backup",
                        bitmaps=[{"node": top, "name": wish.previous}])]
            export["bitmaps"] = ["backup"]
        if wish.next:
            actions.append(_action("block-dirty-bitmap-add", node=top, name=wish.next,
                                   persistent=True, disabled=False, granularity=GRANULARITY))
        actions.append(_action("blockdev-backup", job_id="j-" + name, device=top, target=node,
                               sync="none"))
        later.append(export)

    def _reference(self, qmp, disk, path, actions):
        top = self.tops[disk]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(self._size(qmp, top))
        node = "r-" + os.path.basename(path)[:8]
        qmp.run("blockdev-add", driver="raw", node_name=node,
                file={"driver": "file", "filename": path})
        actions.append(_action("blockdev-backup", job_id=node, device=top, target=node,
                               sync="full", auto_dismiss=False))

    def finish_reference(self, path):
        """Waits until a reference image is complete."""
        node = "r-" + os.path.basename(path)[:8]
        with self.lock, Qmp(self.monitor) as qmp:
            while True:
                jobs = {job["id"]: job for job in qmp.run("query-jobs")}
                if node not in jobs:
                    return
                if jobs[node]["status"] == "concluded":
                    break
                time.sleep(0.05)
            qmp.run("job-dismiss", id=node)
            qmp.run("blockdev-del", node_name=node)
            if jobs[node].get("error"):
                raise RuntimeError(jobs[node]["error"])

    @staticmethod
    def _size(qmp, node):
        for entry in qmp.run("query-named-block-nodes", flat=True):
            if entry["node-name"] == node:
                return entry["image"]["virtual-size"]
        raise RuntimeError(f"no node {node}")

    def end_backup(self, identifier, exports):
        """Takes exports, jobs and scratch disks of a backup away."""
        with self.lock, Qmp(self.monitor) as qmp:
            for disk, name in exports.items():
                _end_export(qmp, "e-" + name)
                self._end_job(qmp, "j-" + name)
                qmp.run("blockdev-del", node_name="s-" + name)
                os.unlink(self._scratch(identifier, disk))

    @staticmethod
    def _end_job(qmp, job):
        if any(one["id"] == job for one in qmp.run("query-jobs")):
            qmp.run("block-job-cancel", device=job)
        while any(one["id"] == job for one in qmp.run("query-jobs")):
            time.sleep(0.01)

    # Snapshots ---------------------------------------------------------------------------------

    def snapshot(self, overlays, marks, clone):
        """New layers for disks (`overlays`: id -> path) at one instant. `marks`: bitmaps to begin
        on the old layers. `clone`: whether bitmaps continue on the new ones, as hosts do it."""
        with self.lock, Qmp(self.monitor) as qmp:
            actions, moved = [], {}
            for disk, path in overlays.items():
                top = self.tops[disk]
                self.layers += 1
                node = f"{top.split('-')[0]}-{self.layers}"
                base = self.engine.state["disks"][disk]["_layers"][-1]
                storage.create(path, "cow", self._size(qmp, top),
                               backing=(base["path"], base["format"]))
                qmp.run("blockdev-add", driver="qcow2", node_name=node, backing=None,
                        discard="unmap", file={"driver": "file", "filename": path})
                if disk in marks:
                    actions.append(_action("block-dirty-bitmap-add", node=top, name=marks[disk],
                                           persistent=True, granularity=GRANULARITY))
                for name in self._bitmaps(qmp, top) if clone else ():
                    actions.append(_action("block-dirty-bitmap-add", node=node, name=name,
                                           persistent=True, granularity=GRANULARITY))
                actions.append(_action("blockdev-snapshot", node=top, overlay=node))
                moved[disk] = node
            qmp.run("transaction", actions=actions)
            bases = {disk: self.tops[disk] for disk in moved}
            self.tops.update(moved)
        return bases

    def export_base(self, node, name, bitmap):
        """Lets the daemon read a layer below the active one."""
        with self.lock, Qmp(self.monitor) as qmp:
            export = {"type": "nbd", "id": "e-" + name, "node-name": node, "name": name,
                      "writable": False}
            if bitmap:
                export["bitmaps"] = [bitmap]
            qmp.run("block-export-add", **export)

    def end_base(self, name):
        """The opposite."""
        with self.lock, Qmp(self.monitor) as qmp:
            _end_export(qmp, "e-" + name)

    def commit(self, disk):
        """Merges the active layer into the one below; the guest goes on there."""
        with self.lock, Qmp(self.monitor) as qmp:
            top = self.tops[disk]
            base = self._base_of(qmp, top)
            job = "c-" + top
            qmp.run("block-commit", job_id=job, device=top, base_node=base)
            while True:
                state = {one["id"]: one for one in qmp.run("query-jobs")}.get(job)
                if state is None or state["status"] == "ready":
                    break
                time.sleep(0.02)
            if state is None:
                raise RuntimeError("the merge did not get ready")
            qmp.run("block-job-complete", device=job)
            while any(one["id"] == job for one in qmp.run("query-jobs")):
                time.sleep(0.02)
            qmp.run("blockdev-del", node_name=top)
            self.tops[disk] = base

    @staticmethod
    def _base_of(qmp, node):
        graph = qmp.run("x-debug-query-block-graph")
        names = {one["id"]: one["name"] for one in graph["nodes"]}
        for edge in graph["edges"]:
            if names[edge["parent"]] == node and edge["name"] == "backing":
                return names[edge["child"]]
        raise RuntimeError(f"{node} has no layer below")


def _end_export(qmp, name):
    if any(one["id"] == name for one in qmp.run("query-block-exports")):
        qmp.run("block-export-del", id=name, mode="hard")
    while any(one["id"] == name for one in qmp.run("query-block-exports")):
        time.sleep(0.01)


def _node(name, path, disk_format):
    file = {"driver": "file", "filename": path, "discard": "unmap"}
    return {"driver": storage.driver(disk_format), "node-name": name, "file": file,
            "discard": "unmap"}


def _action(kind, **data):
    return {"type": kind, "data": {key.replace("_", "-"): value for key, value in data.items()}}
