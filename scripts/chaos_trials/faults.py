"""A system call that fails, or kills, at every one of its turns.

Only calls that concern the state directory count, so the first turn is the first one
there. A turn that no call reaches ends the row.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from scripts.chaos_trials.gate import Strike
from scripts.chaos_trials.tools import until
from scripts.chaos_trials.trial import RESTS_WITHIN, Trial, running

CALLS = (
    ("openat",),
    ("write",),
    ("pwrite64",),
    ("fsync",),
    ("fdatasync",),
    ("rename", "renameat", "renameat2"),
    ("unlink", "unlinkat"),
    ("ftruncate",),
    ("mkdir",),
    ("newfstatat",),
    ("getdents64",),
    ("lseek",),
    ("read",),
    ("pread64",),
    ("flock",),
)
ERRORS = ("SIGKILL", "ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "EINTR")
_AFTERWARDS = 0.3  # seconds in which the daemon meets what follows from a fault


@dataclass(frozen=True, slots=True)
class Fault:
    """The `turn`-th of such calls fails."""

    calls: tuple[str, ...]
    name: str
    turn: int

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.name} at {self.calls[0]} {self.turn}"

    def strike(self, folder: str) -> Strike:
        """Return what the gate has to do."""
        error = 0 if self.name == "SIGKILL" else getattr(errno, self.name)
        return Strike(self.calls, folder, self.turn, error)


async def fault(trial: Trial, planned: Fault) -> bool:
    """Let a call go wrong, and see that it mends; return whether there was a call."""
    trial.stage.fresh(trial.state)
    strike = planned.strike(str(trial.state))
    async with running(trial, trial.birth("--once", strike=strike)) as daemon:
        await until(lambda: daemon.code is not None or daemon.struck, RESTS_WITHIN)
        await daemon.ended(_AFTERWARDS)
        await trial.stop(daemon)
    trial.struck += daemon.struck
    trial.judge()
    await trial.come_to_rest(retold=trial.struck)
    return daemon.struck
