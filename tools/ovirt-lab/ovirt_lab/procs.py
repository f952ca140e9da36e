"""Processes of one lab: each is recorded with the kernel's start time of its pid, and nothing is
ever signalled unless that time still matches."""

import json
import os
import signal
import subprocess
import threading
import time


def start_time(pid):
    """The kernel's start time of a living process, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2:].split()
    return None if fields[0] == "Z" else int(fields[19])


class Processes:
    """The processes of the lab in `directory`, by name."""

    def __init__(self, directory):
        self.records = os.path.join(directory, "pids")
        self.logs = os.path.join(directory, "log")
        self.children = {}
        self.guard = threading.RLock()
        os.makedirs(self.records, exist_ok=True)
        os.makedirs(self.logs, exist_ok=True)

    def spawn(self, name, argv, ready=None, timeout=20, env=None):
        """Starts `argv` and waits until `ready()` is true."""
        with self.guard:
            if self.alive(name):
                raise RuntimeError(f"{name} already runs")
            path = os.path.join(self.logs, name + ".out")
            with open(path, "ab") as log:
                child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         start_new_session=True, env=env, cwd="/")
            record = {"pid": child.pid, "start": start_time(child.pid), "argv": argv}
            temporary = self._path(name) + ".new"
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.replace(temporary, self._path(name))
            self.children[name] = child
        self._wait(name, child, ready, timeout, path)
        return child.pid

    def _wait(self, name, child, ready, timeout, log):
        end = time.monotonic() + timeout
        while ready and not ready():
            if child.poll() is not None:
                raise RuntimeError(f"{name} exited with {child.returncode}: {tail(log)}")
            if time.monotonic() > end:
                self.stop(name)
                raise RuntimeError(f"{name} was not ready after {timeout} s: {tail(log)}")
            time.sleep(0.01)

    def _path(self, name):
        return os.path.join(self.records, name + ".json")

    def record(self, name):
        """What was written down when `name` was started, or None."""
        try:
            with open(self._path(name), encoding="utf-8") as file:
                return json.load(file)
        except (FileNotFoundError, ValueError):
            return None

    def _reap(self, name):
        child = self.children.get(name)
        if child is not None:
            child.poll()

    def alive(self, name):
        """Whether exactly the process that was started as `name` still runs."""
        self._reap(name)
        record = self.record(name)
        return bool(record and record["start"] is not None
                    and start_time(record["pid"]) == record["start"])

    def signal(self, name, number):
        """Sends a signal; the record stays."""
        if not self.alive(name):
            return False
        os.kill(self.record(name)["pid"], number)
        return True

    def kill(self, name):
        """Ends `name` at once, as a crash would, and waits until it is gone."""
        killed = self.signal(name, signal.SIGKILL)
        self._gone(name, 10)
        self.forget(name)
        return killed

    def stop(self, name, timeout=10):
        """Asks `name` to end, then insists."""
        if self.signal(name, signal.SIGTERM) and not self._gone(name, timeout):
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGKILL)
            self._gone(name, 10)
        self.forget(name)

    def stop_all(self):
        """Ends everything, the engine first: it ends what it has started."""
        for name in sorted(self.names(), key=lambda one: (one != "engine", one)):
            self.stop(name)
        for name in self.names():  # what the engine had started meanwhile
            self.stop(name)

    def _gone(self, name, timeout):
        end = time.monotonic() + timeout
        while self.alive(name):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def forget(self, name):
        """Drops the record of a process that is gone."""
        self.children.pop(name, None)
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            pass

    def names(self):
        """All recorded names."""
        return sorted(entry[:-5] for entry in os.listdir(self.records) if entry.endswith(".json"))


def tail(path, size=600):
    """The end of a log file, for error messages."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-size:].strip()
    except FileNotFoundError:
        return ""
