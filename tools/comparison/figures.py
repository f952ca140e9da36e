"""What was aimed at, and what is reached: every figure out of samples, and a missed one in bold."""

import statistics

from . import report

PROGRAMS, DATA_PATH = "[`tools/compare`](#beside-other-programs)", "[`data_path`](#the-data-path)"
SCALE, MOUNT = "[`scale`](#scale)", "[`tools/compare-mounts`](#the-mount)"
HEAD = ["| work | aim | reached | measured by |", "|---|---|---|---|"]
MILLION = 1e6
# Row names of the bench data_path, and what its table calls them.
SYSTEM, NOISE, AGAIN = "fresh, files of this system", "fresh, incompressible", "identical disk again"
DIRTY, RESTORE = "1 % of 64 GiB dirty", "restore to a file"
HASH, CHUNKS, SPARSE = "scrub hash", "scrub chunks", "sparse 10 TiB, nothing written"
OF_DISKS = (SYSTEM, NOISE, AGAIN, DIRTY, RESTORE, HASH, CHUNKS, SPARSE)
LARGEST = 100_000_000


class Missing(Exception):
    """Nothing was measured that a figure could come from."""


def at_least(value, least, text="{:.2f}"):
    return marked(text.format(value), value >= least)


def at_most(value, most, text):
    return marked(text.format(value), value <= most)


def marked(text, is_met):
    return text if is_met else f"**{text}**"


class Samples:
    """Samples of programs and benches, by what the figures ask of them."""

    def __init__(self, result):
        # What is aimed at is for what is read in the page cache.
        self.programs = {} if result["cold"] else result["samples"]
        self.benches = result["benches"]

    def bench(self, name):
        if name not in self.benches:
            raise Missing(name)
        return self.benches[name]

    def runs(self, row):
        rows = self.bench("data_path")["rows"]
        if row not in rows:
            raise Missing(row)
        return rows[row]["runs"]

    def of_parts(self, row):
        return statistics.median(run["parts"] / run["seconds"] for run in self.runs(row))

    def of_larger(self, row):
        return statistics.median(max(run["parts"], run["disk"]) / run["seconds"] for run in self.runs(row))

    def seconds(self, row):
        return statistics.median(run["seconds"] for run in self.runs(row))

    def strict_restore(self):
        """Against the larger of decoding alone and what the disk takes."""
        decoding = statistics.median(run["parts"] for run in self.runs(CHUNKS))
        return statistics.median(max(decoding, run["disk"]) / run["seconds"] for run in self.runs(RESTORE))

    def peak_mib(self):
        return max(run["peak_mib"] for row in OF_DISKS for run in self.runs(row))

    def others(self, work):
        """The other programs and how many times as long they take, the fastest first."""
        samples = self.programs.get(work, {})
        others = [name for name in samples if name not in report.OURS]
        if report.ENCRYPTED not in samples or not others:
            raise Missing(work)
        return sorted((report.ratio(samples, name, report.ENCRYPTED), name) for name in others)

    def scale(self, work, figure):
        """A figure of the largest repository; only of one of 100 million chunks."""
        scale = self.bench("scale")
        figures = scale["works"].get(work, {})
        if scale["chunks"][-1] < LARGEST or figure not in figures:
            raise Missing(figure)
        return figures[figure][-1]

    def mount(self, other, work):
        """How many times as fast as another contender the mount is."""
        contenders = self.bench("mount")
        names = [name for name in contenders if name.startswith(other) and work in contenders[name]]
        if not names or work not in contenders.get(OURS, {}):
            raise Missing(other)
        pairs = zip(contenders[OURS][work], contenders[names[0]][work], strict=True)
        return statistics.median(speed(ours) / speed(theirs) for ours, theirs in pairs)

    def slowest_lead(self, others, work):
        """The lead over the best of several, and who that is."""
        return min((self.mount(other, work), other) for other in others)


def speed(run):
    return run["amount"] / run["seconds"]


def beside(work, fastest, next_one=None):
    def reached(samples):
        (ratio, name), *rest = samples.others(work)
        text = f"{at_least(ratio, fastest)} ({name})"
        if next_one and rest:
            text += f", {at_least(rest[0][0], next_one)} ({rest[0][1]})"
        return text
    return reached


def beside_rustic(samples):
    ratios = {name: ratio for ratio, name in samples.others("check")}
    if "rustic" not in ratios:
        raise Missing("rustic")
    return at_least(ratios["rustic"], 2.0)


def incompressible(samples):
    return (f"{at_least(samples.of_parts(NOISE), 0.85)}; {samples.of_larger(NOISE):.2f} of the larger of that "
            "and what the disk takes")


def restore(samples):
    return (f"{at_least(samples.of_parts(RESTORE), 0.85)}; {at_least(samples.strict_restore(), 0.85)} of a "
            "stricter limit")


def opening(samples):
    return (f"{at_most(samples.scale('open', 'ms'), 20, '{:.1f} ms')}, "
            f"{at_most(samples.scale('open', 'resident'), 32, '{:.1f} MiB')}")


def lookups(figure, least, text):
    """In the segments that merges leave, and in one; and there without asking for the pack."""
    def reached(samples):
        several, one, known = (samples.scale(work, name) for work, name in (
            ("lookups", figure[0]), ("lookups-merged", figure[0]), ("lookups-merged", figure[1])))
        return (f"{at_least(several, least, text)} in six segments, {at_least(one, least, text)} in one, "
                f"{text.format(known)} there without their packs")
    return reached


def first_byte(samples):
    bench = samples.bench("first_byte")
    if (bench["points"], bench["chunks"]) != (10_000, 10_000_000):
        raise Missing("first_byte")
    runs = bench["runs"]
    return (f"{at_most(statistics.median(run['seconds'] for run in runs), 0.5, '{:.2f} s')}, "
            f"{at_most(max(run['peak_mib'] for run in runs), 64, '{:.0f} MiB')}")


