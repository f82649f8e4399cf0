"""Whether a fault was withstood: the same conditions for every tool.

Pure. What processes and disk came to goes in, a verdict comes out. No exit code, but
only what lies under a final name, shows that a file arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Left = Literal["nothing", "whole", "wrong"]
"""What lies under a file's final name."""

REFETCH = 0.6
"""How much of a body may be asked for again after half of it had arrived."""

RETRY_AFTER = 2
"""Seconds that the origin asks to be left alone."""

_EARLY = 0.05  # seconds that a clock may be off


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended and what it left.

    Attributes:
        code: its exit code; None when it was still trying as its time was up.
    """

    code: int | None
    left: Left

    @property
    def delivered(self) -> bool:
        """Whether it says that the file is there, and it is."""
        return self.code == 0 and self.left == "whole"

    def __str__(self) -> str:
        how = "still trying" if self.code is None else f"exit {self.code}"
        return f"{self.left}, {how}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it passed, and what happened in a few words."""

    passed: bool
    detail: str


def after_kills(lefts: Sequence[Left], restarted: End) -> Verdict:
    """Never a part under the final name, and the file in the end."""
    partial = sum(left != "nothing" for left in lefts)
    detail = f"{partial} of {len(lefts)} partial" if partial else str(restarted)
    return Verdict(not partial and restarted.delivered, detail)


def unmixed(end: End) -> Verdict:
    """The new content and nothing of the old."""
    detail = str(end).replace("wrong", "mixed")
    return Verdict(end.delivered, detail)


def resumed(end: End, *, sent: int, size: int) -> Verdict:
    """The file, with little of it sent again."""
    share = f"{sent / size:.0%} sent again"
    detail = share if end.delivered else f"{end}, {share}"
    return Verdict(end.delivered and sent <= REFETCH * size, detail)


def noticed(end: End) -> Verdict:
    """No success, and nothing under the final name."""
    return Verdict(end.code != 0 and end.left == "nothing", str(end))


def contained(peak: int, *, limit: int) -> Verdict:
    """No file that has outgrown what was sent."""
    return Verdict(peak <= limit, f"{peak / 2**20:,.0f} MiB")


def kept_out(end: End, *, asked: int) -> Verdict:
    """Nobody was asked inside, and nothing came from there."""
    detail = f"asked inside, {end}" if asked else str(end)
    return Verdict(not asked and end.left == "nothing", detail)


def patient(end: End, waits: Sequence[float]) -> Verdict:
    """The file, and no request sooner than was asked for.

    Args:
        waits: seconds from the first answer to each later request.
    """
    kept = all(wait >= RETRY_AFTER - _EARLY for wait in waits)
    first = f"after {waits[0]:.1f} s" if waits else "never asked again"
    detail = first if end.delivered else f"{end}, {first}"
    return Verdict(kept and bool(waits) and end.delivered, detail)


def undisturbed(left: Left, *, sent: int, size: int) -> Verdict:
    """The file, whoever of the two has brought it."""
    return Verdict(left == "whole", f"{left}, {sent / size:.0%} sent")
