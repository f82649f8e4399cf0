from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from watchfiles._rust_notify import RustNotify

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


@asynccontextmanager
async def entries(directory: Path) -> AsyncIterator[asyncio.Queue[frozenset[str]]]:
    """Watch a directory; the queue gets what is told, an empty set for None."""
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def follow() -> None:
        async for names in watch.entries(directory):
            told.put_nowait(names or frozenset())

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow())
        await asyncio.sleep(0)  # the watch is set up in the task's first step
        yield told
        task.cancel()


async def named(queue: asyncio.Queue[frozenset[str]], *names: str) -> None:
    """Wait until all these names were told, and no other."""
    missing = {*names}
    async with asyncio.timeout(10):
        while missing:
            told = await queue.get()
            assert told <= {*names}
            missing -= told


async def all_told(queue: asyncio.Queue[frozenset[str]]) -> None:
    async with asyncio.timeout(10):
        while await queue.get():
            pass


async def test_what_comes_changes_and_goes_in_a_directory_is_named(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "outputs"
    (directory / ".partial").mkdir(parents=True)
    async with entries(directory) as queue:
        await all_told(queue)
        (directory / ".partial" / "a.part").write_text("not in the directory itself")
        (directory / "a").write_text("one")
        (directory / "b").write_text("one")
        await named(queue, "a", "b")
        (directory / "a").write_text("two")
        await named(queue, "a")
        (directory / "b").rename(tmp_path / "b")
        await named(queue, "b")
        (tmp_path / "b").rename(directory / "c")
        await named(queue, "c")
        (directory / "a").unlink()
        await named(queue, "a")


async def test_a_directory_that_comes_back_is_to_be_looked_at_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.05)  # a watch that was moved away is silent
    directory, away = tmp_path / "media" / "outputs", tmp_path / "away"
    directory.mkdir(parents=True)
    async with entries(directory) as queue:
        await all_told(queue)
        directory.rename(away)
        (away / "a").write_text("elsewhere")
        directory.mkdir()
        await all_told(queue)
        (directory / "b").write_text("here")
        await named(queue, "b")


async def test_a_directory_without_the_systems_events_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("watchfiles.main.RustNotify", exhausted)
    monkeypatch.setattr(watch, "LOOK", 0.02)
    async with entries(tmp_path) as queue:
        for _ in range(3):
            await all_told(queue)


async def test_what_happens_in_a_directory_is_told_within_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STEP", STEP)
    file = tmp_path / "a"
    async with entries(tmp_path) as queue:
        await all_told(queue)
        for act in (file.touch, file.unlink):
            act()
            async with asyncio.timeout(1.9):
                assert await queue.get() == {"a"}


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux rings a bell")
async def test_nothing_is_looked_for_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = RustNotify.watch

    class Counted:
        def __init__(self, *args: Any) -> None:
            self._watcher = RustNotify(*args)

        def __enter__(self) -> Self:
            self._watcher.__enter__()
            return self

        def __exit__(self, *fault: object) -> None:
            self._watcher.__exit__(*fault)

        def watch(self, *args: Any) -> Any:
            nonlocal looks
            looks += 1
            return look(self._watcher, *args)

    monkeypatch.setattr("watchfiles.main.RustNotify", Counted)
    async with watching(tmp_path / "token") as queue:
        (tmp_path / "token").write_text("one")
        await told(queue)
        await asyncio.sleep(1.2)  # the looks that the change has brought
        before = looks
        await asyncio.sleep(1.5)
        assert looks == before
        (tmp_path / "token").write_text("another")
        await told(queue)
        assert looks > before


async def test_without_a_bell_the_library_looks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_hang", lambda *_: None)
    file = tmp_path / "token"
    async with watching(file) as queue:
        for text in ("one", "two"):
            replace(file, text)
            await told(queue)


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux rings a bell")
async def test_a_signal_is_waited_for_only_while_something_is_watched(
    tmp_path: Path,
) -> None:
    async with watching(tmp_path / "token"), watching(tmp_path / "other"):
        assert signal.getsignal(signal.SIGURG) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux rings a bell")
async def test_more_rings_than_a_busy_loop_can_take_print_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with watching(tmp_path / "token"):
        for _ in range(2000):  # the loop has no turn meanwhile
            os.kill(os.getpid(), signal.SIGURG)
    assert capfd.readouterr().err == ""
