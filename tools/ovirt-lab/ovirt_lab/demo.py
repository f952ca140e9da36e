"""`ovirt-lab demo`: the whole round, told step by step, on a lab that is gone at the end."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import HOME

PROJECT = os.path.dirname(os.path.dirname(HOME))
PROGRAM = os.path.join(HOME, "ovirt-lab")
MIB = 1 << 20
BOLD, BLUE, PLAIN = ("\033[1m", "\033[36m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def find_backstop(given):
    """The program to show: the given one, the newest that was built here, or the installed one."""
    if given:
        return os.path.abspath(given)
    built = [os.path.join(PROJECT, "target", kind, "backstop") for kind in ("release", "debug")]
    built = sorted(filter(os.path.exists, built), key=os.path.getmtime)
    found = built[-1] if built else shutil.which("backstop")
    if found is None:
        raise RuntimeError("there is no backstop to show: run `cargo build --release`, or name one "
                           "with --backstop")
    return found


def show(backstop, state=None):
    """Runs the demonstration."""
    directory = tempfile.mkdtemp(prefix="backstop-demo.", dir=os.environ.get("TMPDIR", "/tmp"))
    story = Story(backstop, directory, state)
    try:
        story.tell()
    finally:
        story.end()


def say(text):
    """One step of the story."""
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


class Story:
    """The demonstration and what it has started."""

    def __init__(self, backstop, directory, state):
        self.backstop = backstop
        self.dir = directory
        self.lab = os.path.join(directory, "lab")
        self.state = ["--state", state] if state else []
        self.mounted = None
        self.environment = {**os.environ, "BACKSTOP_REPO": os.path.join(directory, "repository"),
                            "BACKSTOP_CONFIG": os.path.join(directory, "config.toml")}

    def run(self, *arguments, code=0):
        """Shows and runs the product; its exit code must be this."""
        print(f"{BLUE}$ backstop {shlex.join(arguments)}{PLAIN}", flush=True)
        done = subprocess.run([self.backstop, *arguments], env=self.environment, cwd=self.dir,
                              stdin=subprocess.DEVNULL, check=False)
        if done.returncode != code:
            raise RuntimeError(f"backstop {arguments[0]} ended with {done.returncode}, not {code}")

    def order(self, operation, **values):
        """An operation of the lab."""
        given = [f"{name}={json.dumps(value)}" for name, value in values.items()]
        return json.loads(self.program("ctl", operation, *given))

    def program(self, command, *arguments):
        """Runs the lab's own program."""
        done = subprocess.run([PROGRAM, command, "--dir", self.lab, *self.state, *arguments],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def end(self):
        """Takes everything away again."""
        if self.mounted is not None:
            self.unmount()
        if os.path.isdir(self.lab):
            self.program("down")
        shutil.rmtree(self.dir)

    def tell(self):
        """The whole story."""
        info = self.begin()
        self.trust(info)
        disk = self.refuse_and_remedy()
        self.back_up(disk)
        self.look()
        self.restore(disk)
        say("That was all. The lab and the repository are taken away again.")

    def begin(self):
        """An engine with its hosts, and a configuration for it."""
        say("An engine comes up, with two hosts, a transfer proxy and some VMs")
        info = json.loads(self.program("up", "--owner", str(os.getpid())))
        print(f"the engine is at {info['engine_url']}", flush=True)
        ports = {name: url.removeprefix("https://") for name, url in info["imageio"].items()}
        addresses = [f'"127.0.0.1" = "{ports["v4"]}"', f'"localhost" = "{ports["proxy"]}"']
        if "v6" in ports:
            addresses.append(f'"::1" = "{ports["v6"]}"')
        url = info["engine_url"].removesuffix("/ovirt-engine").replace("127.0.0.1", "localhost")
        with open(self.environment["BACKSTOP_CONFIG"], "w", encoding="utf-8") as file:
            file.write("\n".join([
                "[engine]", f'url = "{url}"', f'user = "{info["user"]}"',
                f'password_file = "{info["password_file"]}"', f'ca = "{info["api_ca_file"]}"',
                "[engine.host_addresses]", *addresses, ""]))
        return info

    def trust(self, info):
        """The internal authority is pinned, and the way to the engine is proven."""
        say("Its internal authority is trusted by the fingerprint that the administrator told us")
        digits = info["internal_ca_sha256"].upper()
        pairs = ":".join(digits[at:at + 2] for at in range(0, len(digits), 2))
        self.run("engine", "trust", "--fingerprint", pairs)
        self.run("engine", "test")
        say("An empty repository")
        self.run("init")

    def refuse_and_remedy(self):
        """A VM that cannot be backed up, until its administrator has done something."""
        say("A VM, shop01, with a disk of 128 MiB. Somebody looks at an old snapshot of it")
        made = self.order("add-vm", name="shop01", disks=[
            {"name": "shop01_system", "source": self.disk_image(), "backup": "incremental"}])
        self.order("preview", vm="shop01")
        self.run("eligibility", "shop01", code=4)
        say("The administrator ends the preview, as the remedy says")
        self.order("preview", vm="shop01", on=False)
        self.run("eligibility", "shop01")
        return made["disks"][0]

    def disk_image(self):
        """A file system with the project's own pages in it."""
        path = os.path.join(self.dir, "shop01.raw")
        program = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        with open(path, "wb") as file:
            file.truncate(128 * MIB)
            if program is None:
                file.write(os.urandom(32 * MIB))
        if program is not None:
            subprocess.run([program, "-q", "-d", os.path.join(PROJECT, "docs"), path], check=True)
        return path

    def back_up(self, disk):
        """In full, and then by what the guest has written."""
        if shutil.which("qemu-storage-daemon"):
            say("The VM is started, and is running and writing during its first backup, a full one")
            self.order("start-vm", vm="shop01")
            self.order("guest-writer", vm="shop01")
        else:
            say("The first backup of the VM is a full one")
        self.run("backup", "vm", "shop01")
        if shutil.which("qemu-storage-daemon"):
            self.order("guest-writer", vm="shop01", on=False)
        say("The guest writes a last time. The second backup is incremental")
        self.order("write", disk=disk, changes=[
            {"offset": place * MIB, "length": 65536, "pattern": place} for place in range(60, 64)])
        self.run("backup", "vm", "shop01")
        self.run("list")
        self.run("show", "shop01@latest")

    def look(self):
        """The restore points as files."""
        if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
            say("(Mounting needs root and /dev/fuse here: left out)")
            return
        say("Every restore point can be looked into at once: raw disks, and the VM's configuration")
        point = os.path.join(self.dir, "mnt")
        os.mkdir(point)
        print(f"{BLUE}$ backstop mount mnt &{PLAIN}", flush=True)
        self.mounted = subprocess.Popen([self.backstop, "mount", point], env=self.environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.isdir(os.path.join(point, "vms")):
                break
            time.sleep(0.05)
        subprocess.run("ls -l mnt/vms/shop01/*/", shell=True, cwd=self.dir, check=True)
        self.unmount()

    def unmount(self):
        """Ends the mount."""
        mounted, self.mounted = self.mounted, None
        mounted.send_signal(signal.SIGINT)
        mounted.wait()

    def restore(self, disk):
        """A new VM from the latest point: its disk is that of the old VM."""
        say("The latest point becomes a new VM of the engine, beside the old one")
        self.run("restore", "vm", "shop01@latest", "--name", "shop02")
        say("A disk can become a file as well. All three are compared: file, new VM, old VM")
        stored = os.path.join(self.dir, "restored.raw")
        self.run("restore", "disk", "shop01@latest", "shop01_system", stored)
        if shutil.which("qemu-storage-daemon"):
            self.order("stop-vm", vm="shop01")
        vms = json.loads(self.program("ctl", "state"))["vms"].values()
        new = next(iter(next(vm for vm in vms if vm["name"] == "shop02")["_attachments"]))
        digests = {self.order("digest", disk=one)["sha256"] for one in (disk, new)}
        digests.add(subprocess.check_output(["sha256sum", stored], text=True).split()[0])
        if len(digests) != 1:
            raise RuntimeError("the disks differ")
        print(f"they are equal: SHA-256 {digests.pop()}", flush=True)