ONE, FOUR = "at random, 1 at a time", "at random, 4 at a time"
IN_ORDER, PAST_CACHE = "in order", "past the page cache"
TOGETHER = "the library and that mount, together"
OURS = "backstop"
ARCHIVES = ("restic", "borg", "rustic")


def over_archives(samples):
    (one, name), (four, _) = (samples.slowest_lead(ARCHIVES, work) for work in (ONE, FOUR))
    return f"{at_least(one, 10, '{:.1f}')} ({name}); {four:.0f} with four at a time"


# Work, aim, who measures it, and the figure.
ROWS = (
    ("first backup, files of a system", "0.85 of limit(parts)", DATA_PATH,
     lambda s: at_least(s.of_parts(SYSTEM), 0.85)),
    ("- beside other programs", "2 times the fastest", PROGRAMS, beside("fresh", 2.0)),
    ("first backup, incompressible", "0.85 of limit(parts)", DATA_PATH, incompressible),
    ("identical disk again", "0.85 of reading and hashing", DATA_PATH,
     lambda s: at_least(s.of_parts(AGAIN), 0.85)),
    ("- beside other programs", "2.5 times the fastest, 4 times the others", PROGRAMS,
     beside("again", 2.5, 4.0)),
    ("sparse 10 TiB, nothing written", "below 1 s", DATA_PATH,
     lambda s: at_most(s.seconds(SPARSE), 1, "{:.3f} s")),
    ("1 % of 64 GiB changed, extents given", "0.8 of limit(parts)", DATA_PATH,
     lambda s: at_least(s.of_parts(DIRTY), 0.8)),
    ("restore to a file", "0.85 of limit(parts)", DATA_PATH, restore),
    ("- beside other programs", "1.5 times the fastest", PROGRAMS, beside("restore", 1.5)),
    ("scrub `hash`", "0.9 of reading and hashing", DATA_PATH, lambda s: at_least(s.of_parts(HASH), 0.9)),
    ("scrub `chunks`", "0.85 of limit(parts)", DATA_PATH, lambda s: at_least(s.of_parts(CHUNKS), 0.85)),
    ("- beside other programs", "2 times rustic", PROGRAMS, beside_rustic),
    ("open, at 10,000 restore points and 100 million chunks", "20 ms, 32 MiB", SCALE, opening),
    ("memory of any of these", "256 MiB and mapped pages", DATA_PATH,
     lambda s: at_most(s.peak_mib(), 256, "{:.0f} MiB with mapped pages")),
    ("lookups at 100 million, warm, one core", "3 million hits/s", SCALE,
     lookups(("hits", "known"), 3, "{:.2f} million")),
    ("- in batches sorted by id", "15 million/s", SCALE,
     lookups(("sorted batched hits", "sorted batched known"), 15, "{:.1f} million")),
    ("- cold", "one page fault for a hit", SCALE,
     lambda s: f"{at_most(s.scale('cold-hits', 'faults'), 1.05, '{:.2f}')} in six segments, "
               f"{at_most(s.scale('cold-hits-merged', 'faults'), 1.05, '{:.2f}')} in one"),
    ("mount, in order, cold", "0.9 of the library", MOUNT,
     lambda s: f"{at_least(s.mount('library', IN_ORDER), 0.9)}; {s.mount('library', PAST_CACHE):.2f} past the "
               "page cache"),
    ("- of the library and a mount whose bytes cost nothing, together", "", MOUNT,
     lambda s: f"{s.mount(TOGETHER, IN_ORDER):.2f}; {s.mount(TOGETHER, PAST_CACHE):.2f} past the page cache"),
    ("-", "1.5 times squashfs", MOUNT, lambda s: at_least(s.mount("squashfs", IN_ORDER), 1.5)),
    ("mount, 4 KiB at random, cold", "5 times whole chunks", MOUNT,
     lambda s: at_least(s.mount("library, whole chunks", ONE), 5, "{:.1f}")),
    ("-", "4 times squashfs", MOUNT, lambda s: at_least(s.mount("squashfs", ONE), 4, "{:.1f}")),
    ("-", "10 times the best mount of restic, borg, rustic", MOUNT, over_archives),
    ("-", "1.3 times QEMU's export of a zstd qcow2", MOUNT,
     lambda s: f"{at_least(s.mount('QEMU', ONE), 1.3)}; {s.mount('QEMU', FOUR):.2f} with four at a time"),
    ("mount to the first byte, 10,000 restore points, 10 million chunks", "0.5 s, 64 MiB",
     "`cargo bench --bench first_byte`", first_byte),
)


def table(result, before=""):
    """All rows. What was not measured stays as it stands in the table `before`."""
    samples, known = Samples(result), cells_of(before)
    lines = list(HEAD)
    for work, aim, measured_by, figure in ROWS:
        try:
            reached = figure(samples)
        except Missing:
            reached = known.get(aim_key(lines, work, aim), "not measured")
        lines.append(f"| {work} | {aim} | {reached} | {measured_by} |")
    return "\n".join(lines) + "\n"


def cells_of(table_text):
    """By the place of a row, what a table says was reached."""
    known, lines = {}, []
    for line in table_text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4:
            known[aim_key(lines, cells[0], cells[1])] = cells[2]
            lines.append(line)
    return known


def aim_key(lines, work, aim):
    """Works that go on from the row above are told apart by it."""
    heads = [line.split("|")[1].strip() for line in lines]
    named = next((head for head in reversed(heads) if not head.startswith("-")), "")
    return (named if work.startswith("-") else "", work, aim)
