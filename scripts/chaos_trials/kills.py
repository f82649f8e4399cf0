"""Killed, stopped, doubled and short of room: what needs no other tool."""

from __future__ import annotations

import asyncio
import signal

from scripts.chaos_trials.tools import system
from scripts.chaos_trials.trial import Trial, born, running

_TAKEN = 3
_MINUTES = 150.0  # seconds


async def kill(trial: Trial) -> None:
    """SIGKILL anywhere, up to three times in a row: the second daemon resumes."""
    trial.stage.fresh(trial.state)
    for _ in range(trial.chance.choice([1, 1, 1, 2, 3])):
        await trial.kill_anywhere()
        trial.judge()
    await trial.come_to_rest(retold=trial.struck)


async def two(trial: Trial) -> None:
    """Two daemons at once, of which one is killed: one works, one says so."""
    trial.stage.fresh(trial.state)
    async with running(trial, trial.birth("--once")) as first:
        await first.ended(trial.chance.uniform(0, trial.stage.span / 4))
        async with born(trial, trial.birth("--once")) as second:
            await trial.any_moment(first)
            trial.strikes(first)
            await first.killed()
            await trial.ends(second, "the second daemon did not end")
        if second.code not in {0, _TAKEN}:
            trial.flaws.append(f"the second daemon ended with {second.code}")
    trial.judge()
    await trial.come_to_rest(retold=trial.struck)


async def stop(trial: Trial, seconds: float = 2.0) -> None:
    """SIGSTOP at any moment, and on again: it completes by itself."""
    trial.stage.fresh(trial.state)
    async with running(trial, trial.birth("--once")) as daemon:
        await trial.any_moment(daemon)
        trial.strikes(daemon)
        daemon.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        daemon.send(signal.SIGCONT)
        await trial.ends(daemon, "it did not go on after a stop")
    trial.judge()
    await trial.come_to_rest()


async def stop_for_minutes(trial: Trial) -> None:
    """SIGSTOP for longer than anybody waits for an answer."""
    await stop(trial, _MINUTES)


async def short(trial: Trial) -> None:
    """Files that may not grow beyond any size: the system writes less than asked."""
    trial.stage.fresh(trial.state)
    largest = trial.chance.randrange(1, 200_000)
    async with running(trial, trial.birth("--once", largest=largest)) as daemon:
        await daemon.ended(2 * trial.stage.span)
        trial.strikes(daemon)
        await trial.stop(daemon)
    trial.judge()
    await trial.come_to_rest(retold=trial.struck)


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
            trial.strikes(daemon)
            await trial.stop(daemon)
        await system("mount", "-o", "remount,size=64m", mounted)
        trial.judge()
        await trial.come_to_rest(retold=trial.struck)
    finally:
        await system("umount", mounted)
