"""Where daemons come from: forked off one process that has the libraries loaded.

A daemon begins at `materializer run`, as from the command line, only 0.4 s sooner.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from materializer import cli
from scripts.chaos_trials import mutants

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [__name__, "materializer.cli.run", "materializer.daemon", "materializer.cli.door"]
)
STOPS_WITHIN = 10.0  # seconds; the promise is 5, on a computer that is not shared


@dataclass(frozen=True, slots=True)
class Birth:
    """How a daemon is started.

    Attributes:
        said: takes what it prints.
        mutant: what is wrong with it, by name.
        largest: bytes beyond which no file may grow, 0 for any: short writes.
        held: it waits, stopped, until somebody continues it.
        rebooted: it believes that the computer was started anew.
    """

    environ: dict[str, str]
    said: Path
    flags: tuple[str, ...] = ()
    mutant: str | None = None
    largest: int = 0
    held: bool = False
    rebooted: bool = False


class Daemon:
    """A daemon in a process of its own."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        self._process = _FORKS.Process(target=_live, args=(birth,), daemon=True)
        self._process.start()
        if self._process.pid is None:
            raise RuntimeError("a process that was started has a number")
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; the negative of a signal; None while it runs."""
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            os.kill(self.pid, number)

    async def ended(self, within: float) -> bool:
        """Wait for its end; return whether it came in time."""
        await asyncio.to_thread(self._process.join, within)
        return self.code is not None

    async def killed(self) -> None:
        """Kill it and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended(STOPS_WITHIN)

    def is_held(self) -> bool:
        """Whether it is stopped."""
        status = Path(f"/proc/{self.pid}/stat").read_text("utf-8")
        return status.rpartition(")")[2].split()[0] == "T"

    def has_said(self, words: str) -> bool:
        """Whether it has printed this so far."""
        return words in self._said()

    def blunt(self) -> str | None:
        """Return the error that it ended with in place of words, if it did."""
        # One that is logged is on a line that begins with the time.
        if not re.search(r"(?m)^[ |+]*(Exception Group )?Traceback", self._said()):
            return None
        errors = re.findall(r"(?m)^[ |]*(\w+(?:Error|Exception): .*)$", self._said())
        return str(errors[-1]) if errors else "a traceback"

    def _said(self) -> str:
        said = self._birth.said
        return said.read_text("utf-8", "replace") if said.exists() else ""


def environment(birth: Birth) -> dict[str, str]:
    """Return the variables of a daemon, and none that would lead out of the trial."""
    own = ("STELLA_", "CONVEX_", "DBUS_", "XDG_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return kept | birth.environ


def _live(birth: Birth) -> None:
    said = os.open(birth.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(ours, theirs)
    environ = environment(birth)
    os.environ.clear()
    os.environ.update(environ)
    if birth.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (birth.largest, birth.largest))
    if birth.rebooted:
        mutants.reboot()
    if birth.mutant:
        mutants.MUTANTS[birth.mutant]()
    if birth.held:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.argv = ["stella-materializer", "run", *birth.flags]
    cli.materializer()
