"""The works that are timed: each program does each in every round, by turns."""

import json
import os
import random

from . import clock, images


class Bench:
    """Does works in a scratch directory and gathers samples: work -> program -> one for each round."""

    def __init__(self, scratch, programs, image, rounds, cold):
        self.scratch, self.programs, self.image = scratch, programs, image
        self.rounds, self.cold = rounds, cold
        self.samples = {}

    def run(self, name):
        """Does one work in all rounds."""
        work = WORKS[name](self)
        for program in self.programs:
            work.prepare(program)
        start = random.randrange(len(self.programs))
        for number in range(self.rounds):
            work.begin_round(number)
            # The first may pay for memory that was never in use: that is not always the same one.
            first = (start + number) % len(self.programs)
            for program in self.programs[first:] + self.programs[:first]:
                work.begin(program)
                sample = self.clock(program, work)
                self.samples.setdefault(name, {}).setdefault(program.name, []).append(sample)
        for program in self.programs:
            work.end(program)

    def clock(self, program, work):
        before = clock.size(program.repository)
        clock.make_durable(self.scratch)
        if self.cold:
            clock.cool()
        else:
            clock.warm(work.reads(program))
        argv, output = work.command(program)
        durable_in = self.scratch if work.writes else None
        sample = clock.timed(argv, program.env, program.directory, durable_in, output)
        sample["added_bytes"] = clock.size(program.repository) - before
        return sample


class Work:
    """One work: only `command` is inside the clock, once for each program in every round."""

    writes = False

    def __init__(self, bench):
        self.bench = bench
        self.image = self.make_image(bench)

    def make_image(self, bench):
        return bench.image

    def prepare(self, program):
        fill(program, self.image)

    def begin_round(self, number):
        pass

    def begin(self, program):
        pass

    def reads(self, program):
        return program.repository

    def end(self, program):
        pass


class Backup(Work):
    """One more backup of an image that did not change, read in full."""

    writes = True

    def reads(self, program):
        return self.image

    def command(self, program):
        return program.back_up(self.image, next_number(program, self.image)), os.devnull

    def end(self, program):
        """Nobody wins by failing."""
        if self.bench.rounds > 0:
            argv, output = restoring(program, self.image)
            clock.timed(argv, program.env, program.directory, None, output)
            expect(program, self.image)


class Fresh(Backup):
    """The first backup of an image."""

    def prepare(self, program):
        pass

    def begin(self, program):
        empty(program)


class FreshNoise(Fresh):
    """The first backup of an image that cannot be compressed."""

    def make_image(self, bench):
        return images.noise(bench.scratch / "noise.raw", bench.image.stat().st_size * 2 // 3)


class Incremental(Backup):
    """One more backup of an image in which a chunk of a hundred has changed, read in full."""

    def make_image(self, bench):
        return images.copy(bench.image, bench.scratch / "changing.raw")

    def prepare(self, program):
        empty(program)
        super().prepare(program)

    def begin_round(self, number):
        images.change(self.image, number)

    def end(self, program):
        super().end(program)
        empty(program)


class Restore(Work):
    """A disk to a new file."""

    writes = True

    def command(self, program):
        images.remove(program.restored)
        return restoring(program, self.image)

    def end(self, program):
        if self.bench.rounds > 0:
            expect(program, self.image)


class Check(Work):
    """Reading, decoding and checking all that is stored."""

    def command(self, program):
        argv = program.check()
        return (argv or program.restore(self.image, number_of(program))), os.devnull


class List(Work):
    """Naming the restore points."""

    def command(self, program):
        return program.list(), os.devnull


WORKS = {"fresh": Fresh, "noise": FreshNoise, "restore": Restore, "check": Check, "again": Backup,
         "list": List, "incremental": Incremental}


def empty(program):
    """Gives a program an empty repository, and nothing that it remembers of another."""
    for kept in (program.repository, program.restored, state(program), *program.memories()):
        images.remove(kept)
    program.make()


def fill(program, image):
    """Has a program hold an image, from an empty repository on if its newest point is of another one."""
    if held(program).get("image") == str(image):
        return
    empty(program)
    clock.timed(program.back_up(image, next_number(program, image)), program.env, program.directory)


def restoring(program, image):
    argv = program.restore(image, number_of(program))
    return argv, (program.restored if program.restores_to_output else os.devnull)


def expect(program, image):
    """Compares what a program has restored with the image, and removes it."""
    if not images.same(program.restored_image(image), image):
        raise SystemExit(f"compare: {program.name} restored something else than it backed up")
    images.remove(program.restored)


def next_number(program, image):
    """Numbers one more restore point of a program."""
    number = number_of(program) + 1
    state(program).write_text(json.dumps({"image": str(image), "number": number}), encoding="ascii")
    return number


def number_of(program):
    return held(program).get("number", 0)


def held(program):
    return json.loads(state(program).read_text(encoding="ascii")) if state(program).exists() else {}


def state(program):
    return program.directory / "held.json"
