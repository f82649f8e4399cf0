"""Who is put through the faults: how each is started, and where its files are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from scripts.benchmarks import client_httpx, fetch_ours
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.programs import first_line, require


@dataclass(frozen=True, slots=True)
class Tool:
    """One of them.

    Attributes:
        name: in tables.
        command: starts it, given the URL, the folder for the file, and one for notes.
        outputs: where below the folder files of final names are.
    """

    name: str
    version: str
    command: Callable[[str, Path, Path], tuple[str, ...]]
    outputs: str = "."


async def tools() -> list[Tool]:
    """Return them, ours first.

    Raises:
        BenchmarkFailed: one is not installed.
    """
    require(("curl", "wget", "aria2c"))
    try:
        gallery_dl = version("gallery-dl")
    except PackageNotFoundError as error:
        raise BenchmarkFailed("gallery-dl must be installed") from error
    curl = (await first_line("curl", "--version")).partition(" (")[0]
    wget = (await first_line("wget", "--version")).partition(" built")[0]
    return [
        ours(),
        Tool("curl -o", curl, _curl),
        Tool("curl -fC- --retry", curl, _curl_resuming),
        Tool("wget -c", wget, _wget),
        Tool("aria2c -c", await first_line("aria2c", "--version"), _aria2c),
        Tool("gallery-dl", f"gallery-dl {gallery_dl}", _gallery_dl),
        Tool("httpx + aiofiles", f"httpx {version('httpx')}", _httpx),
    ]


def ours() -> Tool:
    """Return ours: the pipeline of the daemon, which never gives up by itself."""
    name = "stella-materializer"
    return Tool("ours", f"{name} {version(name)}", _ours, "media/outputs")


def _ours(url: str, folder: Path, notes: Path) -> tuple[str, ...]:
    order = notes / "ours.json"
    allowed = urlsplit(url).netloc
    fetch_ours.Order(str(folder), allowed, {"j": url}).write(order)
    return (sys.executable, "-m", "scripts.benchmarks.fetch_ours", str(order))


def _curl(url: str, folder: Path, _: Path) -> tuple[str, ...]:
    return ("curl", "-sSL", "-o", str(folder / "j_0.png"), url)


def _curl_resuming(url: str, folder: Path, _: Path) -> tuple[str, ...]:
    resuming = ("curl", "-sSfL", "-C", "-", "--retry", "5")
    return (*resuming, "-o", str(folder / "j_0.png"), url)


def _wget(url: str, folder: Path, _: Path) -> tuple[str, ...]:
    return ("wget", "-q", "-c", "-P", str(folder), url)


def _aria2c(url: str, folder: Path, _: Path) -> tuple[str, ...]:
    return ("aria2c", "--no-conf", "-q", "-c", "-d", str(folder), url)


def _gallery_dl(url: str, folder: Path, _: Path) -> tuple[str, ...]:
    quiet = (sys.executable, "-m", "gallery_dl", "--config-ignore", "-q")
    return (*quiet, "-D", str(folder), "-f", "{filename}.{extension}", url)


def _httpx(url: str, folder: Path, notes: Path) -> tuple[str, ...]:
    order = notes / "httpx.json"
    client_httpx.Order("aiofiles", {url: str(folder / "j_0.png")}).write(order)
    return (sys.executable, "-m", "scripts.benchmarks.client_httpx", str(order))
