"""How soon `stella-media generate --wait` returns when its job is done.

A daemon runs, as it does for people. Beside it is the app's own command's way, which
asks every two seconds. Both order from one backend and wait; then their job is done, as
early or late in those two seconds for the one as for the other, and the clock runs
until the command has exited with the picture in its place.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from materializer.config import Paths
from materializer.devserver.app import Backend
from materializer.ipc.client import Client
from scripts.benchmarks import bodies, goals
from scripts.benchmarks.clients import PATIENCE, ROOT, BenchmarkFailed
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.programs import first_line, killed, require
from scripts.benchmarks.report import figure, machine
from scripts.browser.commands import running

LONG, SHORT = 20, 2
INTERVAL = 2.0
RATIO_GOAL, MS_GOAL = 0.1, 200.0

_SIZE = 200 * 1024
# So long a job takes that is left to the backend, which no round does.
_REQUEST = json.dumps({"capability": "text_to_image", "prompt": "[slow:9999]"})
_OURS = (
    *(sys.executable, "-c", "from materializer.cli import media; media()"),
    *("generate", "--wait", "--request", _REQUEST),
)
_POLLING = ("node", str(Path(__file__).with_name("client_polling.mjs")), _REQUEST)

Way: TypeAlias = tuple[tuple[str, ...], Mapping[str, str]]
"""A command that orders and waits, and what it finds in its environment."""


@dataclass(frozen=True, slots=True)
class Round:
    """One job of each, in ms from when it was done to when its command had exited.

    Attributes:
        ours: `stella-media`.
        polling: the app's own command's way.
        phase: how far into the interval of two seconds it was done.
    """

    ours: float
    polling: float
    phase: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rounds, and which Node the other way ran on."""

    node: str
    rounds: list[Round]


async def measure(rounds: int, tell: Callable[[str], None]) -> Result:
    """Let both wait for `rounds` jobs each, after one that does not count.

    Raises:
        BenchmarkFailed: Node is missing, or a command failed or saved something else.
    """
    require(("node",))
    tell(f"{rounds} rounds of about {INTERVAL * 4:g} s")
    with tempfile.TemporaryDirectory(prefix="stella-bench-") as folder:
        async with _stage(Path(folder)) as stage:
            await stage.play(0.0)
            found = [await stage.play(phase) for phase in _phases(rounds)]
    return Result(await first_line("node", "--version"), found)


def _phases(rounds: int) -> list[float]:
    """Return moments that are spread evenly over the interval, in a fixed disorder.

    By chance alone, a few rounds would say more of their luck than of the way.
    """
    phases = [INTERVAL * (number + 0.5) / rounds for number in range(rounds)]
    random.Random(rounds).shuffle(phases)  # noqa: S311 -- guards nothing
    return phases


class _Stage:
    """A backend that ends no job by itself, and the ways to wait for its jobs."""

    def __init__(self, backend: Backend, ways: Mapping[str, Way]) -> None:
        self._backend = backend
        self._ways = ways
        self._picture = bodies.png(_SIZE, 1)
        stored = backend.storage.keep(self._picture, "image/png", "png")
        url = backend.site_url + backend.storage.link(stored)
        self._output = {"images": [{"url": url}]}

    async def play(self, phase: float) -> Round:
        """Let a job of each be done so many seconds into the interval."""
        took = {
            name: await self._returned(way, phase) for name, way in self._ways.items()
        }
        return Round(**took, phase=phase)

    async def _returned(self, way: Way, phase: float) -> float:
        command, environ = way
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                job_id = await _submitted(process)
                # By then it waits, and the other has begun to count its intervals.
                await asyncio.sleep(INTERVAL + phase)
                done = time.perf_counter()
                self._backend.deployment.succeed(time.time_ns(), job_id, self._output)
                out, err = await process.communicate()
        except TimeoutError:
            raise BenchmarkFailed(f"{command[0]} waits for ever") from None
        finally:
            await killed(process)
        took = (time.perf_counter() - done) * 1000
        if process.returncode != 0:
            raise BenchmarkFailed(f"{command[0]} failed: {err.decode().strip()}")
        path = Path(out.decode().strip().partition("image: ")[2])
        if await asyncio.to_thread(path.read_bytes) != self._picture:
            raise BenchmarkFailed(f"{path.name} is not the picture that was made")
        return took


async def _submitted(process: Process) -> str:
    """Return the job that a command says it has ordered."""
    if process.stderr is None:
        raise BenchmarkFailed("a command has no standard error")
    line = (await process.stderr.readline()).decode().strip()
    job_id = line.removeprefix("media job ").removesuffix(": submitted")
    if len(job_id) != len(line) - len("media job : submitted"):
        raise BenchmarkFailed(f"nothing was ordered: {line}")
    return job_id


@asynccontextmanager
async def _stage(folder: Path) -> AsyncIterator[_Stage]:
    outputs, paths = folder / "outputs", Paths.of(folder / "state")
    for directory in (outputs, paths.state):
        directory.mkdir()
    async with Backend(folder / "backend") as backend:
        ours = {
            "STELLA_SITE_URL": backend.site_url,
            "STELLA_CONVEX_URL": backend.convex_url,
            "STELLA_MEDIA_TOKEN_FILE": str(backend.token_file),
            "STELLA_STATE_DIR": str(paths.state),
            "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }
        polling = {
            "STELLA_SITE_URL": backend.site_url,
            "STELLA_TOKEN": backend.token(lifetime=PATIENCE * 100),
            "OUTPUTS": str(outputs),
        }
        flags = ("--ready-json", "--no-notifications")
        async with running("run", paths, *flags, environment=ours):
            await _live(paths.state)
            yield _Stage(
                backend, {"ours": (_OURS, ours), "polling": (_POLLING, polling)}
            )


async def _live(state: Path) -> None:
    """Return when the daemon follows the feed."""
    async with Client(state) as daemon, asyncio.timeout(PATIENCE):
        await daemon.call("events.subscribe", {"topics": ["feed"]})
        if (await daemon.call("daemon.status"))["feed"]["state"] == "live":
            return
        async for sent in daemon.notifications():
            if sent.params["data"]["state"] == "live":
                return


def markdown(result: Result) -> str:
    """Return a table of what each took, and whether the goals were met."""
    here = machine()
    cores = f"{here['cores']} cores ({here['processor']})"
    versions = f"Python {here['python']}, Node {result.node}"
    lines = [
        f"{cores}, {versions}; {len(result.rounds)} rounds.",
        "",
        "| from done to exited | p50 ms | p99 ms | longest ms |",
        "|---|--:|--:|--:|",
    ]
    for name, took in (
        ("`stella-media generate --wait`, a daemon running", _ours(result)),
        ("asking every 2 s", _polling(result)),
    ):
        cells = map(figure, (median(took), goals.p99(took), max(took)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *goals.table(goals_of(result))])


def data(result: Result) -> dict[str, Any]:
    """Return every raw figure, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def goals_of(result: Result) -> list[Goal]:
    """Return what was to be reached, and what was."""
    # Not round by round: who asks just after a job is done is quick by luck.
    half = median(_ours(result)) / median(_polling(result))
    longest = max(_ours(result)) / MS_GOAL
    what = "`generate --wait` returns"
    return [
        Goal(f"{what}, p50", "asking every 2 s", half, RATIO_GOAL),
        Goal(f"{what}, longest", f"{MS_GOAL:g} ms", longest, 1.0),
    ]


def _ours(result: Result) -> list[float]:
    return [each.ours for each in result.rounds]


def _polling(result: Result) -> list[float]:
    return [each.polling for each in result.rounds]
