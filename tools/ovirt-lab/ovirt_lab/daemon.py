"""The engine's process: loads the state, serves, and ends everything it started."""

import argparse
import json
import os
import shutil
import signal
import threading
import time

from . import backups, control, imageio, inventory, server, transfers
from .engine import Engine
from .procs import Processes, start_time


def main():
    """Runs until it is told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    directory = parser.parse_args().dir
    with open(os.path.join(directory, "settings.json"), encoding="utf-8") as file:
        settings = json.load(file)
    daemons = {name: imageio.Daemon(directory, name, host, port)
               for name, (host, port) in settings["daemons"].items()}
    engine = Engine(directory, Processes(directory), daemons, settings)
    for name in ("s", "scratch", "images"):
        os.makedirs(engine.path(name), exist_ok=True)
    if engine.load():
        recover(engine)
    else:
        inventory.build(engine)
    engine.save()
    engine.servers = serve(engine, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.stopping.set())
    threading.Thread(target=sweep, args=(engine,), daemon=True).start()
    with open(engine.path("ready"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    engine.stopping.wait()
    for guest in list(engine.guests.values()):
        guest.stop()
    engine.save()
    if engine.forsaken:
        engine.processes.forget("engine")
        engine.processes.stop_all()
        shutil.rmtree(directory)


def serve(engine, settings):
    """Opens all listening addresses."""
    context = server.tls_context(engine.path("pki"))
    servers = []
    for host in settings["hosts"]:
        servers.append(server.Server((host, settings["engine_port"]), server.Handler, engine,
                                     context))
        servers.append(server.Server((host, settings["http_port"]), server.Handler, engine))
    servers.append(server.Server(("127.0.0.1", settings["control_port"]), control.Handler, engine))
    for one in servers:
        one.serve()
    return servers


def recover(engine):
    """After a death of the engine: guests, exports and transfers that go on or do not, backups
    nobody watches."""
    for vm in engine.state["vms"].values():
        if vm["id"] not in engine.guests and vm["status"] not in ("down", "image_locked"):
            vm["status"] = "down"
            vm.pop("host", None)
    kept = set() if engine.config["restart_forgets"] else transfers.resume_all(engine)
    for name in engine.processes.names():
        lost = name.startswith("vm-") and name not in {
            guest.process for guest in engine.guests.values()}
        if lost or (name.startswith("nbd-") and name not in kept):
            engine.processes.stop(name)
    for transfer in engine.state["imagetransfers"].values():
        watched = "nbd-" + transfer["id"][:8] in kept
        if transfer["phase"] not in transfers.TERMINAL and transfer.get("_ticket") and not watched:
            transfers.stop(engine, transfer, "paused_system"
                           if transfer["direction"] == "upload" else "cancelled_system")
    backups.orphans(engine)


def sweep(engine):
    """Forgets what is over, now and then, and ends the lab when nobody wants it any more."""
    owner = engine.settings.get("owner")
    while not engine.stopping.is_set():
        time.sleep(1)
        if owner and start_time(owner["pid"]) != owner["start"]:
            engine.forsaken = True
            engine.stopping.set()
            return
        with engine.lock:
            backups.sweep(engine)
            transfers.sweep(engine)


if __name__ == "__main__":
    main()
