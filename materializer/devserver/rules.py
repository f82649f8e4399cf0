"""The hosted gateway's rules that get in the way of a developer, each with a switch.

There are three switches, all off: an account without a paid plan, the limit of orders
in a while, and the words for a job's status of the first documentation. What can be
asked for job by job is a word in the prompt instead; see `faults`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

LIMIT, WINDOW = 20, 300.0
CURRENT_WORDS: Mapping[str, str] = MappingProxyType({"processing": "running"})
# The first documentation does not say how `processing` differs from `in_progress`, but
# it names it after that. So here it is the end of the work: the result is being kept.
FIRST_WORDS: Mapping[str, str] = MappingProxyType(
    {"running": "in_progress", "processing": "processing", "canceled": "cancelled"}
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules hold.

    Attributes:
        paid_plan: every order needs a paid plan, and nobody has one.
        rate_limit: an owner may send 20 orders in five minutes.
        first_words: a job is told as `in_progress`, `processing` and `cancelled`.
    """

    paid_plan: bool = False
    rate_limit: bool = False
    first_words: bool = False

    @property
    def words(self) -> Mapping[str, str]:
        """What is said instead of a status, where something else is."""
        return FIRST_WORDS if self.first_words else CURRENT_WORDS


class RateLimit:
    """Counts the orders of each owner. The one too many closes the door for a window.

    All times are in seconds, of any clock that does not go back.
    """

    def __init__(self) -> None:
        self._by_owner: dict[str, _Count] = {}

    def wait(self, owner: str, now: float) -> float:
        """Count an order, or return how long its owner has to wait for the next one."""
        count = self._by_owner.setdefault(owner, _Count())
        if now < count.closed_until:
            return count.closed_until - now
        while count.times and count.times[0] <= now - WINDOW:
            count.times.popleft()
        if len(count.times) < LIMIT:
            count.times.append(now)
            return 0.0
        count.times.clear()
        count.closed_until = now + WINDOW
        return WINDOW


@dataclass(slots=True)
class _Count:
    times: deque[float] = field(default_factory=deque)
    closed_until: float = float("-inf")
