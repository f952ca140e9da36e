"""The commands of `ovirt-lab`."""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

from . import HOME, demo as story, imageio, install, pki, state_dir
from .procs import Processes, start_time

USER = "backup@internal"
PORTS = ("engine", "http", "control", "v4", "v6", "proxy")
LONGEST = 70


def parser():
    """The command line."""
    top = argparse.ArgumentParser(prog="ovirt-lab", description="A small oVirt for one machine.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name, text, directory=True):
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--state", help="where the virtual environment is")
        if directory:
            made.add_argument("--dir", help="the lab's own directory (default: below --state)")
        return made
    setting = command("setup", "install what is missing", directory=False)
    setting.add_argument("--check", action="store_true",
                         help="install nothing; name what is missing, and fail if anything is")
    up = command("up", "start a lab, and print what a client needs as JSON")
    up.add_argument("--ports", default="", metavar="NAME=PORT,…",
                    help=f"fixed ports; names: {', '.join(PORTS)}")
    up.add_argument("--no-ipv6", action="store_true", help="127.0.0.1 only")
    up.add_argument("--owner", type=int, metavar="PID",
                    help="end and delete the lab when this process is gone")
    down = command("down", "stop the processes of a lab")
    down.add_argument("--purge", action="store_true", help="delete its directory, too")
    command("info", "print the JSON document of `up` again")
    command("status", "list the lab's processes")
    ctl = command("ctl", "one operation of the control endpoint")
    ctl.add_argument("operation", help="state, requests, or an operation; `help` lists them")
    ctl.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="values are JSON or text")
    shown = command("demo", "show the product's whole round on a lab of its own", directory=False)
    shown.add_argument("--backstop", metavar="PROGRAM",
                       help="the program to show (default: the newest that was built here)")
    test = command("selftest", "run the lab's tests", directory=False)
    test.add_argument("names", nargs="*", help="unittest names, such as test_backup")
    return top


def main(argv=None):
    """Runs one command."""
    options = parser().parse_args(argv)
    try:
        return COMMANDS[options.command](options) or 0
    except (install.SetupError, RuntimeError, OSError) as error:
        print(f"ovirt-lab: {error}", file=sys.stderr)
        return 1


def lab_dir(options):
    """The directory of the lab."""
    return os.path.abspath(options.dir or os.path.join(state_dir(options.state), "lab"))


def setup(options):
    """`setup`."""
    if not options.check:
        return install.setup(options.state)
    missing = install.missing(options.state)
    if missing:
        print("ovirt-lab: missing: " + ", ".join(missing), file=sys.stderr)
    return 1 if missing else 0


def up(options):
    """`up`: idempotent; what still runs is kept."""
    if not install.environment_is_there(options.state):
        raise RuntimeError("run `ovirt-lab setup` first")
    directory = lab_dir(options)
    if len(directory) > LONGEST:
        raise RuntimeError(f"{directory}: too long for the names of sockets in it; choose another "
                           f"--dir of at most {LONGEST} characters")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    settings = load_settings(directory) or new_settings(options, directory)
    settings["venv"] = os.path.join(state_dir(options.state), "venv")
    settings["owner"] = options.owner and {"pid": options.owner,
                                           "start": start_time(options.owner)}
    write_private(os.path.join(directory, "settings.json"), json.dumps(settings))
    pki.create(os.path.join(directory, "pki"))
    processes = Processes(directory)
    for name, (host, port) in settings["daemons"].items():
        daemon = imageio.Daemon(directory, name, host, port)
        if not processes.alive(daemon.process):
            daemon.start(processes, settings["venv"])
    if not processes.alive("engine"):
        start_engine(directory, processes, settings)
    print(json.dumps(describe(directory, settings), indent=2))


def start_engine(directory, processes, settings):
    """Starts the engine's process and waits until it serves."""
    ready = os.path.join(directory, "ready")
    if os.path.exists(ready):
        os.unlink(ready)
    environment = {**os.environ, "PYTHONPATH": HOME, "PYTHONDONTWRITEBYTECODE": "1"}
    processes.spawn("engine", [os.path.join(settings["venv"], "bin", "python"), "-m",
                               "ovirt_lab.daemon", "--dir", directory],
                    lambda: os.path.exists(ready), timeout=60, env=environment)


