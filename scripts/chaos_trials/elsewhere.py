"""What changes round a daemon: its clock, its network, its lock."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path

from scripts.chaos_trials.consumer import listening
from scripts.chaos_trials.nursery import environment
from scripts.chaos_trials.tools import system
from scripts.chaos_trials.trial import RESTS_WITHIN, Trial, born, running

CLOCKS = ("-1d", "-90m", "-3m", "+3m", "+90m", "+1d")
_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_AWAY = (0.5, 1.5, 1.5, 10.0)  # seconds


def has_own_network() -> bool:
    """Whether the network is ours alone, as one is that leads nowhere."""
    heading, *routes = Path("/proc/net/route").read_text("ascii").splitlines()
    return heading.startswith("Iface") and not routes


async def clock(trial: Trial) -> None:
    """Set the clock at any moment, either way, or start with a wrong one."""
    trial.stage.fresh(trial.state)
    birth, shown = trial.birth(), trial.folder / "clock"
    first, then = trial.chance.choices(CLOCKS, k=2)
    shown.write_text(trial.chance.choice(["+0", first]), "ascii")
    faked = {
        "LD_PRELOAD": str(_FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(shown),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with birth.said.open("wb") as said:
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "materializer", "run", "--once"),
            env=environment(birth) | faked,
            stdin=DEVNULL,
            stdout=said,
            stderr=said,
        )
    async with listening(trial.state, trial.heard):
        await asyncio.sleep(trial.chance.uniform(0.3, 0.5 + trial.stage.span))
        trial.struck += daemon.returncode is None
        shown.with_suffix(".new").write_text(then, "ascii")
        shown.with_suffix(".new").replace(shown)
        try:
            async with asyncio.timeout(RESTS_WITHIN):
                code = await daemon.wait()
        except TimeoutError:
            code = None
            daemon.kill()
            await daemon.wait()
    if code != 0:
        trial.flaws.append(f"with its clock at {first}, then {then}, it ended: {code}")
    trial.judge()
    await trial.come_to_rest()


async def network(trial: Trial) -> None:
    """The whole network goes away at any moment, and comes back.

    Only in a network namespace of our own.
    """
    if not has_own_network():
        raise RuntimeError("this would take the network of the whole machine away")
    trial.stage.fresh(trial.state)
    async with running(trial, trial.birth("--once")) as daemon:
        await trial.any_moment(daemon)
        trial.strikes(daemon)
        await _loopback("down")
        try:
            await asyncio.sleep(trial.chance.choice(_AWAY))
        finally:
            await _loopback("up")
        await trial.ends(daemon, "it did not go on when the network was back")
    trial.judge()
    await trial.come_to_rest()


async def unlocked(trial: Trial) -> None:
    """Two daemons at once on a file system that grants every lock to everybody.

    Each may tell of the same failure; nothing else may differ.
    """
    trial.stage.fresh(trial.state)
    one, other = (trial.birth("--once", unlocked=True) for _ in range(2))
    async with running(trial, one) as first, born(trial, other) as second:
        await first.ended(trial.chance.uniform(0, 2 * trial.stage.span))
        trial.strikes(first)
        await first.killed()
        await second.ended(4 * trial.stage.span)
        await trial.stop(second)
    trial.judge()
    await trial.come_to_rest(retold=1 + trial.struck)


async def _loopback(way: str) -> None:
    await system("ip", "link", "set", "lo", way)
