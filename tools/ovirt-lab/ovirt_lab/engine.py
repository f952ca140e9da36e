"""The heart of the simulated engine: its state, its clock, its locks and its background work."""

import copy
import json
import os
import secrets
import threading
import time
import traceback
import uuid

from . import live, wire
from .faults import Missing, PhaseFailure

DEFAULTS = {
    "engine_version": "4.5.6",
    "user": "backup@internal",
    # Seconds that a step of each kind takes.
    "delays": {"backup": 0.15, "transfer": 0.15, "disk": 0.15, "snapshot": 0.15, "vm": 0.15},
    "poll_seconds": 0.25,
    "token_seconds": None,
    "token_requests": None,
    "retention_succeeded": 900,
    "retention_failed": 1800,
    "inactivity_timeout": 60,
    "ticket_timeout": 300,
    "ticket_refresh": 240,
    "statuses": {"backups": 201, "imagetransfers": 201, "disks": 202, "snapshots": 202},
    # None: the daemon's own address. A string replaces HOST:PORT in transfer_url.
    "transfer_address": None,
    "proxy_address": None,
    "hide_ovf": False,
    # Whether a VM's OVF holds its cloud-init block, as those of its snapshots always do.
    "ovf_secrets": False,
    "phase_missing": False,
    # Whether an engine that comes back has forgotten the commands that ran: then it fails their
    # backups and ends their transfers; else both go on.
    "restart_forgets": True,
    "extra_members": False,
    # Keep the exact image of the instant of each backup, for comparisons.
    "references": False,
}
COLLECTIONS = ("datacenters", "clusters", "hosts", "storagedomains", "networks", "vnicprofiles",
               "tags", "vms", "disks", "imagetransfers", "events", "jobs")


def version_tuple(text):
    """Comparable form of a version."""
    return tuple(int(part) for part in text.split("-")[0].split(".") if part.isdigit())


def new_id():
    """A fresh UUID as the engine writes it."""
    return str(uuid.uuid4())


class Engine:
    """One engine with its state; `lock` guards everything in `state`."""

    def __init__(self, directory, processes, daemons, settings):
        self.dir = directory
        self.processes = processes
        self.daemons = daemons
        self.settings = settings
        self.lock = threading.RLock()
        self.state = {"config": copy.deepcopy(DEFAULTS), "tokens": {}, "counters": {"event": 0}}
        for name in COLLECTIONS:
            self.state[name] = {}
        self.requests = []
        self.http_faults = []
        self.phase_faults = {}
        self.holds = set()
        self.guests = {}
        self.relays = {}
        self.middlemen = {}
        self.stopping = threading.Event()
        #: Whether the process for which the lab was started is gone.
        self.forsaken = False

    # State on disk -----------------------------------------------------------------------------

    @property
    def state_file(self):
        """Where the state survives the engine's death."""
        return os.path.join(self.dir, "state.json")

    def load(self):
        """Reads the state of an earlier run; False when there is none. Guests go on without an
        engine; tokens do not survive it."""
        try:
            with open(self.state_file, encoding="utf-8") as file:
                saved = json.load(file)
        except FileNotFoundError:
            return False
        config = {**copy.deepcopy(DEFAULTS), **saved.pop("config")}
        for name, facts in saved.pop("guests", {}).items():
            guest = live.Guest(self, name, facts)
            if guest.alive():
                self.guests[name] = guest
        self.state.update({**saved, "tokens": {}})
        self.state["config"] = config
        return True

    def save(self):
        """Writes the state so that a killed engine comes back with it."""
        with self.lock:
            kept = {name: guest.facts() for name, guest in self.guests.items()}
            text = json.dumps({**self.state, "guests": kept})
            temporary = self.state_file + ".new"
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self.state_file)

    # Facts -------------------------------------------------------------------------------------

    @property
    def config(self):
        """The switches that the control endpoint turns."""
        return self.state["config"]

    def at_least(self, version):
        """Whether the simulated engine is of this version or later."""
        return version_tuple(self.config["engine_version"]) >= version_tuple(version)

    def get(self, collection, identifier):
        """An entity, or 404."""
        try:
            return self.state[collection][identifier]
        except KeyError:
            raise Missing(f"{collection}/{identifier}") from None

    def find(self, collection, reference):
        """An entity by id or by name, or 404: for the control endpoint."""
        entities = self.state[collection]
        if reference in entities:
            return entities[reference]
        for entity in entities.values():
            if entity.get("name") == reference:
                return entity
        raise Missing(f"{collection}/{reference}")

    def level(self, vm):
        """The compatibility level that decides what a VM can do."""
        own = vm.get("custom_compatibility_version")
        found = own or self.get("clusters", vm["cluster"]["id"])["version"]
        return (found["major"], found["minor"])

    def path(self, *parts):
        """A path inside the lab's directory."""
        return os.path.join(self.dir, *parts)

    # Work that takes time ----------------------------------------------------------------------

    def background(self, name, work, failed=None):
        """Runs `work()` in a thread of its own; `failed(error)` when it raises."""
        def run():
            try:
                work()
            except Exception as error:  # whatever breaks must reach the entity that waits
                if not isinstance(error, PhaseFailure):
                    traceback.print_exc()
                if failed:
                    failed(error)
            finally:
                self.save()
        threading.Thread(target=run, name=name, daemon=True).start()

    def step(self, kind, phase):
        """Lets a phase take its time, and fail or wait when it was told to."""
        time.sleep(self.config["delays"].get(kind, 0))
        key = f"{kind}:{phase}"
        while key in self.holds and not self.stopping.is_set():
            time.sleep(0.05)
        with self.lock:
            left = self.phase_faults.get(key, 0)
            if left:
                self.phase_faults[key] = left - 1
                raise PhaseFailure(f"told to fail in {key}")

    # Tokens ------------------------------------------------------------------------------------

    def new_token(self):
        """A token, with the life that the configuration gives it."""
        seconds, requests = self.config["token_seconds"], self.config["token_requests"]
        token = secrets.token_urlsafe(48)
        with self.lock:
            self.state["tokens"][token] = {
                "until": time.time() + seconds if seconds is not None else None,
                "requests": requests}
        self.save()
        return token

    def use_token(self, token):
        """Whether a token is good for one more request."""
        with self.lock:
            life = self.state["tokens"].get(token)
            if life is None or (life["until"] is not None and time.time() > life["until"]):
                return False
            if life["requests"] is not None:
                if life["requests"] <= 0:
                    return False
                life["requests"] -= 1
            return True

    # Events ------------------------------------------------------------------------------------

    def event(self, code, severity, description, **links):
        """Adds to the audit log; newest first when listed."""
        with self.lock:
            self.state["counters"]["event"] += 1
            index = self.state["counters"]["event"]
            event = {"id": str(index), "index": index, "code": code, "severity": severity,
                     "description": description, "time": wire.date(time.time()),
                     "origin": links.pop("origin", "oVirt"),
                     "custom_id": links.pop("custom_id", -1), **links}
            self.state["events"][event["id"]] = event
            return event
