"""The command of `scripts/chaos`: plays trials, counts, and says what was survived."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scripts.chaos_trials import elsewhere, faults, gate, kills, power
from scripts.chaos_trials.faults import CALLS, ERRORS, Fault
from scripts.chaos_trials.gate import CHANGES, Strike
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
        gated: whether it needs a gate at system calls.
    """

    play: Play
    long: int
    short: int
    at_once: int = 4
    needs: tuple[str, ...] = ()
    gated: bool = False


KINDS = {
    "kill": Kind(kills.kill, 10_000, 60),
    "two": Kind(kills.two, 1000, 8),
    "stop": Kind(kills.stop, 200, 4),
    "stop for minutes": Kind(kills.stop_for_minutes, 8, 0, at_once=8),
    "short": Kind(kills.short, 500, 6),
    "full": Kind(kills.full, 500, 6, needs=("mount",)),
    "cut": Kind(power.cut, 2000, 12, needs=("mount", "mkfs.ext4")),
    "cut of two": Kind(power.cut_of_two, 2000, 12, needs=("mount", "mkfs.ext4")),
    "clock": Kind(elsewhere.clock, 200, 2, needs=("faketime",)),
    "network": Kind(elsewhere.network, 200, 2, at_once=1, needs=("ip",)),
    "unlocked": Kind(elsewhere.unlocked, 500, 4, gated=True),
}
FAULT = "fault"
_MOST_TURNS = 60
_PROGRESS = 100

CAUGHT_BY = {
    "no file fsync": "cut",
    "no directory fsync": "cut of two",
    "row before rename": "kill",
    "write in place": "kill",
    "announce before commit": "kill",
    "cursor before settle": "kill",
    "nothing is durable": "cut",
}
"""Which kind of trial finds which mistake."""


@dataclass(slots=True)
class Tally:
    """What has come of the trials of a kind.

    Attributes:
        struck: how often it happened to a daemon that was at work.
    """

    name: str
    trials: int = 0
    struck: int = 0
    begun: float = field(default_factory=time.monotonic)
    flaws: Counter[str] = field(default_factory=Counter)
    blunt: Counter[str] = field(default_factory=Counter)

    def add(self, trial: Trial) -> None:
        """Count a trial that was played."""
        self.trials += 1
        self.struck += trial.struck
        self.flaws.update(trial.flaws)
        self.blunt.update(trial.blunt)

    def row(self) -> str:
        """Return it as a row of a table."""
        counts = self.trials, self.struck, self.flaws.total(), self.blunt.total()
        seconds = time.monotonic() - self.begun
        return f"| {self.name} | {' | '.join(map(str, counts))} | {seconds:.0f} |"


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

    async def play(self, name: str, numbers: range, mutant: str | None = None) -> Tally:
        """Play the trials of these numbers; with a mutant, until one finds it."""
        kind, tally, left = KINDS[name], Tally(name), iter(numbers)

        async def work() -> None:
            for number in left:
                if time.monotonic() > self._deadline or (mutant and tally.flaws):
                    return
                await self._one(tally, str(number), kind.play, mutant)

        await _side_by_side(work() for _ in range(kind.at_once))
        return tally

    async def sweep(self, most: int, at_once: int = 3) -> Tally:
        """Let every call fail in every way at its turns, up to the `most`-th."""
        tally, ended = Tally(FAULT), set[tuple[tuple[str, ...], str]]()
        left = itertools.starmap(
            lambda turn, calls, name: Fault(calls, name, turn),
            itertools.product(range(1, most + 1), CALLS, ERRORS),
        )

        async def work() -> None:
            for fault in left:
                row = fault.calls, fault.name
                if row in ended:
                    continue
                if time.monotonic() > self._deadline:
                    return
                play = partial(faults.fault, planned=fault)
                if not await self._one(tally, str(fault), play):
                    ended.add(row)

        await _side_by_side(work() for _ in range(at_once))
        return tally

    async def _one(
        self, tally: Tally, title: str, play: Play, mutant: str | None = None
    ) -> object:
        folder = self._stage.root / str(next(self._numbers))
        folder.mkdir()
        chance = random.Random(f"{self._seed} {tally.name} {title}")  # noqa: S311 -- a die
        trial = Trial(self._stage, folder, chance, mutant)
        outcome = await play(trial)
        tally.add(trial)
        if tally.trials % _PROGRESS == 0:
            _tell(f"{tally.row()} so far, up to number {title}")
        for said in (*trial.flaws, *(f"blunt: {each}" for each in trial.blunt)):
            _tell(f"{mutant or tally.name}, trial {title}: {said}")
        shutil.rmtree(folder)
        return outcome


