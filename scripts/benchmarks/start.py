"""How long a person or an app waits for our programs, in starts of bare Python.

Each round measures one after the other, so that what slows one slows the others.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed
from scripts.benchmarks.programs import killed, started
from scripts.benchmarks.report import figure, machine

ANSWER_GOAL, HELP_GOAL = 5.0, 2.5

_LIBRARIES = "import asyncio, sqlite3"
_DOOR = "from materializer.cli import {0}; {0}()"
_HELLO = {"client": "bench", "protocol": 1}


@dataclass(frozen=True, slots=True)
class Round:
    """One start of each, in ms.

    Attributes:
        python: bare Python, from start to end.
        libraries: Python with asyncio and sqlite3.
        media_help: `stella-media --help`.
        materializer_help: `stella-materializer --help`.
        ready: the daemon, until it says that clients can connect.
        greeted: until it has answered `hello`.
        loaded: until it has answered `daemon.status`, for which it needs everything.
    """

    python: float
    libraries: float
    media_help: float
    materializer_help: float
    ready: float
    greeted: float
    loaded: float


async def measure(rounds: int, tell: Callable[[str], None]) -> list[Round]:
    """Start everything `rounds` times, after one time that does not count.

    Raises:
        BenchmarkFailed: something did not start.
    """
    tell(f"{rounds} rounds")
    return [await _round() for _ in range(rounds + 1)][1:]


async def _round() -> Round:
    with tempfile.TemporaryDirectory() as folder:
        return Round(
            await _whole("pass"),
            await _whole(_LIBRARIES),
            await _whole(_DOOR.format("media"), "--help"),
            await _whole(_DOOR.format("materializer"), "--help"),
            *await _daemon(Path(folder)),
        )


async def _whole(code: str, *arguments: str) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments), stdout=DEVNULL
    )
    if await process.wait() != 0:
        raise BenchmarkFailed(f"python -c {code!r} failed")
    return (time.perf_counter() - began) * 1000


async def _daemon(folder: Path) -> tuple[float, float, float]:
    began = time.perf_counter()
    process = await started(
        *(sys.executable, "-m", "materializer", "run", "--ready-json"),
        *("--state-dir", str(folder / "state")),
        errors=folder / "errors.txt",
    )
    moments = []
    try:
        if process.stdout is None:
            raise BenchmarkFailed("the daemon has no output")
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
            if not line:
                raise BenchmarkFailed((folder / "errors.txt").read_text("utf-8"))
            moments.append(time.perf_counter())
            path = json.loads(line)["endpoint"]["path"]
            reader, writer = await asyncio.open_unix_connection(path)
            for method, params in (("hello", _HELLO), ("daemon.status", {})):
                call = {"id": method, "method": method, "params": params}
                writer.write(json.dumps(call).encode() + b"\n")
                if "result" not in json.loads(await reader.readline()):
                    raise BenchmarkFailed(f"{method} was refused")
                moments.append(time.perf_counter())
            writer.close()
    finally:
        await killed(process)
    ready, greeted, loaded = ((moment - began) * 1000 for moment in moments)
    return ready, greeted, loaded


def markdown(rounds: list[Round]) -> str:
    """Return the medians over the rounds, and whether the goals were met."""
    here = machine()
    cores = f"{here['cores']} cores ({here['processor']})"
    rows = [
        ("`python -c pass`", "python", ""),
        (f"`python -c '{_LIBRARIES}'`", "libraries", ""),
        ("`stella-media --help`", "media_help", _ratio(rounds, "media_help", "python")),
        (
            "`stella-materializer --help`",
            "materializer_help",
            _ratio(rounds, "materializer_help", "python"),
        ),
        ("the daemon says ready", "ready", _ratio(rounds, "ready", "libraries")),
        ("it answers `hello`", "greeted", _ratio(rounds, "greeted", "libraries")),
        (
            "it answers `daemon.status`",
            "loaded",
            _ratio(rounds, "loaded", "libraries"),
        ),
    ]
    lines = [
        f"{cores}, Python {here['python']}; medians of {len(rounds)} rounds.",
        "",
        "| what | ms | |",
        "|---|--:|---|",
    ]
    for what, key, ratio in rows:
        ms = figure(median(getattr(each, key) for each in rounds))
        lines.append(f"| {what} | {ms} | {ratio} |")
    return "\n".join([*lines, "", shortfall(rounds) or "Both goals are met."])


def shortfall(rounds: list[Round]) -> str | None:
    """Return which goal was missed, in words."""
    missed = [
        f"{what} takes {times:.1f} starts of Python, and may take {goal:g}"
        for what, times, goal in (
            ("--help", _times(rounds, "media_help", "python"), HELP_GOAL),
            ("hello", _times(rounds, "greeted", "libraries"), ANSWER_GOAL),
        )
        if times > goal
    ]
    return "; ".join(missed) or None


def data(rounds: list[Round]) -> dict[str, Any]:
    """Return every raw figure, and on what it was taken."""
    return {"machine": machine(), "rounds": list(map(asdict, rounds))}


def _times(rounds: list[Round], what: str, base: str) -> float:
    return float(median(getattr(one, what) / getattr(one, base) for one in rounds))


def _ratio(rounds: list[Round], what: str, base: str) -> str:
    says = "bare Python" if base == "python" else "Python with asyncio and sqlite3"
    return f"{_times(rounds, what, base):.1f} of {says}"
