"""The command of `scripts/chaos`: plays trials, counts, and says what was survived."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scripts.chaos_trials import elsewhere, faults, kills, power
from scripts.chaos_trials.faults import CALLS, FAULTS, Fault
from scripts.chaos_trials.mutants import MUTANTS
from scripts.chaos_trials.stage import Stage, stage
from scripts.chaos_trials.tools import until
from scripts.chaos_trials.trial import Trial, running

Play = Callable[[Trial], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trial.

    Attributes:
        long: how many are played.
        short: how many are played in a minute, beside the others.
        at_once: how many may be played side by side.
        needs: commands of the system, as root.
    """

    play: Play
    long: int
    short: int
    at_once: int = 3
    needs: tuple[str, ...] = ()


KINDS = {
    "kill": Kind(kills.kill, 10_000, 12),
    "kill at a sync": Kind(faults.kill_at_a_sync, 1000, 4, needs=("strace",)),
    "two": Kind(kills.two, 1000, 4),
    "stop": Kind(kills.stop, 200, 2),
    "short": Kind(kills.short, 500, 3),
    "full": Kind(kills.full, 500, 3, needs=("mount",)),
    "cut": Kind(power.cut, 2000, 4, needs=("mount", "mkfs.ext4")),
    "cut of two": Kind(power.cut_of_two, 2000, 4, needs=("mount", "mkfs.ext4")),
    "clock": Kind(elsewhere.clock, 200, 2, needs=("faketime",)),
    "network": Kind(elsewhere.network, 200, 2, at_once=1, needs=("ip",)),
    "unlocked": Kind(elsewhere.unlocked, 500, 2, needs=("strace",)),
}
FAULT = "fault"
_MOST_TURNS = 60

CAUGHT_BY = {
    "no file fsync": "cut",
    "no directory fsync": "cut of two",
    "row before rename": "kill",
    "write in place": "kill",
    "announce before commit": "kill",
    "cursor before settle": "kill at a sync",
}
"""Which kind of trial finds which mistake."""


@dataclass(slots=True)
class Tally:
    """What has come of the trials of a kind."""

    name: str
    trials: int = 0
    seconds: float = 0.0
    flaws: Counter[str] = field(default_factory=Counter)
    blunt: Counter[str] = field(default_factory=Counter)

    def row(self) -> str:
        """Return it as a row of a table."""
        blunt, flaws = self.blunt.total(), self.flaws.total()
        return (
            f"| {self.name} | {self.trials} | {flaws} | {blunt} | {self.seconds:.0f} |"
        )


class Lab:
    """Plays trials on one stage.

    Args:
        deadline: of the monotonic clock: no trial begins later.
    """

    def __init__(self, built: Stage, seed: int, deadline: float) -> None:
        self._stage = built
        self._seed = seed
        self._deadline = deadline
        self._numbers = itertools.count(1)

    async def play(
        self, name: str, kind: Kind, trials: int, mutant: str | None = None
    ) -> Tally:
        """Play so many trials; with a mutant, until one of them finds it."""
        tally, left = Tally(name), iter(range(trials))

        async def work() -> None:
            for number in left:
                if time.monotonic() > self._deadline or (mutant and tally.flaws):
                    return
                await self._one(tally, str(number), kind.play, mutant)

        return await _timed(tally, *(work() for _ in range(kind.at_once)))

    async def sweep(self, most: int, at_once: int = 3) -> Tally:
        """Let every call fail in every way at its turns, up to the `most`-th."""
        tally, ended = Tally(FAULT), set[tuple[str, str]]()
        left = itertools.starmap(
            lambda turn, call, name: Fault(call, name, turn),
            itertools.product(range(1, most + 1), CALLS, FAULTS),
        )

        async def work() -> None:
            for fault in left:
                row = fault.call, fault.name
                if row in ended:
                    continue
                if time.monotonic() > self._deadline:
                    return
                play = partial(faults.fault, planned=fault)
                if not await self._one(tally, str(fault), play):
                    ended.add(row)

        return await _timed(tally, *(work() for _ in range(at_once)))

    async def _one(
        self, tally: Tally, title: str, play: Play, mutant: str | None = None
    ) -> object:
        folder = self._stage.root / str(next(self._numbers))
        folder.mkdir()
        chance = random.Random(f"{self._seed} {tally.name} {title}")  # noqa: S311 -- a die
        trial = Trial(self._stage, folder, chance, mutant)
        outcome = await play(trial)
        tally.trials += 1
        tally.flaws.update(trial.flaws)
        tally.blunt.update(trial.blunt)
        for said in (*trial.flaws, *(f"blunt: {each}" for each in trial.blunt)):
            _tell(f"{mutant or tally.name}, trial {title}: {said}")
        shutil.rmtree(folder)
        return outcome