async def _side_by_side(works: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(work)


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
    counting = None if gate.lacking() else Strike(CHANGES, str(alone.state), turn=0)
    begun = time.monotonic()
    async with running(alone, alone.birth("--once", strike=counting)) as daemon:
        await daemon.ended(60)
    built.span = 1.2 * (time.monotonic() - begun)
    built.changes = daemon.keeper.calls if daemon.keeper else 0
    _tell(f"left alone, a daemon changes the disk by {built.changes} calls")
    await alone.come_to_rest()
    if alone.flaws:
        said = (alone.folder / "said-1").read_text("utf-8")
        raise RuntimeError(f"left alone, it fails: {alone.flaws}\n{said}")


@asynccontextmanager
async def lab(seed: int, deadline: float) -> AsyncIterator[Lab]:
    """Build a stage on which trials can be played."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as root:
        async with stage(Path(root)) as built:
            await _begin(built)
            yield Lab(built, seed, deadline)


def missing(name: str) -> str | None:
    """Return why a kind of trial cannot be played here, if it cannot."""
    kind = KINDS.get(name)
    needs = kind.needs if kind else ()
    lacks = [need for need in needs if not shutil.which(need)]
    if (kind is None or kind.gated) and (lack := gate.lacking()):
        lacks.append(lack)
    if needs and os.geteuid() != 0:
        lacks.append("the right to (root)")
    if name == "network" and not lacks and not elsewhere.has_own_network():
        lacks.append("a network namespace of our own")
    return f"not played: this machine lacks {', '.join(lacks)}" if lacks else None


async def _tallies(chosen: argparse.Namespace, at: Lab) -> AsyncIterator[Tally]:
    for name in chosen.kinds or (*KINDS, FAULT):
        if lack := missing(name):
            _tell(f"{name}: {lack}")
        elif name == FAULT:
            yield await at.sweep(1 if chosen.short else _MOST_TURNS)
        else:
            kind = KINDS[name]
            numbers = _numbers(chosen, kind.short if chosen.short else kind.long)
            if numbers:
                yield await at.play(name, numbers)


async def _mutants(chosen: argparse.Namespace, at: Lab) -> AsyncIterator[Tally]:
    for mutant in chosen.mutants or MUTANTS:
        name = CAUGHT_BY[mutant]
        if lack := missing(name):
            _tell(f"{mutant}: {lack}")
            continue
        tally = await at.play(name, _numbers(chosen, 400), mutant)
        tally.name = f"{mutant}, by {name}"
        yield tally


def _numbers(chosen: argparse.Namespace, usual: int) -> range:
    count = usual if chosen.trials is None else chosen.trials
    return range(chosen.first, chosen.first + count)


def main() -> None:
    """Play what was asked for; exit 1 when something was not survived."""
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, FAULT, []], metavar="KIND")
    parser.add_argument("--short", action="store_true", help="about a minute")
    parser.add_argument("--trials", type=int, help="so many of each kind")
    parser.add_argument(
        "--first", type=int, default=1, help="from this number on, as it was before"
    )
    parser.add_argument("--minutes", type=float, default=600, help="no longer")
    parser.add_argument("--seed", type=int, default=1, help="of all chance")
    parser.add_argument(
        "--mutants",
        nargs="*",
        choices=MUTANTS,
        metavar="MISTAKE",
        help="see that these mistakes are found, or all",
    )
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(asyncio.run(_main(parser.parse_args())))
    sys.exit(130)


async def _main(chosen: argparse.Namespace) -> int:
    if this := asyncio.current_task():  # a request to end is one to tidy up
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    deadline = time.monotonic() + chosen.minutes * 60
    failed = False
    rows = [
        "| trials of | played | struck | violations | blunt | seconds |",
        "|---|---|---|---|---|---|",
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
