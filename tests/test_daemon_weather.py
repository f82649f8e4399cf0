"""Whatever the storage does, the file is there in the end, whole."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from home import Home, at_home, finish
from materializer.daemon import Manner
from materializer.devserver.app import Backend
from materializer.devserver.weather import (
    Break,
    Deny,
    Lie,
    Redirect,
    Sky,
    Slow,
    StorageTrouble,
    Swap,
    Weather,
)

CUT, STALL = Break(does="cut"), Break(does="stall")
AT_THE_END = 10**9


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + crc


def _picture() -> bytes:
    """Return a PNG that is large enough to be gone on with after a cut."""
    header = b"\0\0\2\0\0\0\2\0\x08\0\0\0\0"
    pixels = zlib.compress(np.random.default_rng(4).bytes(512 * 513), 0)
    chunks = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


PICTURE = _picture()


class Struck(list[StorageTrouble | None]):
    """What befell each request for a file, in order."""


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> Struck:
    found = Struck()
    request = Sky.request

    def spy(sky: Sky, start: int | None) -> StorageTrouble | None:
        found.append(request(sky, start))
        return found[-1]

    monkeypatch.setattr(Sky, "request", spy)
    return found


def offer(backend: Backend, *troubles: StorageTrouble) -> str:
    """Add a job whose picture is under this weather; return the picture's name."""
    backend.weather = Weather(storage=troubles)
    name = backend.storage.keep(PICTURE, "image/png", "png")
    url = backend.site_url + backend.storage.link(name)
    finish(backend, "j", output={"images": [{"url": url}]})
    return name


def told(trouble: StorageTrouble) -> str:
    """Return what a trouble does, and how it differs from the usual one."""
    unusual = trouble.model_dump(exclude_defaults=True, exclude={"does"})
    return " ".join([trouble.does, *(f"{name}={v}" for name, v in unusual.items())])


async def arrived(home: Home) -> bytes:
    await home.event("job", "done", jobId="j")
    [path] = (await home.ask("job.get", jobId="j"))["files"]
    partial = Path(path).parent / ".partial"
    assert list(partial.iterdir()) == []
    return Path(path).read_bytes()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "troubles",
    [
        (CUT,),
        (Break(does="cut", after_bytes=0),),
        (Break(does="cut", after_bytes=len(PICTURE) - 1),),
        (CUT, CUT, CUT),
        (Break(does="cut", framing="chunked"),),
        (Break(does="cut", framing="chunked", after_bytes=AT_THE_END),),
        (Break(does="cut", framing="close"),),
        (Break(does="cut", framing="close", after_bytes=0),),
        (Break(does="cut", framing="close", after_bytes=len(PICTURE) - 1),),
        (Break(does="reset"),),
        (STALL,),
        (Break(does="stall", framing="chunked"),),
        (Break(does="stall", after_bytes=0),),
        (Break(does="stall", framing="close", after_bytes=AT_THE_END),),
        (CUT, Break(does="reset"), STALL),
        (Slow(rate=2**20),),
        (Slow(rate=500),),
        (Deny(),),
        (Deny(status=429, retry_after=1),),
        (Deny(status=503, retry_after=1, as_date=True),),
        (Deny(status=401), Deny(status=403), Deny(status=404), Deny(status=410)),
        (CUT, Deny(status=416)),
        (Swap(does="page"),),
        (CUT, Swap(does="page")),
        (Lie(by=1),),
        (Lie(by=1000),),
        (Lie(by=-1),),
        (Lie(by=-1000),),
        (Lie(by=-AT_THE_END),),
        (CUT, Lie(by=1)),
        (CUT, Lie(by=-1)),
        (Swap(does="wrong_digest"),),
        (Swap(does="encode"),),
        (CUT, Swap(does="no_ranges")),
        (CUT, Swap(does="bad_range")),
    ],
    ids=lambda troubles: "+".join(told(trouble) for trouble in troubles),
)
async def test_the_file_arrives_whole_after(
    backend: Backend,
    state: Path,
    struck: Struck,
    troubles: tuple[StorageTrouble, ...],
) -> None:
    offer(backend, *troubles)
    async with at_home(state, backend.token_file, idle_timeout="300ms") as home:
        assert await arrived(home) == PICTURE
    assert struck[: len(troubles)] == [*troubles]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("after", "changes"),
    [(1000, True), (len(PICTURE) - 1, False)],
    ids=["the rest is another", "the rest is the same"],
)
async def test_a_file_that_changes_between_two_parts_is_not_mixed(
    backend: Backend, state: Path, struck: Struck, after: int, *, changes: bool
) -> None:
    cut = Break(does="cut", after_bytes=after)
    changed = Swap(does="changed")
    name = offer(backend, cut, changed)
    async with at_home(state, backend.token_file, idle_timeout="300ms") as home:
        there = await arrived(home)
    assert struck[:2] == [cut, changed]
    [now, _] = await backend.storage._memory.fetch(name) or (b"", "")
    assert now != PICTURE
    assert there == (now if changes else PICTURE)


async def test_a_file_is_followed_to_where_it_is(
    backend: Backend, state: Path, struck: Struck
) -> None:
    name = offer(backend)
    to = backend.storage.link(name)
    hops = [Redirect(to=to), Redirect(to=backend.site_url + to, status=308)]
    backend.weather = Weather(storage=hops)
    async with at_home(state, backend.token_file) as home:
        assert await arrived(home) == PICTURE
    assert struck == [*hops, None]


async def test_a_body_without_an_end_is_given_up_at_the_size_that_is_allowed(
    backend: Backend, state: Path
) -> None:
    offer(backend, Swap(does="endless", always=True))
    async with at_home(state, backend.token_file, max_bytes="image=8MiB") as home:
        failed = await home.event("job", "failed", jobId="j")
        assert "max_bytes" in failed["error"]
        assert (await home.ask("job.get", jobId="j"))["files"] == []
    outputs = state / "media" / "outputs"
    assert [path for path in outputs.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("transport", ["direct", "httpx"])
async def test_one_storm_after_another_costs_no_file(
    backend: Backend, state: Path, struck: Struck, transport: str
) -> None:
    storm: list[StorageTrouble] = [
        Deny(),
        Swap(does="wrong_digest"),
        CUT,
        Swap(does="page"),
        Break(does="cut", framing="chunked"),
        Break(does="reset"),
        Lie(by=-3),
        Swap(does="encode"),
        STALL,
        Swap(does="bad_range"),
        Deny(status=404),
        CUT,
        Swap(does="no_ranges"),
    ]
    offer(backend, *storm)
    flags = {"idle_timeout": "300ms", "transport": transport}
    async with at_home(state, backend.token_file, Manner(), **flags) as home:
        assert await arrived(home) == PICTURE
    assert struck == storm
