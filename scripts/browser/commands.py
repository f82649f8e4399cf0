"""The commands that make a page to look at, each a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from materializer.config import Paths
from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed
from scripts.benchmarks.programs import killed, started


@asynccontextmanager
async def running(
    command: str,
    paths: Paths,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """Run a command of ours until the block ends; yields the first line it prints.

    Raises:
        BenchmarkFailed: it printed none.
    """
    errors = paths.state / f"{command}.txt"
    process = await started(
        *(sys.executable, "-m", "materializer", command),
        *("--state-dir", str(paths.state), *arguments),
        errors=errors,
        environment=environment,
    )
    try:
        assert process.stdout is not None  # noqa: S101 -- for the type checker
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode().strip()
        if not line:
            said = await asyncio.to_thread(errors.read_text, "utf-8")
            raise BenchmarkFailed(f"{command} did not start: {said}")
        yield line
    finally:
        await killed(process)
