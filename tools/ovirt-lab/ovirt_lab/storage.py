"""Real disk images: qemu-img for layers and bitmaps, qemu-nbd for exports as hosts make them."""

import hashlib
import json
import os
import subprocess


def run(*argv):
    """Runs a tool; its words are the error."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise RuntimeError(f"{os.path.basename(argv[0])}: {words[-400:]}")
    return done.stdout


def driver(disk_format):
    """QEMU's name of the engine's format."""
    return "qcow2" if disk_format == "cow" else "raw"


def create(path, disk_format, size, version="qcow2_v3", backing=None):
    """Makes an empty image, or a layer on top of another."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    argv = ["qemu-img", "create", "-q", "-f", driver(disk_format)]
    if disk_format == "cow":
        argv += ["-o", "compat=" + ("0.10" if version == "qcow2_v2" else "1.1")]
    if backing:
        argv += ["-b", backing[0], "-F", driver(backing[1])]
    run(*argv, path, str(size))


def info(path):
    """What qemu-img knows of an image."""
    return json.loads(run("qemu-img", "info", "-U", "--output=json", path))


def allocated(path):
    """Bytes that the file takes."""
    return os.stat(path).st_blocks * 512


def bitmaps(path):
    """Names and flags of the persistent bitmaps in a qcow2 file."""
    data = info(path).get("format-specific", {}).get("data", {})
    return {entry["name"]: entry["flags"] for entry in data.get("bitmaps", [])}


def add_bitmap(path, name):
    """Starts a bitmap that records from now on."""
    run("qemu-img", "bitmap", "--add", "--enable", path, name)


def remove_bitmap(path, name):
    """Deletes a bitmap; quiet when there is none."""
    if name in bitmaps(path):
        run("qemu-img", "bitmap", "--remove", path, name)


def change(target, disk_format, changes):
    """Writes into an image or an NBD address; each change is {op, offset, length, pattern}."""
    argv = ["qemu-io", "-f", disk_format]
    for entry in changes:
        place = f"{int(entry['offset'])} {int(entry['length'])}"
        kind = entry.get("op", "write")
        if kind == "write":
            command = f"write -q -P {int(entry.get('pattern', 0xaa))} {place}"
        elif kind == "zero":
            command = f"write -q -z {place}"
        elif kind == "discard":
            command = f"discard -q {place}"
        else:
            raise ValueError(f"unknown change {kind}")
        argv += ["-c", command]
    words = run(*argv, target).strip()
    if words:
        raise RuntimeError(words)


def fill(path, disk_format, source):
    """Copies a raw file into an existing image."""
    run("qemu-img", "convert", "-q", "-n", "-f", "raw", "-O", driver(disk_format), source, path)


def copy(path, disk_format, target):
    """Copies what a guest would read into a raw file."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    run("qemu-img", "convert", "-q", "-U", "-f", driver(disk_format), "-O", "raw", path, target)


def sha256(path, disk_format):
    """Digest of what a guest would read."""
    temporary = path + ".digest"
    try:
        copy(path, disk_format, temporary)
        return file_sha256(temporary)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def file_sha256(path):
    """Digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def layers_with_bitmap(layers, name):
    """The layers, top first, down to the first that lacks the bitmap."""
    found = []
    for layer in reversed(layers):
        if layer["format"] != "cow" or name not in bitmaps(layer["path"]):
            break
        found.append(layer)
    return found


def merged_overlay(layers, name, path):
    """A temporary layer whose bitmap unites those of the chain."""
    top = layers[-1]
    holders = layers_with_bitmap(layers, name)
    if not holders:
        raise RuntimeError(f"Bitmap does not exist: {name}")
    create(path, "cow", info(top["path"])["virtual-size"],
           backing=(top["path"], top["format"]))
    run("qemu-img", "bitmap", "--add", path, name)
    for holder in holders:
        run("qemu-img", "bitmap", "--merge", name, "-b", holder["path"], "-F", "qcow2", path, name)
    return path


def export(processes, name, socket, image, disk_format, *, writable=False, bitmap=None,
           sparse=True, shallow=False):
    """Starts qemu-nbd with the options that hosts use."""
    try:
        os.unlink(socket)
    except FileNotFoundError:
        pass
    node = {"driver": driver(disk_format), "file": {"driver": "file", "filename": image}}
    if disk_format == "cow" and shallow:
        node["backing"] = None
    argv = ["qemu-nbd", "--socket", socket, "--persistent", "--shared=8", "--export-name=",
            "--cache=writeback"]
    if disk_format == "cow":
        argv.append("--allocation-depth")
    if not writable:
        argv.append("--read-only")
    elif sparse:
        argv += ["--discard=unmap", "--detect-zeroes=unmap"]
    if bitmap:
        argv.append("--bitmap=" + bitmap)
    argv.append("json:" + json.dumps(node))
    processes.spawn(name, argv, lambda: os.path.exists(socket))
    return "nbd:unix:" + socket
