"""The benches of the library, whose samples stand beside those of whole programs."""

import json
import os
import pathlib
import subprocess
import sys

from . import programs

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def run(name, scratch, rounds, image, chunks):
    """Runs one bench, with temporary files in the scratch directory; returns its samples."""
    out = scratch / f"{name}.json"
    out.unlink(missing_ok=True)
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", name, "--", "--json", str(out)]
    command += BENCHES[name](rounds, image, chunks)
    # Mounting takes programs that users need not have in their path.
    path = f"{programs.PEERS}:{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
    environment = dict(os.environ, TMPDIR=str(scratch), PATH=path)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if not out.exists():
        raise SystemExit(f"compare: the bench {name} failed")
    if done.returncode != 0:
        print(f"compare: the bench {name} found a rule broken", file=sys.stderr)
    return json.loads(out.read_text(encoding="ascii"))


def of_image(rounds, image, _chunks):
    return ["--runs", str(rounds), "--image", str(image)]


def of_numbers(_rounds, _image, chunks):
    return [str(number) for number in chunks]


def first_byte(rounds, _image, _chunks):
    return ["10000", "10000000", str(rounds)]


# What each is told. The last takes ten minutes or more for 100 million chunks.
BENCHES = {"data_path": of_image, "mount": of_image, "first_byte": first_byte, "scale": of_numbers}


def joined(runs):
    """Of several results the runs of `data_path` row by row, of other benches the last."""
    together = {}
    for run_of_all in runs:
        for name, samples in run_of_all.items():
            rows = together.get(name, {}).get("rows", {}) if name == "data_path" else {}
            together[name] = samples
            for row, more in rows.items():
                mine = samples["rows"].setdefault(row, {**more, "runs": []})
                mine["runs"] = more["runs"] + mine["runs"]
    return together
