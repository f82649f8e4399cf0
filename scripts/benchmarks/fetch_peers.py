"""Everybody who fetches: how each is told what to fetch, and what it cost.

Ours and the httpx ones are running when their time begins, as a daemon is; the time
of a program that is started for its task includes that, some milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import httpx

from scripts.benchmarks import client_httpx, fetch_ours
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.fetch_origin import Origin
from scripts.benchmarks.programs import (
    cpu,
    first_line,
    killed,
    peak_rss,
    spend,
    started,
)

_PATIENCE = 300.0
_POLL = 0.01
_QUIET = ("--no-conf", "--quiet")


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be fetched, and to where.

    Attributes:
        files: each is to be a file of its name in `folder`.
        folder: empty at first.
        first: what ours fetches before, so that its libraries are loaded.
        notes: a folder for what a program must read first, on tmpfs.
    """

    origin: Origin
    scheme: Literal["http", "https"]
    files: Sequence[File]
    folder: Path
    first: File
    notes: Path

    @property
    def errors(self) -> Path:
        """Takes what a program says on standard error."""
        return self.notes / "errors"

    def url(self, file: File) -> str:
        """Return where a file is, without its digest."""
        return self.origin.url(self.scheme, file)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an errand took.

    Attributes:
        cpu: seconds of CPU of the whole process.
        rss_before: bytes that a running process held before, where it was asked.
        rss_peak: the most that it held, where it was asked.
        lateness: of the event loop, in seconds, where that was looked at.
    """

    seconds: float
    cpu: float
    rss_before: int | None = None
    rss_peak: int | None = None
    lateness: list[float] = field(default_factory=list)


Fetch = Callable[[Errand], Awaitable[Cost]]


async def versions() -> dict[str, str]:
    """Return what is compared, in words."""
    httpx_version = f"httpx {version('httpx')}"
    return {
        "ours": f"stella-materializer {version('stella-materializer')}",
        "curl": (await first_line("curl", "--version")).partition("(")[0].strip(),
        "aria2c": await first_line("aria2c", "--version"),
        "httpx": httpx_version,
        "httpx + aiofiles": f"{httpx_version}, aiofiles {version('aiofiles')}",
        "wrk": (await first_line("dpkg-query", "-W", "wrk")).replace("\t", " "),
    }


async def ours(errand: Errand) -> Cost:
    """Fetch by our pipeline: one job for each file."""
    return await _ours(errand, look_at_loop=False)


async def ours_looked_at(errand: Errand) -> Cost:
    """Fetch by our pipeline, with an eye on its event loop."""
    return await _ours(errand, look_at_loop=True)


async def curl(errand: Errand) -> Cost:
    """Fetch by one curl: several files in parallel."""
    lines = (
        f'url = "{errand.url(file)}"\noutput = "{errand.folder / file.name}"\n'
        for file in errand.files
    )
    listed = errand.notes / "curl"
    listed.write_text("".join(lines), "utf-8")
    return await _spend(errand, "curl", *_curl(errand, listed))


async def curl_synced(errand: Errand) -> Cost:
    """Fetch one file by curl, and fsync it."""
    [file] = errand.files
    path = str(errand.folder / file.name)
    return await _spend(
        errand,
        *("sh", "-ec", 'to=$1; shift; curl "$@"; sync "$to"', "-", path),
        *_curl(errand, None),
        *("--output", path, errand.url(file)),
    )


async def aria2c(errand: Errand) -> Cost:
    """Fetch by one aria2c: 16 files at once."""
    return await _aria2c(errand, {})


async def aria2c_checked(errand: Errand) -> Cost:
    """Fetch by aria2c, which is told the digests beforehand."""
    return await _aria2c(
        errand, {file.name: f"sha-256={file.sha256}" for file in errand.files}
    )


async def aria2_rpc(errand: Errand) -> Cost:
    """Fetch by a running aria2, 16 files at once, told in one call over its RPC."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = await started(
        *("aria2c", *_QUIET, "--enable-rpc", f"--rpc-listen-port={port}"),
        *("--rpc-max-request-size=64M", f"--max-download-result={len(errand.files)}"),
        *("-j16", f"--dir={errand.folder}"),
        f"--ca-certificate={errand.origin.certificate}",
        errors=errand.errors,
    )
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            return await _by_rpc(errand, client, process)
    finally:
        await killed(process)


async def httpx_raw(errand: Errand) -> Cost:
    """Fetch by httpx, 16 files at once, written as they come."""
    return await _httpx(errand, "raw")


