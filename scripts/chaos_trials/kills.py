"""Killed, stopped, doubled and short of room: what needs no other tool."""

from __future__ import annotations

import asyncio
import signal

from scripts.chaos_trials.nursery import Daemon
from scripts.chaos_trials.tools import system
from scripts.chaos_trials.trial import RESTS_WITHIN, Trial, running

_TAKEN = 3


async def kill(trial: Trial) -> None:
    """SIGKILL at any moment, up to three times in a row: the second one resumes."""
    trial.stage.fresh(trial.state)
    for _ in range(trial.chance.choice([1, 1, 2, 3])):
        async with running(trial, trial.birth("--once")) as daemon:
            await trial.any_moment(daemon)
        trial.judge()
    await trial.come_to_rest()


async def two(trial: Trial) -> None:
    """Two daemons at once, of which one is killed: one works, one says so."""
    trial.stage.fresh(trial.state)
    async with running(trial, trial.birth("--once")) as first:
        await first.ended(trial.chance.uniform(0, trial.stage.span / 4))
        second = Daemon(trial.birth("--once"))
        await trial.any_moment(first)
        await first.killed()
        if not await second.ended(RESTS_WITHIN):
            trial.flaws.append("the second daemon did not end")
            await second.killed()
        if second.code not in {0, _TAKEN}:
            trial.flaws.append(f"the second daemon ended with {second.code}")
        trial.note(second)
    trial.judge()
    await trial.come_to_rest()


async def stop(trial: Trial, seconds: float = 2.0) -> None:
    """SIGSTOP at any moment, and on again: it completes by itself."""
    trial.stage.fresh(trial.state)
    async with running(trial, trial.birth("--once")) as daemon:
        await trial.any_moment(daemon)
        daemon.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        daemon.send(signal.SIGCONT)
        if not await daemon.ended(RESTS_WITHIN):
            trial.flaws.append("it did not go on after a stop")
    trial.judge()
    await trial.come_to_rest()


async def short(trial: Trial) -> None:
    """Files that may not grow beyond any size: the system writes less than asked."""
    trial.stage.fresh(trial.state)
    largest = trial.chance.randrange(1, 200_000)
    async with running(trial, trial.birth("--once", largest=largest)) as daemon:
        await daemon.ended(2 * trial.stage.span)
        await trial.stop(daemon)
    trial.judge()
    await trial.come_to_rest()


async def full(trial: Trial) -> None:
    """A disk with room for any number of pages; later there is more."""
    trial.state.mkdir(parents=True)
    mounted = str(trial.state)
    await system("mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", mounted)
    try:
        trial.stage.fresh(trial.state)
        used = -(-sum(p.lstat().st_blocks for p in trial.state.rglob("*")) // 8)
        pages = used + trial.chance.randrange(1, 80)
        await system("mount", "-o", f"remount,size={pages * 4}k", mounted)
        async with running(trial, trial.birth("--once")) as daemon:
            await daemon.ended(2 * trial.stage.span)
            await trial.stop(daemon)
        await system("mount", "-o", "remount,size=64m", mounted)
        trial.judge()
        await trial.come_to_rest()
    finally:
        await system("umount", mounted)
