"""Other programs: whether they are there, and what it costs to run them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.clients import ROOT, BenchmarkFailed

if sys.platform != "win32":
    import resource


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process took from its start to its end, in seconds.

    Attributes:
        cpu: of all its threads and children.
    """

    seconds: float
    cpu: float
    output: bytes


def require(names: Iterable[str]) -> None:
    """Raise BenchmarkFailed unless these programs are installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise BenchmarkFailed(f"{' and '.join(missing)} must be installed")


async def output(*command: str) -> str:
    """Return what a program prints, on either stream.

    Raises:
        BenchmarkFailed: it failed.
    """
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise BenchmarkFailed(f"{command[0]} failed: {said.decode()[-2000:].strip()}")
    return said.decode()


async def first_line(*command: str) -> str:
    """Return the first line that a program prints."""
    return (await output(*command)).partition("\n")[0]


async def spend(
    *command: str,
    patience: float,
    errors: Path,
    environment: Mapping[str, str] | None = None,
) -> Spent:
    """Run a program to its end, as the only one of our children that ends meanwhile.

    Raises:
        BenchmarkFailed: it failed, or did not end in `patience` seconds.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = await started(*command, errors=errors, environment=environment)
    try:
        async with asyncio.timeout(patience):
            said, _ = await process.communicate()
    except TimeoutError:
        raise BenchmarkFailed(f"{command[0]} took over {patience:g} s") from None
    finally:
        await killed(process)
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise BenchmarkFailed(
            f"{command[0]} ended with {process.returncode}: {_end(errors)}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(seconds, cpu, said)


async def started(
    *command: str, errors: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a program at the head of a process group of its own.

    Args:
        errors: takes what it says on standard error.
        environment: what it finds there besides our own.
    """
    with errors.open("wb") as said:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=PIPE,
            stderr=said,
            start_new_session=True,
        )


async def killed(process: Process) -> None:
    """Kill what is left of a program and its children."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _end(file: Path) -> str:
    return file.read_text("utf-8", "replace")[-2000:].strip()


class Gauge:
    """How much of the machine others take, from when it is made.

    Args:
        pids: processes that are ours and do not end meanwhile.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._began = time.perf_counter()
        self._others = self._busy() - self._ours()

    def share(self) -> float:
        """Return the share of all cores that others took, from 0 to 1.

        What the kernel writes back for us counts as theirs.
        """
        seconds = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        return max(0.0, self._busy() - self._ours() - self._others) / seconds

    def _ours(self) -> float:
        mine = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(who) for who in mine]
        return sum(u.ru_utime + u.ru_stime for u in used) + sum(map(cpu, self._pids))

    def _busy(self) -> float:
        line = Path("/proc/stat").read_text("utf-8").partition("\n")[0]
        user, nice, system, _idle, _waiting, irq, softirq = line.split()[1:8]
        return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf(
            "SC_CLK_TCK"
        )


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used so far."""
    _, _, rest = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")
    user, system = rest.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_rss(pid: int) -> int:
    """Return the most memory that a process has held so far, in bytes."""
    return _memory(pid, "VmHWM:")


def rss(pid: int) -> int:
    """Return the memory that a process holds, in bytes."""
    return _memory(pid, "VmRSS:")


def _memory(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise BenchmarkFailed(f"process {pid} is gone")
