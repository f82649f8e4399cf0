"""The simulated world: its clock, its chance, and the moment at which it ends.

Everything that a process does to the world outside is an effect, with a number. A life
of the process ends at the effect that its history has chosen for that, before it
happens; what a dead process still tries to do has none.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

BEGAN = 1_760_000_000.0  # seconds since 1970


class Crash(BaseException):
    """The process is dead."""


class Violation(AssertionError):
    """A promise was broken."""


@dataclass
class World:
    """One history's time and fate; the same seed is the same world.

    Attributes:
        now: seconds since the history began, by a clock that nobody sets.
        skew: seconds by which the computer's clock is wrong.
        rough: whether things go wrong by chance.
        full: whether the disk takes nothing.
        boot: of the computer.
        effects: how many there were.
        disk_errors: how often it took, or synced, no file.
        troubles: what has come up, and how often.
        dies_at: the number of the effect that does not happen any more.
    """

    seed: int
    now: float = 0.0
    skew: float = 0.0
    rough: bool = True
    full: bool = False
    boot: int = 1
    effects: int = 0
    disk_errors: int = 0
    dies_at: int | None = None
    dead: bool = False
    on_death: Callable[[], None] = lambda: None
    last: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 -- the same each time
        self._trace = hashlib.sha256()

    def wall(self) -> float:
        """Return the seconds since 1970 as the computer's clock shows them."""
        return BEGAN + self.now + self.skew

    def true_ms(self) -> int:
        """Return the ms since 1970 as everybody else's clock shows them."""
        return int((BEGAN + self.now) * 1000)

    def maybe(self, likely: float) -> bool:
        """Whether something goes wrong now; never when it is calm."""
        return self.rough and self.chance.random() < likely

    def effect(self, what: str) -> None:
        """Count an effect that is about to happen.

        Raises:
            Crash: it does not: the process died before.
        """
        if self.dead:
            raise Crash
        self.effects += 1
        self._trace.update(f"{self.effects} {self.now!r} {what}\n".encode())
        self.last.append(f"{self.now:.3f} {what}")
        del self.last[:-40]
        if self.effects == self.dies_at:
            self.die()
            raise Crash

    def die(self) -> None:
        """End this life of the process."""
        self.dead = True
        self.on_death()

    @property
    def trace(self) -> str:
        """Return a digest of everything that has happened, and when."""
        return self._trace.hexdigest()