def load_settings(directory):
    """The settings of an earlier `up`, or None."""
    try:
        with open(os.path.join(directory, "settings.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def new_settings(options, directory):
    """Chooses ports and a password."""
    fixed = {}
    for part in filter(None, options.ports.split(",")):
        name, _, port = part.partition("=")
        if name not in PORTS or not port.isdigit():
            raise RuntimeError(f"--ports: not NAME=PORT: {part} (names: {', '.join(PORTS)})")
        fixed[name] = int(port)
    ipv6 = imageio.has_ipv6() and not options.no_ipv6
    hosts = ["127.0.0.1"] + (["::1"] if ipv6 else [])
    taken = set(fixed.values())

    def port(name):
        chosen = fixed.get(name)
        while chosen is None or (name not in fixed and chosen in taken):
            chosen = imageio.free_port(hosts)
        taken.add(chosen)
        return chosen
    daemons = {"v4": ("127.0.0.1", port("v4"))}
    if ipv6:
        daemons["v6"] = ("::1", port("v6"))
    daemons["proxy"] = ("127.0.0.1", port("proxy"))
    password = secrets.token_urlsafe(18)
    write_private(os.path.join(directory, "password"), password)
    return {"hosts": hosts, "daemons": daemons, "engine_port": port("engine"),
            "http_port": port("http"), "control_port": port("control"), "user": USER,
            "password": password}


def write_private(path, text):
    """A file for the owner's eyes."""
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def describe(directory, settings):
    """All that a client needs."""
    keys = os.path.join(directory, "pki")

    def url(scheme, host, port):
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    engines = [url("https", host, settings["engine_port"]) for host in settings["hosts"]]
    return {
        "dir": directory,
        "engine_url": engines[0] + "/ovirt-engine",
        "api_url": engines[0] + "/ovirt-engine/api",
        "engine_url_ipv6": engines[1] + "/ovirt-engine" if len(engines) > 1 else None,
        "http_url": url("http", "127.0.0.1", settings["http_port"]),
        "user": settings["user"],
        "password_file": os.path.join(directory, "password"),
        "api_ca_file": os.path.join(keys, "api-ca.pem"),
        "api_ca_sha256": pki.fingerprint(os.path.join(keys, "api-ca.pem")),
        "internal_ca_file": os.path.join(keys, "internal-ca.pem"),
        "internal_ca_sha256": pki.fingerprint(os.path.join(keys, "internal-ca.pem")),
        "ca_bundle_file": os.path.join(keys, "ca-bundle.pem"),
        "other_ca_file": os.path.join(keys, "other-ca.pem"),
        "control_url": url("http", "127.0.0.1", settings["control_port"]),
        "imageio": {name: url("https", host, port)
                    for name, (host, port) in settings["daemons"].items()},
        "python": os.path.join(settings["venv"], "bin", "python")}


def down(options):
    """`down`: exactly the recorded processes, the engine first."""
    directory = lab_dir(options)
    if not os.path.isdir(os.path.join(directory, "pids")):
        return
    Processes(directory).stop_all()
    if options.purge:
        if load_settings(directory) is None:
            raise RuntimeError(f"{directory} is no lab: nothing was deleted")
        shutil.rmtree(directory)


def info(options):
    """`info`."""
    settings = load_settings(lab_dir(options))
    if settings is None:
        raise RuntimeError("there is no lab; run `ovirt-lab up`")
    print(json.dumps(describe(lab_dir(options), settings), indent=2))


def status(options):
    """`status`."""
    processes = Processes(lab_dir(options))
    for name in processes.names():
        word = "running" if processes.alive(name) else "dead"
        print(f"{name:16} {processes.record(name)['pid']:8} {word}")
    return 0 if processes.alive("engine") else 3


def ctl(options):
    """`ctl`."""
    settings = load_settings(lab_dir(options))
    if settings is None:
        raise RuntimeError("there is no lab; run `ovirt-lab up`")
    base = f"http://127.0.0.1:{settings['control_port']}/"
    given = {}
    for part in options.arguments:
        name, _, value = part.partition("=")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    looks = {"state": "state", "requests": "requests", "help": ""}
    if options.operation in looks:
        request = urllib.request.Request(base + looks[options.operation])
    else:
        request = urllib.request.Request(base + options.operation, json.dumps(given).encode())
    try:
        with urllib.request.urlopen(request) as response:
            print(json.dumps(json.load(response), indent=2))
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from None


def selftest(options):
    """`selftest`."""
    if not install.environment_works(options.state):
        install.setup(options.state)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1",
                   "OVIRT_LAB_STATE": state_dir(options.state),
                   "PYTHONPATH": HOME + ":" + os.path.join(HOME, "tests")}
    python = install.environment_python(options.state)
    chosen = ["-v", *options.names] if options.names else [
        "discover", "-v", "-s", os.path.join(HOME, "tests")]
    begun = time.monotonic()
    argv = [python, "-W", "ignore::ResourceWarning", "-m", "unittest", *chosen]
    code = subprocess.run(argv, env=environment, check=False).returncode
    print(f"selftest: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    return code


def demo(options):
    """`demo`."""
    program = story.find_backstop(options.backstop)
    if not install.environment_is_there(options.state):
        install.setup(options.state)
    story.show(program, options.state)


COMMANDS = {"setup": setup, "up": up, "down": down, "info": info, "status": status, "ctl": ctl,
            "demo": demo, "selftest": selftest}
