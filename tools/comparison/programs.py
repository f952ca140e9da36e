"""The programs that are compared, and how each is told to do the same work.

All cut disks at multiples of 1 MiB if they can, compress by zstd at about level 1, read every byte of what
they back up again, and keep holes when they restore where they can. All encrypt, except Backstop in one of
its two rows.
"""

import os
import pathlib
import subprocess

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
PEERS = CACHE / "backstop/peers/bin"
PASSWORD = "only to measure with"


class Program:
    """One program with a directory of its own; `restored` is the file that a restore makes."""

    binary = ""
    version_option = "--version"
    # Whether a restore goes to standard output.
    restores_to_output = False

    def __init__(self, directory, binary=None):
        self.directory, self.repository = directory, directory / "repository"
        self.restored = directory / "restored"
        self.program = binary or PEERS / self.binary
        self.password_file = directory / "password"
        directory.mkdir(parents=True, exist_ok=True)
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(PASSWORD + "\n", encoding="utf-8")
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory), **self.environment()}

    def environment(self):
        return {}

    def is_there(self):
        return self.program.exists()

    def version(self):
        """What follows the name, as in "borg 1.4.5" and "bupstash-0.12.0"."""
        said = self.run(self.program, self.version_option)
        return said.removeprefix(self.binary).strip(" -").split()[0]

    def run(self, *argv):
        done = subprocess.run(argv, env=self.env, cwd=self.directory, check=True, capture_output=True)
        return done.stdout.decode()

    def memories(self):
        """Where it keeps what it remembers of repositories."""
        return [self.directory / ".cache", self.directory / ".config"]

    def restored_image(self, _image):
        """Where a restore puts an image."""
        return self.restored


class Backstop(Program):
    name, settings = "Backstop", "slices of 64 KiB, zstd 1, plain"
    binary, init_options = "backstop", ()

    def environment(self):
        return {"BACKSTOP_REPO": str(self.repository), "BACKSTOP_TRUST_DIR": str(self.memories()[0])}

    def command(self, *arguments):
        return [self.program, *self.options(), *arguments]

    def options(self):
        return ()

    def make(self):
        self.run(*self.command("init", *self.init_options))

    def back_up(self, image, _number):
        return self.command("backup", "image", "--vm", "vm", f"disk={image}")

    def restore(self, _image, _number):
        return self.command("restore", "disk", "vm@latest", "disk", self.restored)

    def check(self):
        return self.command("scrub", "--level", "chunks")

    def list(self):
        return self.command("list")


class EncryptedBackstop(Backstop):
    name, settings = "Backstop, encrypted", "slices of 64 KiB, zstd 1, AES-256-GCM"
    init_options = ("--encrypt",)

    def options(self):
        return ("--password-file", self.password_file)


class Restic(Program):
    name, settings = "restic", "its own cuts, compression auto"
    binary, version_option = "restic", "version"

    def environment(self):
        return {"RESTIC_REPOSITORY": str(self.repository),
                "RESTIC_PASSWORD_FILE": str(self.password_file)}

    def command(self, *arguments):
        return [self.program, "--quiet", *arguments]

    def make(self):
        self.run(*self.command("init"))

    def back_up(self, image, _number):
        return self.command("backup", "--force", "--compression", "auto", image)

    def restore(self, _image, _number):
        return self.command("restore", "latest", "--sparse", "--target", self.restored)

    def restored_image(self, image):
        return self.restored / image.relative_to("/")

    def check(self):
        return self.command("check", "--read-data")

    def list(self):
        return self.command("snapshots")


class Rustic(Restic):
    name, settings = "rustic", "fixed 1 MiB, zstd 1"
    binary, version_option = "rustic", "--version"

    def environment(self):
        return {"RUSTIC_REPOSITORY": str(self.repository),
                "RUSTIC_PASSWORD_FILE": str(self.password_file), "RUSTIC_NO_PROGRESS": "true",
                "RUSTIC_LOG_LEVEL": "error"}

    def command(self, *arguments):
        return [self.program, *arguments]

    def make(self):
        self.run(*self.command("init", "--set-compression", "1", "--set-chunker", "fixed_size",
                               "--set-chunk-size", "1MiB"))

    def back_up(self, image, _number):
        return self.command("backup", "--force", image)

    def restore(self, _image, _number):
        return self.command("restore", "--sparse", "by-content", "latest", self.restored)


class Borg(Program):
    name, settings = "borg", "fixed 1 MiB, zstd 1, keyed BLAKE2"
    binary = "borg"

    def environment(self):
        return {"BORG_REPO": str(self.repository), "BORG_PASSPHRASE": PASSWORD,
                "BORG_BASE_DIR": str(self.directory)}

    def command(self, *arguments):
        return [self.program, *arguments]

    def make(self):
        self.run(*self.command("init", "--encryption", "repokey-blake2"))

    def back_up(self, image, number):
        return self.command("create", "--files-cache", "disabled", "--compression", "zstd,1", "--sparse",
                            "--chunker-params", "fixed,1048576", f"::{number}", image)

    def restore(self, _image, number):
        # It restores to where it stands.
        self.restored.mkdir(exist_ok=True)
        return ["env", "--chdir", self.restored, *self.command("extract", "--sparse", f"::{number}")]

    def restored_image(self, image):
        return self.restored / image.relative_to("/")

    def check(self):
        return self.command("check", "--verify-data")

    def list(self):
        return self.command("list")


class Bupstash(Program):
    name, settings = "bupstash", "its own cuts, zstd 1; a key without a password; instead of a check it reads a point"
    binary, restores_to_output = "bupstash", True

    def environment(self):
        return {"BUPSTASH_REPOSITORY": str(self.repository), "BUPSTASH_KEY": str(self.directory / "key")}

    def command(self, verb, *arguments):
        return [self.program, verb, "--quiet", *arguments]

    def make(self):
        if not (self.directory / "key").exists():
            self.run(self.program, "new-key", "--output", self.directory / "key")
        self.run(self.program, "init")

    def back_up(self, image, number):
        return self.command("put", "--no-stat-caching", "--compression", "zstd:1", f"number={number}",
                            image)

    def restore(self, _image, number):
        return self.command("get", f"number={number}")

    def check(self):
        """It has none."""
        return None

    def list(self):
        return self.command("list")


PROGRAMS = (EncryptedBackstop, Backstop, Restic, Rustic, Borg, Bupstash)
