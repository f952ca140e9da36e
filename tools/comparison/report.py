"""Tables from samples."""

import statistics

from . import benches

ENCRYPTED, PLAIN = "Backstop, encrypted", "Backstop"
OURS = (ENCRYPTED, PLAIN)
# Added bytes that differ by more from ours are not of comparable compression.
COMPARABLE = 0.10

TITLES = {
    "fresh": "first backup, files of a system", "noise": "first backup, incompressible",
    "again": "identical disk again", "incremental": "1 % of the chunks changed",
    "restore": "restore to a file", "check": "check, reading all data", "list": "list",
}
# How many times as long the fastest of the others may at least take.
ASKED = {"fresh": 2.0, "again": 2.5, "restore": 1.5, "check": 2.0}
ADDS = ("fresh", "noise", "again", "incremental")


def merge(runs):
    """Joins the rounds of several runs. Those of programs must be of the same in the same versions."""
    compared = [run for run in runs if run["samples"]]
    first = compared[0] if compared else runs[0]
    joined = {**first, "samples": {}, "benches": benches.joined(run.get("benches", {}) for run in runs)}
    for run in compared:
        if any(run[key] != first[key] for key in ("programs", "image_bytes", "cold", "processors")):
            raise SystemExit("compare: these results are of other programs, images or conditions")
        for work, programs in run["samples"].items():
            for program, samples in programs.items():
                joined["samples"].setdefault(work, {}).setdefault(program, []).extend(samples)
    return joined


def markdown(result):
    works = [work for work in TITLES if work in result["samples"]]
    parts = [conditions(result), summary(result["samples"], works)]
    parts += [table(work, result) for work in works]
    return "\n\n".join(parts) + "\n"


def conditions(result):
    cache = "nothing in the page cache" if result["cold"] else "what is read in the page cache"
    lines = [f"An image of {result['image_bytes'] >> 20} MiB, {result['processors']} processors, kernel "
             f"{result['kernel']}, {cache}, {result['date']}.", ""]
    lines += [f"- {name} {described}" for name, described in result["programs"].items()]
    return "\n".join(lines)


def summary(samples, works):
    lines = ["| work | Backstop, encrypted, s | fastest of the others | times as long | asked |",
             "|---|--:|---|--:|--:|"]
    for work in works:
        others = {name: ratio(samples[work], name, ENCRYPTED)
                  for name in samples[work] if name not in OURS}
        if not others or ENCRYPTED not in samples[work]:
            continue
        fastest = min(others, key=others.get)
        asked = ASKED.get(work, "")
        lines.append(f"| {TITLES[work]} | {short(median(samples[work][ENCRYPTED], 'seconds'))} | {fastest} "
                     f"| {others[fastest]:.2f} | {asked} |")
    return "\n".join(lines)


def table(work, result):
    samples, has_added = result["samples"][work], work in ADDS
    heads = ["", "seconds", "from, to", "CPU seconds", "memory, MiB"]
    heads += ["added, MiB"] * has_added + [f"of {ours}" for ours in OURS]
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    rows += [cells(name, samples, has_added) for name in samples]
    rounds = max(map(len, samples.values()))
    title = f"**{TITLES[work].capitalize()}** ({rounds} {'round' if rounds == 1 else 'rounds'})"
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)])


def cells(name, samples, has_added):
    mine = samples[name]
    seconds = [sample["seconds"] for sample in mine]
    row = [name, short(statistics.median(seconds)), f"{short(min(seconds))}, {short(max(seconds))}",
           short(median(mine, "cpu_seconds")), f"{max(s['memory_bytes'] for s in mine) / 2**20:.0f}"]
    if has_added:
        row.append(f"{median(mine, 'added_bytes') / 2**20:.1f}")
    return row + [short(ratio(samples, name, ours)) if ours in samples else "" for ours in OURS]


def short(number):
    """With three digits, more or less."""
    return f"{number:.0f}" if number >= 100 else f"{number:.2f}" if number >= 0.1 else f"{number:.3f}"


def ratio(samples, name, to):
    """How many times as long one program took as another: the median over the rounds."""
    pairs = zip(samples[name], samples[to], strict=True)
    return statistics.median(mine["seconds"] / other["seconds"] for mine, other in pairs)


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def incomparable(samples):
    """Programs that store more than a tenth more or less of a system's files than Backstop."""
    fresh = samples.get("fresh", {})
    if ENCRYPTED not in fresh:
        return {}
    ours = median(fresh[ENCRYPTED], "added_bytes")
    shares = {name: median(mine, "added_bytes") / ours - 1 for name, mine in fresh.items()}
    return {name: share for name, share in shares.items() if abs(share) > COMPARABLE}
