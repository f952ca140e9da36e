"""What the benches of the library measured, as the tables of a page."""

import statistics

from . import figures, report

PATH_HEAD = "| work | seconds | limit(parts) | ratio | disk | ratio to the larger | GB/s of disk | peak MiB |"
PATH_TITLES = {
    figures.SYSTEM: "first backup, files of a system", figures.NOISE: "first backup, incompressible",
    figures.AGAIN: figures.AGAIN, figures.DIRTY: "1 % of 64 GiB dirty, extents given",
    figures.RESTORE: figures.RESTORE, figures.HASH: "scrub `hash`", figures.CHUNKS: "scrub `chunks`",
    figures.SPARSE: figures.SPARSE, "open a repository": "open this repository",
}
AGAIN = "again"
MOUNT_HEADS = {figures.IN_ORDER: "in order, cold, GB/s", figures.PAST_CACHE: "past the page cache",
               AGAIN: "again", figures.ONE: "4 KiB at random, cold, reads/s", figures.FOUR: "4 at a time"}
# Whose processor time is shown, too.
WITH_CPU = (figures.IN_ORDER, figures.PAST_CACHE)


def data_path(result):
    """The rows of the bench data_path, or nothing where some were not measured."""
    bench = result["benches"].get("data_path", {"rows": {}})
    if any(row not in bench["rows"] for row in PATH_TITLES):
        return None
    samples = figures.Samples(result)
    lines = [PATH_HEAD, "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for row, title in PATH_TITLES.items():
        lines.append(f"| {title} | {' | '.join(path_cells(samples, row, bench['rows'][row]))} |")
    rounds = max(len(row["runs"]) for row in bench["rows"].values())
    lines += ["", f"{bench['threads']} threads, {rounds} runs each, {result['date']}. Against the larger of "
              f"decoding alone (the limit of `chunks`) and the disk, the ratio of a restore is "
              f"{samples.strict_restore():.2f}."]
    return "\n".join(lines) + "\n"


def path_cells(samples, row, measured):
    runs = measured["runs"]
    seconds, peak = (statistics.median(run[key] for run in runs) for key in ("seconds", "peak_mib"))
    shown = f"{seconds:.2f}" if seconds >= 0.01 else f"{seconds:.3f}" if seconds >= 0.001 else "below 0.001"
    cells = [shown, "", "", "", "", "", f"{peak:.0f}"]
    if all(run["parts"] is not None for run in runs):
        parts, disk = (statistics.median(run[key] for run in runs) for key in ("parts", "disk"))
        cells[1:5] = [f"{parts:.2f}", f"{samples.of_parts(row):.2f}", f"{disk:.2f}" if disk else "",
                      f"{samples.of_larger(row):.2f}"]
        speed_of_disk = measured["bytes"] / seconds / 1e9
        cells[5] = f"{speed_of_disk:.1f}" if speed_of_disk >= 1.5 else f"{speed_of_disk:.2f}"
    return cells


def mount(result):
    """All contenders of the bench mount, or nothing where it did not run."""
    contenders = result["benches"].get("mount")
    if not contenders:
        return None
    heads = ["", *MOUNT_HEADS.values(), *(f"CPU s, {work}" for work in WITH_CPU)]
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    for name, works in sorted(contenders.items(), key=lambda contender: in_order_first(contender[1])):
        cells = [mount_cell(work, works.get(work, [])) for work in MOUNT_HEADS]
        cells += [cpu_cell(works.get(work, [])) for work in WITH_CPU]
        rows.append([f"**{name}**" if name == figures.OURS else name, *cells])
    rounds = max(len(runs) for works in contenders.values() for runs in works.values())
    return "\n".join([lined(rows), "", f"Medians of {rounds} runs, {result['date']}."]) + "\n"


def in_order_first(works):
    """The fastest in order come first."""
    return -speed(works.get(figures.IN_ORDER, []))


def speed(runs):
    return statistics.median(map(figures.speed, runs)) if runs else 0


def mount_cell(work, runs):
    if not runs:
        return ""
    is_in_reads = work in (figures.ONE, figures.FOUR)
    return f"{speed(runs):.0f}" if is_in_reads else f"{speed(runs) / 1e9:.2f}"


def cpu_cell(runs):
    return f"{statistics.median(run['cpu_seconds'] for run in runs):.2f}" if runs else ""


def scale(result):
    """All rows of the bench scale as it calls them, or nothing where it did not run."""
    bench = result["benches"].get("scale")
    if not bench:
        return None
    heads = ["", *(f"{chunks:,} chunks, {points:,.0f} restore points"
                   for chunks, points in zip(bench["chunks"], bench["points"], strict=True))]
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    rows += [[label, *map(report.short, bench["works"][work][figure])] for label, work, figure in bench["rows"]]
    return "\n".join([lined(rows), "", f"{result['date']}."]) + "\n"


def lined(rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# By the marks that they stand between.
ALL = {"data_path": data_path, "mount": mount, "scale": scale}
