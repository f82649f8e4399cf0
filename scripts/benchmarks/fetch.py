"""Our downloads beside those of others: the same files, in turns, all checked.

Ours does everything that the daemon does for a file: the announced digest verified,
SHA-256, fsync, index, announcement. The others only fetch, but for what is in their
name.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.benchmarks import bodies, fetch_peers, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.fetch_origin import Strength, origin
from scripts.benchmarks.fetch_peers import Cost, Errand, Fetch

Scheme = Literal["http", "https"]
Store = Literal["tmpfs", "disk"]
Files = Literal["first", "film", "films", "pictures", "small pictures"]

_STORES: dict[Store, Path] = {"tmpfs": Path("/dev/shm"), "disk": Path("/var/tmp")}  # noqa: S108 -- each run has a directory of its own in it
_SCHEMES: tuple[Scheme, ...] = ("https", "http")
_NEEDED = ("nginx", "openssl", "wrk", "curl", "aria2c")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; sizes in bytes.

    Attributes:
        rounds: in each, everybody runs once, each round another one first.
        big: the size of a film.
        together: how many films come at once.
        many: how many pictures of 64 KiB.
        backlog: how many pictures of 4 KiB wait at the start.
    """

    rounds: int
    big: int
    together: int
    many: int
    backlog: int


