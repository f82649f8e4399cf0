"""Where daemons come from: forked off one process that has the libraries loaded.

A daemon begins at `materializer run`, as from the command line, only 0.4 s sooner. The
one process never sees a state directory, so every daemon is a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import multiprocessing
import os
import re
import resource
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from materializer import cli
from scripts.chaos_trials import gate, mutants
from scripts.chaos_trials.gate import Strike

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *(__name__, "materializer.cli.run", "materializer.daemon"),
        # What a daemon loads only when it needs it would be loaded in every trial.
        *("materializer.cli.door", "materializer.ipc.contract", "watchfiles"),
        *("materializer.fetch.network", "materializer.fetch.body"),
        "anyio._backends._asyncio",
    ]
)
_LAST = 60  # lines
STOPS_WITHIN = 10.0  # seconds; the promise is 5, on a computer that is not shared


@dataclass(frozen=True, slots=True)
class Birth:
    """How a daemon is started.

    Attributes:
        said: takes what it prints.
        mutant: what is wrong with it, by name.
        largest: bytes beyond which no file may grow, 0 for any: short writes.
        strike: what happens at one of its system calls.
        unlocked: every lock is granted to it, whoever has it.
        rebooted: it believes that the computer was started anew.
    """

    environ: dict[str, str]
    said: Path
    flags: tuple[str, ...] = ()
    mutant: str | None = None
    largest: int = 0
    strike: Strike | None = None
    unlocked: bool = False
    rebooted: bool = False


class Daemon:
    """A daemon in a process of its own.

    Attributes:
        keeper: keeps the gate at its system calls, where it has one.
    """

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _FORKS.Process(
                target=_live, args=(birth, theirs), daemon=True
            )
            self._process.start()
        if self._process.pid is None:
            raise RuntimeError("a process that was started has a number")
        self.pid = self._process.pid
        self.keeper: gate.Keeper | None = None
        if birth.strike:
            self.keeper = gate.Keeper(birth.strike, self.pid, ours)
        else:
            ours.close()
        self._gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._process.sentinel, self._end)

    @property
    def struck(self) -> bool:
        """Whether the strike of its birth has come."""
        return self.keeper is not None and self.keeper.struck

    @property
    def code(self) -> int | None:
        """Its exit code; the negative of a signal; None while it runs."""
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        # Its end may not have come round to us yet.
        with contextlib.suppress(ProcessLookupError):
            if self.code is None:
                os.kill(self.pid, number)

    async def ended(self, within: float) -> bool:
        """Wait for its end; return whether it came in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._gone.wait()
        return self._gone.is_set()

    async def killed(self) -> None:
        """Kill it and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended(STOPS_WITHIN)

    async def stuck(self) -> str:
        """End it, and return what it said last, and where its threads were."""
        self.send(signal.SIGABRT)
        await self.ended(STOPS_WITHIN)
        return "\n".join(self._said().splitlines()[-_LAST:])

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

    def _end(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._gone.set()

    def _said(self) -> str:
        said = self._birth.said
        return said.read_text("utf-8", "replace") if said.exists() else ""


def environment(birth: Birth) -> dict[str, str]:
    """Return the variables of a daemon, and none that would lead out of the trial."""
    own = ("STELLA_", "CONVEX_", "DBUS_", "XDG_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return kept | birth.environ


def _live(birth: Birth, back: socket.socket) -> None:
    gc.freeze()  # what is there already is shared as long as nobody touches it
    said = os.open(birth.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(ours, theirs)
    faulthandler.enable()
    environ = environment(birth)
    os.environ.clear()
    os.environ.update(environ)
    if birth.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (birth.largest, birth.largest))
    if birth.rebooted:
        mutants.reboot()
    if birth.mutant:
        mutants.MUTANTS[birth.mutant]()
    if birth.unlocked:
        gate.pretend(["flock"])
    if birth.strike:
        kept = gate.shut(birth.strike.calls)
        socket.send_fds(back, [b"!"], [kept])
        os.close(kept)
    back.close()
    sys.argv = ["stella-materializer", "run", *birth.flags]
    cli.materializer()