async def httpx_aiofiles(errand: Errand) -> Cost:
    """Fetch by httpx and aiofiles, 16 files at once."""
    return await _httpx(errand, "aiofiles")


def _curl(errand: Errand, listed: Path | None) -> list[str]:
    arguments = ["--silent", "--show-error", "--fail"]
    if errand.scheme == "https":
        arguments += ["--cacert", str(errand.origin.certificate)]
    if listed is not None:
        parallel = ["--parallel", "--parallel-max", "16"]
        arguments += [*parallel, "--config", str(listed)]
    return arguments


async def _aria2c(errand: Errand, checksums: dict[str, str]) -> Cost:
    def entry(file: File) -> str:
        lines = [errand.url(file), f"  out={file.name}"]
        if checksum := checksums.get(file.name):
            lines.append(f"  checksum={checksum}")
        return "\n".join([*lines, ""])

    listed = errand.notes / "aria2"
    listed.write_text("".join(map(entry, errand.files)), "utf-8")
    return await _spend(
        errand,
        *(
            "aria2c",
            *_QUIET,
            "-j16",
            f"--dir={errand.folder}",
            f"--input-file={listed}",
        ),
        f"--ca-certificate={errand.origin.certificate}",
    )


async def _by_rpc(errand: Errand, client: httpx.AsyncClient, process: Process) -> Cost:
    async def call(method: str, *parameters: object) -> Any:
        question = {"jsonrpc": "2.0", "id": 0, "method": method, "params": parameters}
        answer = await client.post("/jsonrpc", json=question, timeout=_PATIENCE)
        return answer.raise_for_status().json()["result"]

    while True:
        try:
            await call("aria2.getVersion")
        except httpx.TransportError:
            await asyncio.sleep(_POLL)
        else:
            break
    adding = [
        {
            "methodName": "aria2.addUri",
            "params": [[errand.url(file)], {"out": file.name}],
        }
        for file in errand.files
    ]
    before, began = cpu(process.pid), time.perf_counter()
    await call("system.multicall", adding)
    left = len(adding)
    while left:
        await asyncio.sleep(_POLL)
        left = len(adding) - int((await call("aria2.getGlobalStat"))["numStopped"])
    seconds = time.perf_counter() - began
    return Cost(seconds, cpu(process.pid) - before, rss_peak=peak_rss(process.pid))


async def _httpx(errand: Errand, way: Literal["raw", "aiofiles"]) -> Cost:
    order = errand.notes / "httpx.json"
    client_httpx.Order(
        way,
        {errand.url(file): str(errand.folder / file.name) for file in errand.files},
        str(errand.origin.certificate),
    ).write(order)
    told = await _told("scripts.benchmarks.client_httpx", order, errand)
    return Cost(told["seconds"], told["cpu"])


async def _ours(errand: Errand, *, look_at_loop: bool) -> Cost:
    state = errand.folder / "state"
    order = errand.notes / "ours.json"
    urls = {
        _job(file): errand.origin.url(errand.scheme, file, digest=True)
        for file in errand.files
    }
    first = errand.origin.url(errand.scheme, errand.first, digest=True)
    fetch_ours.Order(
        str(state), "127.0.0.1", urls, first=first, look_at_loop=look_at_loop
    ).write(order)
    told = await _told("scripts.benchmarks.fetch_ours", order, errand)
    if told["told"] != len(errand.files):
        raise BenchmarkFailed(f"ours announced {told['told']} of {len(errand.files)}")
    # To where everybody's files are, so that all are checked alike.
    for file in errand.files:
        [path] = (state / "media" / "outputs").glob(f"{_job(file)}_0.*")
        path.rename(errand.folder / file.name)
    return Cost(
        told["seconds"],
        told["cpu"],
        told["rss_before"],
        told["rss_peak"],
        told["lateness"],
    )


def _job(file: File) -> str:
    return file.name.partition(".")[0]


async def _told(module: str, order: Path, errand: Errand) -> dict[str, Any]:
    """Run one of our processes; return what it told of itself."""
    spent = await spend(
        *(sys.executable, "-m", module, str(order)),
        patience=_PATIENCE,
        errors=errand.errors,
        environment={"SSL_CERT_FILE": str(errand.origin.certificate)},
    )
    told: dict[str, Any] = json.loads(spent.output)
    return told


async def _spend(errand: Errand, *command: str) -> Cost:
    spent = await spend(*command, patience=_PATIENCE, errors=errand.errors)
    return Cost(spent.seconds, spent.cpu)
