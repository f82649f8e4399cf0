"""How many failures are told one by one, and how many as one.

Two are told as they come. Where more follow, they wait until no other has come for a
while, and then are one note with their number. Pure; times are seconds of one clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

ALONE = 2
"""So many are told one by one within `CALM`."""

QUIET = 5.0
"""Those that are held back are told when for so long no other has come."""

CALM = 60.0
"""What was told longer ago is no part of the storm; nothing is held back longer."""


@dataclass(frozen=True, slots=True)
class Share:
    """What is told now of what is due.

    Attributes:
        alone: so many of the oldest, one by one.
        together: so many of those after them, as one note.
        in_all: how many failures this storm has had, with those.
        look_at: when what is still held back is due, or None.
    """

    alone: int
    together: int
    in_all: int
    look_at: float | None


class Storm:
    """Remembers what was told lately."""

    def __init__(self) -> None:
        self._told: list[tuple[float, int]] = []  # when, and how many by one note
        self._held = 0
        self._since = self._newest = 0.0
        self._summed_up = -inf

    def share(self, due: int, now: float) -> Share:
        """Say what to tell of `due` failures; what is told then is not due again."""
        self._told = [(at, many) for at, many in self._told if now - at < CALM]
        alone = 0 if self._held else min(due, max(0, ALONE - len(self._told)))
        self._told += [(now, 1)] * alone
        held = due - alone
        look_at = self._look_at(held, now)
        together = held if held and look_at is None else 0
        if together:
            self._told.append((now, together))
            self._summed_up = now
        in_all = sum(many for _, many in self._told)
        return Share(alone, together, in_all, look_at)

    def _look_at(self, held: int, now: float) -> float | None:
        """Note how many are held back, and return until when; None is not at all."""
        if held != self._held:
            if not self._held:
                self._since = now
            self._held, self._newest = held, now
        due = max(self._newest + QUIET, self._summed_up + CALM)
        look_at = min(due, self._since + CALM)
        if held and now < look_at:
            return look_at
        self._held = 0
        return None
