"""A system call that fails, or kills, at every one of its turns: by strace.

Only calls that concern the state directory count, so the first turn is the first one
there. A turn that no call reaches ends the row.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.chaos_trials.nursery import Daemon
from scripts.chaos_trials.tools import until
from scripts.chaos_trials.trial import RESTS_WITHIN, Trial, running

CALLS = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
    "ftruncate",
    "mkdir",
    "newfstatat",
    "getdents64",
    "lseek",
    "read",
    "pread64",
)
FAULTS = {
    "SIGKILL": "signal=KILL",
    **{
        name: f"error={name}"
        for name in ("ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "EINTR")
    },
}
_SOON = 20.0
_AFTERWARDS = 0.3  # seconds in which the daemon meets what follows from a fault


@dataclass(frozen=True, slots=True)
class Fault:
    """The `turn`-th such call of each thread fails."""

    call: str
    name: str
    turn: int

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.name} at {self.call.split(',')[0]} {self.turn}"


async def kill_at_a_sync(trial: Trial) -> None:
    """SIGKILL at a call that writes to the gallery or makes it durable."""
    call = trial.chance.choice(["pwrite64", "fdatasync"])
    turns = 40 if call == "pwrite64" else 12
    await fault(trial, Fault(call, "SIGKILL", trial.chance.randint(1, turns)))


async def fault(trial: Trial, planned: Fault) -> bool:
    """Let a call go wrong, and see that it mends; return whether there was a call."""
    trial.stage.fresh(trial.state)
    injected = f"inject={planned.call}:{FAULTS[planned.name]}:when={planned.turn}"
    async with running(trial, trial.birth("--once", held=True)) as daemon:
        log = trial.folder / "strace"
        paths = _paths(trial)
        async with traced(daemon, log, planned.call, injected, paths):
            await until(lambda: daemon.code is not None or _met(log), RESTS_WITHIN)
            await daemon.ended(_AFTERWARDS)
            await trial.stop(daemon)
            met = _met(log)
    trial.judge()
    await trial.come_to_rest()
    return met


@asynccontextmanager
async def traced(
    daemon: Daemon, log: Path, call: str, injected: str, paths: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Let strace follow a daemon that is held, and let that go."""
    await until(daemon.is_held, _SOON)
    where = [word for path in paths for word in ("-P", path)]
    what = ("-e", f"trace={call}", "-e", injected, *where)
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-o", str(log), *what, "-p", str(daemon.pid)),
        stdin=DEVNULL,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(_SOON):
            if tracer.stderr is not None:
                await tracer.stderr.readuntil(b"attached")
        daemon.send(signal.SIGCONT)
        yield
        await daemon.killed()
        async with asyncio.timeout(_SOON):
            await tracer.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracer.kill()


def _met(log: Path) -> bool:
    said = log.read_text("utf-8", "replace") if log.exists() else ""
    return "(INJECTED)" in said or "killed by SIGKILL" in said


def _paths(trial: Trial) -> list[str]:
    """Return what is at stake; strace wants each path by its whole name."""
    state, outputs = trial.state, trial.state / "media/outputs"
    partial = outputs / ".partial"
    names = [*trial.stage.files, "film_0.part"]
    parts = [f"{job}_{i}.part" for job in trial.stage.told for i in (0, 1)]
    notes = [f"{part}{end}" for part in parts for end in (".json", ".new")]
    gallery = [state / f"media/gallery.db{end}" for end in ("", "-wal", "-shm")]
    daemon = state / "materializer"
    own = ["daemon.lock", "endpoint.json", "logs", "logs/materializer.log"]
    paths = [
        *(state, state / "media", outputs, partial, *gallery, daemon),
        *(outputs / name for name in names),
        *(partial / name for name in (*parts, *notes)),
        *(daemon / name for name in own),
    ]
    return [str(path) for path in paths]