LONG = Plan(rounds=5, big=2 * 2**30, together=4, many=1000, backlog=10_000)
SHORT = Plan(rounds=1, big=8 * 2**20, together=2, many=20, backlog=40)


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison.

    Attributes:
        name: how it is chosen, and what it is called in the tables.
        files: which of the origin's.
        clients: who is compared, ours first.
    """

    name: str
    files: Files
    schemes: tuple[Scheme, ...]
    stores: tuple[Store, ...]
    clients: dict[str, Fetch]


PARTS = (
    Part(
        "big",
        "film",
        _SCHEMES,
        ("tmpfs", "disk"),
        {
            "ours": fetch_peers.ours,
            "curl": fetch_peers.curl,
            "curl + fsync": fetch_peers.curl_synced,
            "aria2c --checksum": fetch_peers.aria2c_checked,
            "httpx": fetch_peers.httpx_raw,
            "httpx + aiofiles": fetch_peers.httpx_aiofiles,
        },
    ),
    Part(
        "many",
        "pictures",
        _SCHEMES,
        ("tmpfs", "disk"),
        {
            "ours": fetch_peers.ours,
            "aria2c -j16": fetch_peers.aria2c,
            "curl --parallel": fetch_peers.curl,
            "httpx": fetch_peers.httpx_raw,
            "httpx + aiofiles": fetch_peers.httpx_aiofiles,
        },
    ),
    Part(
        "backlog",
        "small pictures",
        ("http",),
        ("tmpfs", "disk"),
        {"ours": fetch_peers.ours, "aria2 RPC": fetch_peers.aria2_rpc},
    ),
    Part(
        "together",
        "films",
        ("https",),
        ("disk",),
        {"ours": fetch_peers.ours, "aria2 RPC": fetch_peers.aria2_rpc},
    ),
    Part(
        "loop",
        "film",
        ("https",),
        ("tmpfs", "disk"),
        {"ours": fetch_peers.ours_looked_at},
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one client.

    Attributes:
        size: of all files, in bytes.
        others: the share of the machine that other processes took meanwhile.
    """

    part: str
    scheme: Scheme
    store: Store
    round: int
    client: str
    files: int
    size: int
    others: float
    cost: Cost


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured.

    Attributes:
        versions: of what was compared, by name.
        file_systems: what `tmpfs` and `disk` are here.
        strength: what the origin serves to a client that drops everything.
    """

    plan: Plan
    versions: dict[str, str]
    file_systems: dict[str, str]
    strength: list[Strength]
    samples: list[Sample]


async def measure(
    plan: Plan, parts: Sequence[Part], tell: Callable[[str], None]
) -> Result:
    """Measure some parts; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a program is missing or fails, or a file is not what it was.
    """
    programs.require(_NEEDED)
    samples: list[Sample] = []
    with _folder(_STORES["tmpfs"]) as ground:
        tell("making the files")
        kinds = {part.files for part in parts}
        made = await asyncio.to_thread(_make, plan, kinds, ground / "files")
        served = {file.name: file for files in made.values() for file in files}
        async with origin(ground, ground / "files", served.values()) as source:
            sizes = {files[0].size: files for files in made.values()}
            strength = [
                await source.strength(scheme, files[0], min(16, len(files)))
                for files in sizes.values()
                for scheme in _SCHEMES
            ]
            [first] = made["first"]
            for turn in _turns(plan, parts):
                tell(f"{turn.part.name}, {turn.scheme}, {turn.store}: {turn.client}")
                files = made[turn.part.files]
                with _folder(_STORES[turn.store]) as folder:
                    errand = Errand(source, turn.scheme, files, folder, first, ground)
                    samples.append(await _run(turn, errand))
    versions = await fetch_peers.versions()
    versions["origin"] = f"nginx {source.version}, one worker, files on tmpfs"
    return Result(plan, versions, _file_systems(), strength, samples)


@dataclass(frozen=True, slots=True)
class _Turn:
    part: Part
    scheme: Scheme
    store: Store
    round: int
    client: str


def _turns(plan: Plan, parts: Sequence[Part]) -> Iterator[_Turn]:
    """Say who runs when: nobody twice in a row, each round another one first."""
    for part in parts:
        clients = [*part.clients]
        for number in range(plan.rounds):
            first = number % len(clients)
            for scheme in part.schemes:
                for store in part.stores:
                    for client in clients[first:] + clients[:first]:
                        yield _Turn(part, scheme, store, number, client)


async def _run(turn: _Turn, errand: Errand) -> Sample:
    """Let one client fetch the files, and look at each of them afterwards."""
    # What was written before must not be written back during this run.
    await asyncio.to_thread(os.sync)
    gauge = programs.Gauge(errand.origin.pid)
    cost = await turn.part.clients[turn.client](errand)
    others = gauge.share()
    await asyncio.to_thread(_check, turn.client, errand)
    return Sample(
        part=turn.part.name,
        scheme=turn.scheme,
        store=turn.store,
        round=turn.round,
        client=turn.client,
        files=len(errand.files),
        size=sum(file.size for file in errand.files),
        others=others,
        cost=cost,
    )


def _check(client: str, errand: Errand) -> None:
    for file in errand.files:
        path = errand.folder / file.name
        if not path.exists():
            raise BenchmarkFailed(f"{client} left {file.name} away")
        if bodies.sha256(path) != file.sha256:
            raise BenchmarkFailed(f"{client} made another file of {file.name}")


def _make(plan: Plan, kinds: set[Files], folder: Path) -> dict[Files, list[File]]:
    """Write the files that are needed, by their kind."""
    folder.mkdir()
    made: dict[Files, list[File]] = {"first": _pictures(folder, "first", 1, 4096)}
    if kinds & {"film", "films"}:
        first = bodies.write_mp4(folder / "film_0.mp4", plan.big, 0)
        names = [f"film_{number}.mp4" for number in range(plan.together)]
        for name in names[1:]:
            (folder / name).hardlink_to(folder / first.name)
        films = [File(name, first.size, first.sha256) for name in names]
        made |= {"film": films[:1], "films": films}
    if "pictures" in kinds:
        made["pictures"] = _pictures(folder, "picture", plan.many, 65536)
    if "small pictures" in kinds:
        made["small pictures"] = _pictures(folder, "small", plan.backlog, 4096)
    return made


def _pictures(folder: Path, name: str, count: int, size: int) -> list[File]:
    return [
        bodies.write_png(folder / f"{name}_{number}.png", size, number)
        for number in range(count)
    ]


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """Make a directory for as long as the block lasts."""
    if not parent.is_dir():
        raise BenchmarkFailed(f"there is no {parent}: the benchmark runs on Linux")
    with tempfile.TemporaryDirectory(prefix="stella-bench-", dir=parent) as made:
        yield Path(made)


def _file_systems() -> dict[str, str]:
    """Return the type of the file system under each store."""
    mounts = [
        line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines()
    ]
    types = {Path(where): kind for _, where, kind, *_ in mounts}

    def kind(path: Path) -> str:
        return next(types[at] for at in (path, *path.parents) if at in types)

    return {store: kind(path.resolve()) for store, path in _STORES.items()}
