from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from materializer.gallery import Gallery, items, ledger
from materializer.model import Account, Job, Kind, Placed, Settlement
from materializer.place import Places
from materializer.plan import Work
from materializer.thumbnails import keeper, process
from materializer.thumbnails.keeper import Thumbnails
from materializer.thumbnails.shelf import Shelf

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="it has no limits")

ME = Account("https://happy.example", "iss|me")
KILLS_OVER = """\
import os, sys
from materializer.thumbnails import maker
made = maker.preview
def preview(file):
    if file.read(4) == b"KILL":
        os.kill(os.getpid(), 9)
    file.seek(0)
    return made(file)
maker.preview = preview
maker.main([int(number) for number in sys.argv[4:]], sys.stdout.buffer)
"""


class Studio:
    """A gallery, its directories, and what makes its previews."""

    def __init__(self, gallery: Gallery, media: Path) -> None:
        self.gallery = gallery
        self.outputs = media / "outputs"
        self.previews = media / "thumbnails"
        self.shelf = Shelf(self.previews)
        self.heard: list[str] = []
        self.bell = asyncio.Event()
        self.keep = 0

    async def enter(self, name: str, data: bytes | None = None, **of: Any) -> None:
        """Have a picture, or other data, as a job's first output."""
        path = self.outputs / f"{name}_0.png"
        if data is None:
            Image.new("RGB", (900, 300)).save(path)
        else:
            path.write_bytes(data)
        kind: Kind = of.pop("kind", "image")
        placed = Placed(0, kind, str(path), 1, "ab", "image/png", **of)
        job = Job(name, "succeeded", capability="icon", completed_at=5)
        settlement = Settlement(job, "done", (placed,))
        await self.gallery.write(ledger.remember, ME, [Work(job, "register")])
        await self.gallery.write(ledger.settle, ME, settlement, 6, {})

    async def thumbnail(self, name: str) -> str | None:
        record = await self.gallery.read(items.record, ME.owner, name)
        assert record is not None
        return record.items[0].thumbnail_path

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Thumbnails]:
        thumbnails = Thumbnails(
            self.gallery,
            Places(self.outputs, self.outputs / ".partial"),
            self.shelf,
            keep=self.keep,
            emit=self._emit,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(thumbnails.run())
            yield thumbnails
            task.cancel()

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not fact():
                await self.bell.wait()
                self.bell.clear()

    def _emit(self, owner: str, topic: str, type_: str, data: dict[str, Any]) -> None:
        assert (owner, topic, type_) == (ME.owner, "gallery", "thumbnail")
        self.heard.append(data["id"])
        self.bell.set()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_QUIET", 0.01)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    media = tmp_path / "media"
    (media / "outputs" / ".partial").mkdir(parents=True)
    gallery = Gallery.open(media / "gallery.db", media / "outputs")
    yield Studio(gallery, media)
    await gallery.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of pictures of each maker's start."""
    numbers: list[int] = []
    previews = process.previews

    def spy(pictures: list[int]) -> Any:
        numbers.append(len(pictures))
        return previews(pictures)

    monkeypatch.setattr(process, "previews", spy)
    return numbers


@pytest.fixture
def lethal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the maker be killed over a picture that begins with KILL."""
    actor = tmp_path / "actor"
    play_it = tmp_path / "play.py"
    play_it.write_text(KILLS_OVER)
    run = shlex.join((sys.executable, str(play_it)))
    actor.write_text(f'#!/bin/sh\nexec {run} "$@"\n')
    actor.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(actor))


async def test_pictures_that_were_there_before_get_theirs_from_one_process(
    studio: Studio, started: list[int]
) -> None:
    for n in range(3):
        await studio.enter(f"j{n}")
    await studio.enter("film", b"no picture", kind="video")
    async with studio.at_work():
        await studio.until(lambda: len(studio.heard) == 3)
    assert studio.heard == ["j2_0", "j1_0", "j0_0"]
    assert started == [3]
    path = await studio.thumbnail("j1")
    assert path == str(studio.previews / "j1_0.webp")
    with Image.open(path) as made:
        assert made.size == (512, 171)
    assert await studio.thumbnail("film") is None


async def test_a_picture_that_comes_later_gets_its_own_when_it_is_told_of(
    studio: Studio, started: list[int]
) -> None:
    await studio.enter("a")
    async with studio.at_work() as thumbnails:
        await studio.until(lambda: studio.heard == ["a_0"])
        await studio.enter("b")
        thumbnails.wake()
        await studio.until(lambda: studio.heard == ["a_0", "b_0"])
    assert started == [1, 1]


async def test_while_more_is_told_of_none_is_made(
    studio: Studio, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_QUIET", 1.0)
    async with studio.at_work() as thumbnails:
        for n in range(4):
            await studio.enter(f"j{n}")
            thumbnails.wake()
            await asyncio.sleep(0.4)  # longer in all than it has to be quiet
        await studio.until(lambda: len(studio.heard) == 4)
    assert started == [4]


async def test_but_it_does_not_wait_for_ever(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_QUIET", 3600)
    monkeypatch.setattr(keeper, "_AT_MOST", 0.01)
    await studio.enter("a")
    async with studio.at_work():
        await studio.until(lambda: studio.heard == ["a_0"])


async def test_more_than_a_batch_of_pictures_is_worked_off(
    studio: Studio, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_BATCH", 2)
    for n in range(5):
        await studio.enter(f"j{n}")
    async with studio.at_work():
        await studio.until(lambda: len(studio.heard) == 5)
    assert started == [2, 2, 1]


async def test_a_broken_picture_is_tried_once_and_again_when_it_has_changed(
    studio: Studio, started: list[int]
) -> None:
    await studio.enter("good")
    await studio.enter("bad", b"\x89PNG and no more")
    for _ in range(2):
        async with studio.at_work() as thumbnails:
            await studio.until(lambda: studio.heard == ["good_0"])
            await studio.enter("later")
            thumbnails.wake()
            await studio.until(lambda: "later_0" in studio.heard)
            studio.heard.remove("later_0")
            await studio.gallery.write(forget, "later")
    assert started == [2, 1, 1]
    assert await studio.thumbnail("bad") is None
    Image.new("RGB", (9, 9)).save(studio.outputs / "bad_0.png")
    await studio.gallery.write(changed, "bad")
    async with studio.at_work():
        await studio.until(lambda: "bad_0" in studio.heard)


def forget(db: Any, name: str) -> None:
    db.execute("DELETE FROM items WHERE job_id = ?", (name,))


def changed(db: Any, name: str) -> None:
    db.execute("UPDATE items SET sha256 = 'cd' WHERE job_id = ?", (name,))


@pytest.mark.usefixtures("lethal")
async def test_who_kills_the_maker_has_none_and_the_others_get_theirs(
    studio: Studio, started: list[int]
) -> None:
    for name in ("a", "b"):
        await studio.enter(name)
    await studio.enter("k", b"KILL")
    for name in ("c", "d"):
        await studio.enter(name)
    async with studio.at_work():
        await studio.until(lambda: len(studio.heard) == 4)
    assert started == [5, 2]
    async with studio.at_work() as thumbnails:
        await studio.enter("e")
        thumbnails.wake()
        await studio.until(lambda: "e_0" in studio.heard)
    assert started == [5, 2, 1]


async def test_what_was_lost_is_made_again_at_the_next_start_and_litter_goes(
    studio: Studio,
) -> None:
    await studio.enter("a")
    await studio.enter("b")
    async with studio.at_work():
        await studio.until(lambda: len(studio.heard) == 2)
    (studio.previews / "a_0.webp").unlink()
    for litter in ("gone_0.webp", "half_0.webp.part"):
        (studio.previews / litter).touch()
    (studio.previews / "theirs.txt").touch()
    async with studio.at_work():
        await studio.until(lambda: studio.heard.count("a_0") == 2)
    assert studio.heard.count("b_0") == 1
    names = {path.name for path in studio.previews.iterdir()}
    assert names == {"a_0.webp", "b_0.webp", "theirs.txt"}


async def test_a_file_that_is_not_there_waits_until_it_is(studio: Studio) -> None:
    await studio.enter("gone")
    away = (studio.outputs / "gone_0.png").rename(studio.outputs / "away")
    await studio.enter("a")
    async with studio.at_work() as thumbnails:
        await studio.until(lambda: studio.heard == ["a_0"])
        away.rename(studio.outputs / "gone_0.png")
        thumbnails.wake()
        await studio.until(lambda: studio.heard == ["a_0", "gone_0"])


async def test_a_link_in_the_place_of_a_picture_is_not_followed(
    studio: Studio, tmp_path: Path
) -> None:
    await studio.enter("linked")
    outside = (studio.outputs / "linked_0.png").rename(tmp_path / "outside.png")
    (studio.outputs / "linked_0.png").symlink_to(outside)
    await studio.enter("a")
    async with studio.at_work() as thumbnails:
        await studio.until(lambda: studio.heard == ["a_0"])
        await studio.enter("b")
        thumbnails.wake()
        await studio.until(lambda: studio.heard == ["a_0", "b_0"])
    assert studio.shelf.names() == {"a_0.webp", "b_0.webp"}


async def test_the_preview_of_what_was_removed_meanwhile_does_not_stay(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.enter("gone")
    await studio.enter("stays")
    put = Shelf.put

    def slow(shelf: Shelf, file_name: str, preview: bytes) -> str:
        if file_name == "gone_0.png":
            asyncio.run_coroutine_threadsafe(remove(), loop).result()
        return put(shelf, file_name, preview)

    async def remove() -> None:
        await studio.gallery.write(removed, "gone")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(Shelf, "put", slow)
    async with studio.at_work() as thumbnails:
        await studio.until(lambda: studio.heard == ["stays_0"])
        await studio.enter("last")
        thumbnails.wake()
        await studio.until(lambda: studio.heard == ["stays_0", "last_0"])
    assert studio.shelf.names() == {"stays_0.webp", "last_0.webp"}


def removed(db: Any, name: str) -> None:
    db.execute("UPDATE items SET removed_at = 1 WHERE job_id = ?", (name,))


async def test_a_full_disk_makes_it_wait(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, keeper.__name__)
    await studio.enter("a")
    studio.keep = 2**60
    async with studio.at_work() as thumbnails:
        async with asyncio.timeout(20):
            while "thumbnails wait: only" not in caplog.text:  # noqa: ASYNC110 -- a log rings no bell
                await asyncio.sleep(0.01)
        assert studio.shelf.names() == set()
        thumbnails.keep = 0
        thumbnails.wake()
        await studio.until(lambda: studio.heard == ["a_0"])


@pytest.fixture(params=["no Pillow", "a broken one"])
def absent(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.param == "no Pillow":
        monkeypatch.setitem(sys.modules, "PIL", None)
    else:
        (tmp_path / "broken" / "PIL").mkdir(parents=True)
        (tmp_path / "broken" / "PIL" / "__init__.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"), prepend=":")


@pytest.mark.usefixtures("absent")
async def test_without_pillow_it_says_so_once_and_leaves(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, keeper.__name__)
    await studio.enter("a", b"a picture")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        thumbnails = Thumbnails(
            studio.gallery,
            Places(studio.outputs, studio.outputs / ".partial"),
            studio.shelf,
            keep=0,
            emit=studio._emit,
        )
        tasks.create_task(thumbnails.run())
    [told] = caplog.records
    assert (told.levelname, told.message[:13]) == ("DEBUG", "no thumbnails")
    assert await studio.thumbnail("a") is None
