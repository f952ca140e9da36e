"""`ovirt-lab setup`: packages of the system where they are missing, and a virtual environment."""

import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig

from . import state_dir

IMAGEIO = "ovirt-imageio==2.5.1"
SDK = "ovirt-engine-sdk-python==4.6.3"
#: A command or a file, and the package of Debian that brings it.
NEEDS = (("qemu-img", "qemu-utils"), ("qemu-nbd", "qemu-utils"), ("qemu-io", "qemu-utils"),
         ("openssl", "openssl"), ("gcc", "gcc"))
BUILD = (("/usr/include/libxml2/libxml/parser.h", "libxml2-dev"),)
STORAGE_DAEMON = "qemu-storage-daemon"


class SetupError(Exception):
    """What a person has to do."""


def missing_packages(with_environment):
    """The packages to install, by name."""
    found = []
    for thing, package in NEEDS + (BUILD if with_environment else ()):
        there = os.path.exists(thing) if thing.startswith("/") else shutil.which(thing)
        if not there:
            found.append(package)
    if with_environment:
        probe = subprocess.run([system_python(), "-c", "import ensurepip, venv"],
                               capture_output=True, check=False)
        if probe.returncode:
            found.append("python3-venv")
        header = os.path.join(include_directory(), "Python.h")
        if not os.path.exists(header):
            found.append("python3-dev")
    return sorted(set(found))


def system_python():
    """The interpreter that the environment is made of: Debian's, whose headers apt can bring."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def include_directory():
    """Where that interpreter's headers are."""
    if system_python() == sys.executable:
        return sysconfig.get_paths()["include"]
    return subprocess.check_output(
        [system_python(), "-c", "import sysconfig; print(sysconfig.get_paths()['include'])"],
        text=True).strip()


def apt_get(*arguments):
    """apt-get as root, or through sudo."""
    argv = ["apt-get", "-y", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise SetupError("missing packages can only be installed by root: run `apt-get "
                             + " ".join(arguments) + "` as root, then this again")
        argv = ["sudo", *argv]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def install_packages(names):
    """Installs packages, but never at the price of removing or exchanging others."""
    say("installing " + " ".join(names))
    for attempt in (1, 2):
        plan = apt_get("-s", "--no-install-recommends", "install", *names)
        if plan.returncode == 0:
            break
        if attempt == 1:
            apt_get("update")
    else:
        raise SetupError("apt-get cannot install " + " ".join(names) + ": " + plan.stderr[-400:])
    lost = losses(plan.stdout)
    if lost:
        raise SetupError("installing would remove or exchange packages, so nothing was done: "
                         + "; ".join(lost) + ". Install them by hand as you see fit.")
    done = apt_get("--no-install-recommends", "install", *names)
    if done.returncode:
        raise SetupError("apt-get failed: " + done.stderr[-400:])


def losses(plan):
    """The lines of apt's plan that remove something, or exchange a QEMU for another: packages of
    different suites do that to each other."""
    return [line for line in plan.splitlines()
            if line.startswith("Remv ") or re.match(r"Inst qemu\S* \[", line)]


def say(text):
    """Progress goes to standard error: standard output is for documents."""
    print("ovirt-lab: " + text, file=sys.stderr, flush=True)


def environment_python(state=None):
    """The interpreter in the environment."""
    return os.path.join(state_dir(state), "venv", "bin", "python")


def environment_is_there(state=None):
    """Whether the environment was made, with the versions of this lab: a look at its files."""
    base = os.path.join(state_dir(state), "venv", "lib", "python3*", "site-packages")
    parts = [one.replace("-", "_").replace("==", "-") + "*-info" for one in (IMAGEIO, SDK)]
    return os.path.exists(environment_python(state)) and os.path.isdir(sdk_examples(state)) \
        and all(glob.glob(os.path.join(base, part)) for part in parts)


def environment_works(state=None):
    """Whether the environment holds what the lab imports, in the versions it was made for."""
    wanted = dict(one.split("==") for one in (IMAGEIO, SDK))
    program = ("import importlib.metadata as m, ovirtsdk4, ovirt_imageio;"
               f"assert all(m.version(k) == v for k, v in {wanted!r}.items())")
    python = environment_python(state)
    return os.path.exists(python) and os.path.isdir(sdk_examples(state)) and subprocess.run(
        [python, "-c", program], capture_output=True, check=False).returncode == 0


def missing(state=None):
    """What `setup` would install, by name."""
    fresh = not environment_is_there(state)
    guests = [] if shutil.which(STORAGE_DAEMON) else ["qemu-system-common"]
    return missing_packages(fresh) + guests + [IMAGEIO, SDK] * fresh


def setup(state=None):
    """Installs what is missing; does nothing when all is there. One at a time."""
    os.makedirs(state_dir(state), exist_ok=True)
    with open(os.path.join(state_dir(state), "setup.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _setup(state)


def _setup(state):
    fresh = not environment_works(state)
    names = missing_packages(fresh)
    if names:
        install_packages(names)
    if fresh:
        create_environment(state_dir(state))
        if not environment_works(state):
            raise SetupError("the virtual environment does not work; see the messages above")
    if not shutil.which(STORAGE_DAEMON):
        install_storage_daemon()
    say("ready: " + state_dir(state))


def install_storage_daemon():
    """For running VMs only, so what forbids it is not an error. It is in qemu-utils of newer
    releases, and in Debian 12's qemu-system-common, which must be of qemu-utils' version."""
    try:
        install_packages(["qemu-system-common"])
    except SetupError as error:
        say(f"{error}")
    if not shutil.which(STORAGE_DAEMON):
        say(f"there is no {STORAGE_DAEMON}: running VMs cannot be played, all else works")


def create_environment(base):
    """A virtual environment with the daemon and the SDK."""
    os.makedirs(base, exist_ok=True)
    directory = os.path.join(base, "venv")
    say("making " + directory)
    subprocess.run([system_python(), "-m", "venv", "--clear", directory], check=True)
    sources = os.path.join(base, "sources")
    shutil.rmtree(sources, ignore_errors=True)
    pip(base, "download", "--no-deps", "--no-binary", ":all:", "-d", sources, SDK)
    archive = os.path.join(sources, os.listdir(sources)[0])
    pip(base, "install", archive, IMAGEIO)
    subprocess.run(["tar", "-xzf", archive, "-C", sources], check=True)


def pip(base, *arguments):
    """Runs pip of the environment."""
    program = os.path.join(base, "venv", "bin", "pip")
    done = subprocess.run([program, "-q", "--disable-pip-version-check", *arguments],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError("pip failed: " + (done.stderr or done.stdout)[-1500:])


def sdk_examples(state=None):
    """The programs that the SDK's source brings as examples, unchanged."""
    return os.path.join(state_dir(state), "sources",
                        SDK.replace("-", "_").replace("==", "-"), "examples")
