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
from scripts.chaos_trials.nursery import STOPS_WITHIN, Birth, Daemon
from scripts.chaos_trials.stage import Stage
from scripts.chaos_trials.tools import until

RESTS_WITHIN = 60.0
_BY_THE_CLOCK = 0.5  # of all moments
_MOMENT = 0.05  # seconds


@dataclass(slots=True)
class Trial:
    """A state directory, and what was seen of it.

    Attributes:
        flaws: what is not as it must be, in sentences.
        blunt: how daemons ended that did so without words for a person.
    """

    stage: Stage
    folder: Path
    chance: random.Random
    mutant: str | None = None
    heard: Heard = field(default_factory=Heard)
    flaws: list[str] = field(default_factory=list)
    blunt: list[str] = field(default_factory=list)
    _born: int = 0

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "s"

    def birth(
        self,
        *flags: str,
        largest: int = 0,
        held: bool = False,
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
            held,
            rebooted,
        )

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

    def judge(self) -> None:
        """Look at what is there now, while no daemon runs."""
        self.flaws += verdicts.amid(self.stage, self.state, self.heard)

    def note(self, daemon: Daemon) -> None:
        """Take note of how a daemon ended."""
        last = daemon.blunt()
        if last is not None:
            self.blunt.append(last)

    async def come_to_rest(self, *, rebooted: bool = False, tellers: int = 1) -> None:
        """Run a daemon until all is done and told; end it, and judge.

        So many daemons may have told of the same failure.
        """
        daemon = Daemon(self.birth(rebooted=rebooted))

        def rests() -> bool:
            return daemon.code is not None or (
                daemon.has_said("feed: live")
                and verdicts.settled(self.stage, self.state, self.heard)
            )

        async with listening(self.state, self.heard):
            if not await until(rests, RESTS_WITHIN) or daemon.code is not None:
                self.flaws.append("the next daemon did not come to rest")
            await self.stop(daemon)
        self.note(daemon)
        self.flaws += verdicts.at_end(
            self.stage, self.state, self.heard, tellers=tellers
        )

    async def stop(self, daemon: Daemon) -> None:
        """End a daemon by request."""
        daemon.send(signal.SIGTERM)
        if not await daemon.ended(STOPS_WITHIN):
            self.flaws.append("it did not stop when it was asked to")
            await daemon.killed()


@asynccontextmanager
async def running(trial: Trial, birth: Birth) -> AsyncIterator[Daemon]:
    """Run a daemon with the consumer listening; it is gone after the block."""
    daemon = Daemon(birth)
    try:
        async with listening(trial.state, trial.heard):
            yield daemon
    finally:
        await daemon.killed()
        trial.note(daemon)
