"""Images to back up."""

import pathlib
import random
import shutil
import subprocess

TOOLS = pathlib.Path(__file__).resolve().parent.parent
CHUNK = 1 << 20
# What is changed in a chunk that changes.
WRITE = 64 << 10


def system(path):
    """Files of this system in an ext4 image of 1.5 GiB."""
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        subprocess.run([TOOLS / "system-image", unfinished], check=True)
        unfinished.rename(path)
    return path


def noise(path, length):
    if not path.exists() or path.stat().st_size != length:
        with open("/dev/urandom", "rb") as source, open(path, "wb") as file:
            for begin in range(0, length, CHUNK):
                file.write(source.read(min(CHUNK, length - begin)))
    return path


def copy(image, path):
    """A copy with the same holes: some programs cut a disk at them."""
    subprocess.run(["cp", "--sparse=auto", "--reflink=never", image, path], check=True)
    return path


def change(path, number):
    """Writes 64 KiB into one chunk of a hundred, in others for each number."""
    chosen = random.Random(number)
    chunks = path.stat().st_size // CHUNK
    with open(path, "r+b") as file:
        for chunk in chosen.sample(range(chunks), max(1, chunks // 100)):
            file.seek(chunk * CHUNK + chosen.randrange(CHUNK // WRITE) * WRITE)
            file.write(chosen.randbytes(WRITE))


def same(one, other):
    return subprocess.run(["cmp", "--silent", one, other], check=False).returncode == 0


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
