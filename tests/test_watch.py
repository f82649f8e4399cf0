from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from materializer import watch

STEP = watch.STEP


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STEP", 0.02)


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[asyncio.Queue[None]]:
    """Watch a file; the queue gets an item for each change."""
    told: asyncio.Queue[None] = asyncio.Queue()

    async def follow() -> None:
        async for _ in watch.changes(path):
            told.put_nowait(None)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow())
        await asyncio.sleep(0)  # the watch is set up in the task's first step
        yield told
        task.cancel()


async def told(queue: asyncio.Queue[None]) -> None:
    async with asyncio.timeout(10):
        await queue.get()


def replace(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


async def test_a_file_that_is_made_replaced_and_removed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with watching(file) as queue:
        file.write_text("one")
        await told(queue)
        replace(file, "two")
        await told(queue)
        file.unlink()
        await told(queue)


async def test_other_files_in_the_directory_are_not_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with watching(file) as queue:
        for name in ("token~", "token.new", "other"):
            (tmp_path / name).write_text("x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await queue.get()
        file.write_text("one")
        await told(queue)


async def test_directories_may_come_and_go(tmp_path: Path) -> None:
    file = tmp_path / "app" / "auth" / "token"
    async with watching(file) as queue:
        for text in ("one", "two"):
            file.parent.mkdir(parents=True)
            file.write_text(text)
            await told(queue)
            # Only a watch of the new directory sees this.
            replace(file, f"{text}!")
            await told(queue)
            file.unlink()
            file.parent.rmdir()
            file.parent.parent.rmdir()
            await told(queue)


async def test_without_the_systems_events_it_looks_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("watchfiles.main.RustNotify", exhausted)
    monkeypatch.setattr(watch, "LOOK", 0.02)
    caplog.set_level(logging.INFO)
    file = tmp_path / "token"
    async with watching(file) as queue:
        file.write_text("one")
        await told(queue)
    assert "No space left on device" in caplog.text


async def test_a_change_is_told_in_time_to_be_used_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STEP", STEP)
    file = tmp_path / "token"
    async with watching(file) as queue:
        for text in ("one", "two", "three"):
            replace(file, text)
            async with asyncio.timeout(0.95):
                await queue.get()
