"""What a command costs: time, processor, memory."""

import os
import subprocess
import sys
import time


def timed(argv, env, cwd, durable_in=None, output=os.devnull):
    """Runs a command; with `durable_in`, until its file system holds everything.

    Returns seconds, CPU seconds and peak memory in bytes of the largest process. The memory is at least
    what this process had when it started the command.
    """
    with open(output, "wb") as stdout, open(os.devnull, "rb") as stdin:
        began = time.monotonic()
        process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=stdin, stdout=stdout,
                                   stderr=subprocess.PIPE)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if durable_in:
            make_durable(durable_in)
        seconds = time.monotonic() - began
    if process.returncode != 0:
        sys.stderr.buffer.write(said)
        raise SystemExit(f"compare: exit code {process.returncode} of {' '.join(map(str, argv))}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "memory_bytes": usage.ru_maxrss << 10}


def make_durable(path):
    subprocess.run(["sync", "--file-system", path], check=True)


def warm(path):
    """Brings a file, or all files of a directory, into the page cache."""
    for file in files(path):
        with open(file, "rb", buffering=0) as opened:
            while opened.read(1 << 20):
                pass


def cool():
    """Empties the page cache, which takes root."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
        drop.write("3")


def size(path):
    return sum(file.stat().st_size for file in files(path))


def files(path):
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
