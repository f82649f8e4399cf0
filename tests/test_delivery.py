from __future__ import annotations

import asyncio
import hashlib
import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from materializer import config
from materializer.delivery import Delivery
from materializer.errors import (
    DiskTrouble,
    FetchUnavailable,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch import Fetcher, Guard, Rules
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
            Guard([("127.0.0.1", source.port)]), Rules(idle_timeout=5), user_agent="t"
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
    with pytest.raises(DiskTrouble, match="min_free_space"):
        await delivery.deliver(JOB, Output(0, "image", Inline(PNG)), "j", room.emit)
    assert source.requests == []
    assert sum(part.stat().st_size for part in room.paths.partial.iterdir()) == 0


async def test_progress_is_told_to_whoever_listens(room: Room, source: Origin) -> None:
    size = 64 * 1024

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(8):
            writer.write(bytes(size // 8))
            await writer.drain()
            await asyncio.sleep(0.1)

    url = source.respond("/a", drip)
    await room.delivery().deliver(JOB, Output(1, "video", Remote(url)), "j", room.emit)
    told = [event["receivedBytes"] for event in room.events]
    assert 1 <= len(told) <= 4
    assert told == sorted(set(told))
    assert room.events[0] == {
        "jobId": "j",
        "index": 1,
        "receivedBytes": told[0],
        "totalBytes": size,
    }


def picture() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()


async def test_a_picture_that_ends_too_soon_is_not_the_file(
    room: Room, source: Origin
) -> None:
    whole = picture()
    cut = Output(0, "image", Remote(source.raw("/a", "200 OK", body=whole[:-20])))
    with pytest.raises(OutputDamaged, match="cut short: the PNG ends before"):
        await room.delivery().deliver(JOB, cut, "j", room.emit)
    assert [path.name for path in room.paths.outputs.iterdir()] == [".partial"]
    source.raw("/a", "200 OK", body=whole)
    placed = await room.delivery().deliver(JOB, cut, "j", room.emit)
    assert Path(placed.path).read_bytes() == whole


@pytest.mark.parametrize("name", ["j_0.png", "j.png"])
async def test_a_file_that_is_there_is_taken_over(
    room: Room, source: Origin, name: str
) -> None:
    there = room.paths.outputs / name
    there.write_bytes(picture())
    wanted = Output(0, "image", Remote(source.ranged("/a", there.read_bytes())))
    placed = await room.delivery().deliver(JOB, wanted, "j", room.emit)
    assert placed.path == str(room.paths.outputs / "j_0.png")
    assert Path(placed.path).samefile(there)
    assert placed.sha256 == hashlib.sha256(there.read_bytes()).hexdigest()


async def test_a_file_that_another_program_is_writing_is_waited_for(
    room: Room, source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = source.serve("/a", PNG)
    final = room.paths.outputs / "j_0.png"
    lock = final.with_name("j_0.png.lock")
    lock.touch()
    sleep = asyncio.sleep

    async def finish(seconds: float) -> None:
        assert source.requests == []
        final.write_bytes(PNG)
        lock.unlink()
        await sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr("materializer.delivery.asyncio.sleep", finish)
        placed = await room.delivery().deliver(
            JOB, Output(0, "image", Remote(url)), "j", room.emit
        )
    assert not lock.exists()
    assert Path(placed.path) == final
    assert len(source.requests) == 1


async def test_what_an_earlier_attempt_left_is_gone_on_with(
    room: Room, source: Origin
) -> None:
    film = bytes(range(251)) * 2**14
    url = source.ranged("/film", film, 'ETag: "1"', cuts=(3 * 2**20,))
    wanted = Output(0, "video", Remote(url))
    with pytest.raises(FetchUnavailable):
        await room.delivery().deliver(JOB, wanted, "j", room.emit)
    placed = await room.delivery().deliver(JOB, wanted, "j", room.emit)
    assert Path(placed.path).read_bytes() == film
    assert source.sent == len(film)
    assert list(room.paths.partial.iterdir()) == []


async def test_how_long_a_sound_is_goes_with_it(room: Room, source: Origin) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 12000))
    wanted = Output(0, "audio", Remote(source.serve("/a", file.getvalue())))
    placed = await room.delivery().deliver(JOB, wanted, "j", room.emit)
    assert (placed.duration_ms, placed.mime_type) == (1500, "audio/wav")


async def test_a_film_lets_a_picture_pass(room: Room, source: Origin) -> None:
    released = asyncio.Event()

    async def film(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        await writer.drain()
        await released.wait()
        writer.write(b"y")

    films = [
        Output(n, "video", Remote(source.respond(f"/{n}", film))) for n in range(8)
    ]
    delivery = room.delivery()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        tasks.create_task(delivery.deliver_each(JOB, films, "f", room.emit))
        image = Output(0, "image", Remote(source.serve("/i", picture())))
        await delivery.deliver(JOB, image, "j", room.emit)
        released.set()
