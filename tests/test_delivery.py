from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from materializer import config
from materializer.delivery import Delivery
from materializer.errors import DiskTrouble, OutputDamaged, OutputRefused
from materializer.fetch import Fetcher, Guard
from materializer.model import Inline, Job, Output, Refused, Remote
from materializer.place import Places
from origin import Origin

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3" + b"\0" * 20
JOB = Job("j", "succeeded")


class Room:
    """A delivery to a real disk from a real source."""

    def __init__(self, state: Path, source: Origin) -> None:
        self.paths = config.Paths.of(state)
        self.paths.partial.mkdir(parents=True)
        self.events: list[dict[str, Any]] = []
        self.fetcher = Fetcher(
            Guard([("127.0.0.1", source.port)]),
            per_host=6,
            idle_timeout=5,
            user_agent="t",
        )

    def emit(self, _topic: str, _type: str, data: dict[str, Any]) -> None:
        self.events.append(data)

    def delivery(self, **flags: Any) -> Delivery:
        flags = {"state_dir": str(self.paths.state), "min_free_space": "0"} | flags
        return Delivery(
            self.fetcher,
            Places(self.paths.outputs, self.paths.partial),
            config.load(flags, {}),
        )


@pytest.fixture
async def room(tmp_path: Path, source: Origin) -> AsyncIterator[Room]:
    made = Room(tmp_path, source)
    yield made
    await made.fetcher.close()


async def test_the_content_decides_name_type_and_size(
    room: Room, source: Origin
) -> None:
    url = source.serve("/a.jpeg", PNG, "Content-Type: image/jpeg")
    placed = await room.delivery().deliver(
        JOB, Output(2, "image", Remote(url)), "j", room.emit
    )
    assert Path(placed.path) == room.paths.outputs / "j_2.png"
    assert Path(placed.path).read_bytes() == PNG
    assert (placed.mime_type, placed.width, placed.height) == ("image/png", 2, 3)
    assert placed.bytes == len(PNG)
    assert list(room.paths.partial.iterdir()) == []


async def test_inline_text_is_placed_and_remembered(room: Room) -> None:
    text = Output(0, "text", Inline("hällo".encode()), mime_type="text/plain")
    placed = await room.delivery().deliver(JOB, text, "j", room.emit)
    assert (Path(placed.path).name, placed.text) == ("j_0.txt", "hällo")
    beside = Output(
        1, "text", Inline(b"{}"), mime_type="application/json", companion=True
    )
    placed = await room.delivery().deliver(JOB, beside, "j", room.emit)
    assert (Path(placed.path).name, placed.text) == ("j_1.json", None)


async def test_what_was_refused_stays_refused(room: Room) -> None:
    with pytest.raises(OutputRefused, match="left out"):
        await room.delivery().deliver(
            JOB, Output(0, "image", Refused("left out")), "j", room.emit
        )


async def test_a_web_page_is_not_the_file(room: Room, source: Origin) -> None:
    url = source.serve("/a.png", b"<!doctype html><title>Log in</title>")
    with pytest.raises(OutputDamaged, match="web page"):
        await room.delivery().deliver(
            JOB, Output(0, "image", Remote(url)), "j", room.emit
        )
    assert [path.name for path in room.paths.outputs.iterdir()] == [".partial"]


async def test_each_kind_has_its_own_limit(room: Room, source: Origin) -> None:
    url = source.serve("/a", PNG)
    delivery = room.delivery(max_bytes="image=10,video=1MiB")
    with pytest.raises(OutputRefused, match="max_bytes"):
        await delivery.deliver(JOB, Output(0, "image", Remote(url)), "j", room.emit)
    placed = await delivery.deliver(
        JOB, Output(0, "video", Remote(url)), "j", room.emit
    )
    assert placed.bytes == len(PNG)


async def test_nothing_is_fetched_into_the_last_free_space(
    room: Room, source: Origin
) -> None:
    url = source.serve("/a", PNG)
    delivery = room.delivery(min_free_space="1000000GiB")
    with pytest.raises(DiskTrouble, match="min_free_space"):
        await delivery.deliver(JOB, Output(0, "image", Remote(url)), "j", room.emit)
    assert source.requests == []


async def test_progress_is_told_at_most_four_times_a_second(
    room: Room, source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(n / 10 for n in range(1000))
    monkeypatch.setattr(
        "materializer.delivery.time", SimpleNamespace(monotonic=lambda: next(clock))
    )
    size = 4 * 2**20

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        writer.write(bytes(size))

    url = source.respond("/a", drip)
    await room.delivery().deliver(JOB, Output(1, "video", Remote(url)), "j", room.emit)
    assert room.events
    told = [event["receivedBytes"] for event in room.events]
    assert told == sorted(set(told))
    # A tenth of a second a look: every third of the sixteen may speak.
    assert len(told) == 5
    assert room.events[0] == {
        "jobId": "j",
        "index": 1,
        "receivedBytes": told[0],
        "totalBytes": size,
    }