async def _timed(tally: Tally, *works: Awaitable[None]) -> Tally:
    begun = time.monotonic()

    async def run(work: Awaitable[None]) -> None:
        await work

    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(run(work))
    tally.seconds = time.monotonic() - begun
    return tally


async def _begin(built: Stage) -> None:
    """Make the seed, fill the stage, and time a daemon that is left alone."""
    first = Trial(built, built.root / "first", random.Random())  # noqa: S311 -- a die
    first.state.mkdir(parents=True)
    async with running(first, first.birth()) as daemon:
        await until(lambda: first.heard.known and daemon.has_said("feed: live"), 60)
        await first.stop(daemon)
    shutil.copytree(first.state, built.seed)
    built.fill()
    alone = Trial(built, built.root / "alone", random.Random())  # noqa: S311 -- a die
    alone.stage.fresh(alone.state)
    begun = time.monotonic()
    async with running(alone, alone.birth("--once")) as daemon:
        await daemon.ended(60)
    built.span = 1.2 * (time.monotonic() - begun)
    await alone.come_to_rest()
    if alone.flaws:
        raise RuntimeError(f"a daemon that is left alone fails: {alone.flaws}")


@asynccontextmanager
async def lab(seed: int, deadline: float) -> AsyncIterator[Lab]:
    """Build a stage on which trials can be played."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as root:
        async with stage(Path(root)) as built:
            await _begin(built)
            yield Lab(built, seed, deadline)


def missing(kind: Kind) -> str | None:
    """Return why a kind of trial cannot be played here, if it cannot."""
    lacks = [name for name in kind.needs if not shutil.which(name)]
    if kind.needs and os.geteuid() != 0:
        lacks.append("the right to (root)")
    if kind.play is elsewhere.network and not lacks and not elsewhere.has_own_network():
        lacks.append("a network namespace of our own")
    return f"not played: this machine lacks {', '.join(lacks)}" if lacks else None


async def _tallies(chosen: argparse.Namespace, at: Lab) -> AsyncIterator[Tally]:
    strace = Kind(kills.kill, 0, 0, needs=("strace",))
    for name in chosen.kinds or (*KINDS, FAULT):
        kind = KINDS.get(name, strace)
        if lack := missing(kind):
            _tell(f"{name}: {lack}")
        elif name == FAULT:
            yield await at.sweep(1 if chosen.short else _MOST_TURNS)
        else:
            usual = kind.short if chosen.short else kind.long
            yield await at.play(name, kind, _first(chosen.trials, usual))


async def _mutants(chosen: argparse.Namespace, at: Lab) -> AsyncIterator[Tally]:
    for mutant in chosen.mutants or MUTANTS:
        kind = CAUGHT_BY[mutant]
        if lack := missing(KINDS[kind]):
            _tell(f"{mutant}: {lack}")
            continue
        tally = await at.play(kind, KINDS[kind], _first(chosen.trials, 200), mutant)
        tally.name = f"{mutant}, by {kind}"
        yield tally


def _first(asked: int | None, usual: int) -> int:
    return usual if asked is None else asked


def main() -> None:
    """Play what was asked for; exit 1 when something was not survived."""
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, FAULT, []], metavar="KIND")
    parser.add_argument("--short", action="store_true", help="about a minute")
    parser.add_argument("--trials", type=int, help="so many of each kind")
    parser.add_argument("--minutes", type=float, default=600, help="no longer")
    parser.add_argument("--seed", type=int, default=1, help="of all chance")
    parser.add_argument(
        "--mutants",
        nargs="*",
        choices=MUTANTS,
        metavar="MISTAKE",
        help="see that these mistakes are found, or all",
    )
    sys.exit(asyncio.run(_main(parser.parse_args())))


async def _main(chosen: argparse.Namespace) -> int:
    deadline = time.monotonic() + chosen.minutes * 60
    failed = False
    rows = [
        "| trials of | played | violations | blunt | seconds |",
        "|---|---|---|---|---|",
    ]
    async with lab(chosen.seed, deadline) as at:
        spoilt = chosen.mutants is not None
        tallies = _mutants(chosen, at) if spoilt else _tallies(chosen, at)
        async for tally in tallies:
            # A mistake that no trial has found is a fault of the trials.
            failed = failed or bool(tally.flaws) != spoilt
            rows.append(tally.row())
            _tell(tally.row())
    sys.stdout.write("\n".join([*rows, ""]))
    return int(failed)


def _tell(line: str) -> None:
    sys.stderr.write(f"chaos: {line}\n")
