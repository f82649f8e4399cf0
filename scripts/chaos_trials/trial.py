"""One trial: a daemon that something happens to, then one that comes to rest."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.chaos_trials import verdicts
from scripts.chaos_trials.consumer import Heard, listening
from scripts.chaos_trials.gate import CHANGES, Strike
from scripts.chaos_trials.nursery import STOPS_WITHIN, Birth, Daemon
from scripts.chaos_trials.stage import Stage
from scripts.chaos_trials.tools import until

RESTS_WITHIN = 120.0
_BY_MOMENTS = 0.3  # of all kills; the others are at a system call
_BY_THE_CLOCK = 0.5  # of all moments
_MOMENT = 0.05  # seconds


@dataclass(slots=True)
class Trial:
    """A state directory, and what was seen of it.

    Attributes:
        flaws: what is not as it must be, in sentences.
        blunt: how daemons ended that did so without words for a person.
        struck: how often it happened to a daemon that was at work.
    """

    stage: Stage
    folder: Path
    chance: random.Random
    mutant: str | None = None
    heard: Heard = field(default_factory=Heard)
    flaws: list[str] = field(default_factory=list)
    blunt: list[str] = field(default_factory=list)
    struck: int = 0
    _born: int = 0

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "s"

    def birth(
        self,
        *flags: str,
        largest: int = 0,
        strike: Strike | None = None,
        unlocked: bool = False,
        rebooted: bool = False,
    ) -> Birth:
        """Describe a daemon of this trial."""
        self._born += 1
        return Birth(
            self.stage.environ | {"STELLA_STATE_DIR": str(self.state)},
            self.folder / f"said-{self._born}",
            flags,
            self.mutant,
            largest,
            strike,
            unlocked,
            rebooted,
        )

    async def kill_anywhere(self) -> None:
        """Run a daemon; kill it at any call that changes the disk, or any moment."""
        changes = self.stage.changes
        if not changes or self.chance.random() < _BY_MOMENTS:
            async with running(self, self.birth("--once")) as daemon:
                await self.any_moment(daemon)
                self.strikes(daemon)
            return
        strike = Strike(CHANGES, str(self.state), self.chance.randint(1, changes))
        async with running(self, self.birth("--once", strike=strike)) as daemon:
            await self.ends(daemon, "it was not killed and did not end")
        self.struck += daemon.struck

    async def any_moment(self, daemon: Daemon) -> None:
        """Let time pass while a daemon works: as chance has it, or as its files come.

        By the clock alone, a busy computer would hide what comes last.
        """
        if self.chance.random() < _BY_THE_CLOCK:
            await daemon.ended(self.chance.uniform(0, self.stage.span))
            return
        count = self.chance.randint(1, len(self.stage.files))
        await until(
            lambda: (
                daemon.code is not None or len(verdicts.visible(self.state)) >= count
            ),
            RESTS_WITHIN,
        )
        await daemon.ended(self.chance.uniform(0, _MOMENT))

    def strikes(self, daemon: Daemon) -> None:
        """Count what is about to happen, if the daemon is there to meet it."""
        self.struck += daemon.code is None

    async def ends(self, daemon: Daemon, flaw: str) -> None:
        """Wait for the end of a daemon; note the flaw if it does not come."""
        if not await daemon.ended(RESTS_WITHIN):
            self.flaws.append(f"{flaw}:\n{await daemon.stuck()}")

    def judge(self) -> None:
        """Look at what is there now, while no daemon runs."""
        self.flaws += verdicts.amid(self.stage, self.state, self.heard)

    def note(self, daemon: Daemon) -> None:
        """Take note of how a daemon ended."""
        last = daemon.blunt()
        if last is not None:
            self.blunt.append(last)

    async def come_to_rest(self, *, rebooted: bool = False, retold: int = 0) -> None:
        """Run a daemon until all is done and told; end it, and judge.

        So many times something may have kept a failure, though it was told, from being
        entered as told, so that it was told once more.
        """
        async with running(self, self.birth(rebooted=rebooted)) as daemon:

            def rests() -> bool:
                return daemon.code is not None or (
                    daemon.has_said("feed: live")
                    and verdicts.settled(self.stage, self.state, self.heard)
                )

            if await until(rests, RESTS_WITHIN):
                await self.stop(daemon)
            else:
                words = f"the next daemon did not come to rest:\n{await daemon.stuck()}"
                self.flaws.append(words)
        if daemon.code != 0:
            self.flaws.append(f"the next daemon ended with {daemon.code}")
        self.flaws += verdicts.at_end(self.stage, self.state, self.heard, retold=retold)

    async def stop(self, daemon: Daemon) -> None:
        """End a daemon by request."""
        daemon.send(signal.SIGTERM)
        if not await daemon.ended(STOPS_WITHIN):
            words = f"it did not stop when it was asked to:\n{await daemon.stuck()}"
            self.flaws.append(words)


@asynccontextmanager
async def born(trial: Trial, birth: Birth) -> AsyncIterator[Daemon]:
    """Run a daemon; it is gone after the block."""
    daemon = Daemon(birth)
    try:
        yield daemon
    finally:
        await daemon.killed()
        trial.note(daemon)


@asynccontextmanager
async def running(trial: Trial, birth: Birth) -> AsyncIterator[Daemon]:
    """Run a daemon with the consumer listening; it is gone after the block."""
    async with born(trial, birth) as daemon, listening(trial.state, trial.heard):
        yield daemon
