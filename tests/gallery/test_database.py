from __future__ import annotations

import asyncio
import errno
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from materializer.errors import GalleryUnusable
from materializer.gallery import Gallery

SOON = 10


def put(db: sqlite3.Connection, name: str, *, fail: bool = False) -> None:
    db.execute("INSERT INTO facts VALUES (?, 'x')", (name,))
    if fail:
        raise RuntimeError("halfway")


def names(db: sqlite3.Connection) -> list[str]:
    return [row["name"] for row in db.execute("SELECT name FROM facts ORDER BY 1")]


def on_disk(gallery: Gallery) -> list[str]:
    """Return what another process would find."""
    path = gallery._db.execute("PRAGMA database_list").fetchone()["file"]
    db = sqlite3.connect(path)
    try:
        db.row_factory = sqlite3.Row
        return names(db)
    finally:
        db.close()


class Busy:
    """A write that keeps the gallery's writer at work until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, db: sqlite3.Connection) -> None:
        put(db, "busy")
        self.begun.set()
        assert self.go.wait(SOON)


async def outcome(write: Awaitable[None]) -> Exception | None:
    try:
        await write
    except OSError as error:
        return error
    return None


@asynccontextmanager
async def busy(gallery: Gallery) -> AsyncIterator[asyncio.TaskGroup]:
    """Let what is begun in the block wait for a write that ends with the block."""
    hold = Busy()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outcome(gallery.write(hold)))
        assert await asyncio.to_thread(hold.begun.wait, SOON)
        try:
            yield tasks
            await asyncio.sleep(0)  # each new task begins its write
        finally:
            hold.go.set()


async def refused(gallery: Gallery, name: str) -> None:
    with pytest.raises(RuntimeError, match="halfway"):
        await gallery.write(put, name, fail=True)


@contextmanager
def commits(gallery: Gallery) -> Iterator[list[str]]:
    """Collect the commits that the gallery makes in the block."""
    made: list[str] = []

    def note(statement: str) -> None:
        if statement == "COMMIT":
            made.append(statement)

    gallery._db.set_trace_callback(note)
    try:
        yield made
    finally:
        gallery._db.set_trace_callback(None)


@contextmanager
def disk_that_takes_no_more(gallery: Gallery) -> Iterator[None]:
    """Let no file of this process grow beyond the gallery's log."""
    import resource

    path = gallery._db.execute("PRAGMA database_list").fetchone()["file"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = Path(f"{path}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    for name in "ab":
        gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
        await gallery.write(put, name)
        await gallery.close()
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    assert await gallery.read(names) == ["a", "b"]
    await gallery.close()
    assert (tmp_path / "gallery.db").stat().st_mode & 0o777 == 0o600


async def test_a_commit_is_durable(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    full = gallery._db.execute("PRAGMA synchronous").fetchone()[0]
    assert full == 2
    await gallery.close()


async def test_what_is_noted_waits_for_no_disk_unless_a_write_shares_its_commit(
    gallery: Gallery,
) -> None:
    def level(db: sqlite3.Connection) -> int:
        put(db, f"{len(names(db))}")
        return int(db.execute("PRAGMA synchronous").fetchone()[0])

    full, normal = 2, 1
    assert await gallery.note(level) == normal
    assert on_disk(gallery) == ["0"]  # for every process: only a power cut may undo it
    async with busy(gallery) as tasks:
        noted = tasks.create_task(gallery.note(level))
        written = tasks.create_task(gallery.write(level))
    assert (noted.result(), written.result()) == (full, full)
    with pytest.raises(RuntimeError, match="halfway"):
        await gallery.note(put, "a", fail=True)
    assert await gallery.write(level) == full


async def test_a_transaction_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    with pytest.raises(RuntimeError, match="halfway"):
        await gallery.write(put, "a", fail=True)
    await gallery.write(put, "b")
    assert await gallery.read(names) == ["b"]
    await gallery.close()


async def test_what_is_no_database_is_left_to_who_may_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    path.write_bytes(b"no database at all, but long enough to look at" * 9)
    with pytest.raises(GalleryUnusable, match="damaged: stella-materializer run"):
        Gallery.open(path, tmp_path)


@pytest.mark.parametrize(
    ("pragma", "number"),
    [("query_only = ON", errno.EROFS), ("max_page_count = 1", errno.ENOSPC)],
)
async def test_a_disk_that_takes_nothing_is_an_os_error_that_says_why(
    gallery: Gallery, pragma: str, number: int
) -> None:
    gallery._db.execute(f"PRAGMA {pragma}")
    with pytest.raises(OSError, match="the gallery cannot be used") as refused:
        await gallery.write(put, "a" * 2**20)
    assert refused.value.errno == number
    assert await gallery.read(names) == []


async def test_a_file_that_cannot_be_made_private_is_refused_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(GalleryUnusable, match="not permitted"):
        Gallery.open(tmp_path / "gallery.db", tmp_path)


async def test_a_write_returns_when_it_is_committed_and_every_reader_sees_it(
    gallery: Gallery,
) -> None:
    written: list[str] = []
    for n in range(50):
        await gallery.write(put, f"{n:02}")
        written.append(f"{n:02}")
        assert await gallery.read(names) == written
        assert on_disk(gallery) == written


async def test_writes_that_wait_together_share_one_commit_in_their_order(
    gallery: Gallery,
) -> None:
    order: list[str] = []

    def enter(db: sqlite3.Connection, name: str) -> str:
        put(db, name)
        order.append(name)
        return name.upper()

    with commits(gallery) as made:
        async with busy(gallery) as tasks:
            waiting = [tasks.create_task(gallery.write(enter, name)) for name in "cab"]
        assert [task.result() for task in waiting] == ["C", "A", "B"]
        assert len(made) == 2
    assert order == ["c", "a", "b"]
    assert on_disk(gallery) == ["a", "b", "busy", "c"]


async def test_a_write_that_raises_takes_none_of_its_group_along(
    gallery: Gallery,
) -> None:
    async with busy(gallery) as tasks:
        first = tasks.create_task(gallery.write(put, "a"))
        tasks.create_task(refused(gallery, "b"))
        tasks.create_task(gallery.write(put, "c"))
    assert first.exception() is None
    assert on_disk(gallery) == ["a", "busy", "c"]


async def test_a_group_that_the_database_undoes_is_made_again_one_by_one(
    gallery: Gallery,
) -> None:
    def undo(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")  # as SQLite does when the disk fails it
        raise sqlite3.OperationalError("disk I/O error")

    async with busy(gallery) as tasks:
        tasks.create_task(gallery.write(put, "a"))
        with_undo = tasks.create_task(outcome(gallery.write(undo)))
        tasks.create_task(gallery.write(put, "c"))
    assert isinstance(with_undo.result(), OSError)
    assert on_disk(gallery) == ["a", "busy", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of file sizes")
async def test_a_commit_that_fails_fails_for_every_caller_and_leaves_nothing(
    gallery: Gallery,
) -> None:
    await gallery.write(put, "before")
    with disk_that_takes_no_more(gallery):
        async with busy(gallery) as tasks:
            waiting = [
                tasks.create_task(outcome(gallery.write(put, name))) for name in "ab"
            ]
            tasks.create_task(refused(gallery, "c"))  # for its own reason
        first, second = (task.result() for task in waiting)
    assert isinstance(first, OSError)
    assert isinstance(second, OSError)
    assert first.errno in {errno.ENOSPC, errno.EIO}
    assert on_disk(gallery) == ["before"]
    await gallery.write(put, "after")
    assert on_disk(gallery) == ["after", "before"]


async def test_a_commit_that_is_refused_does_not_hinder_the_next(
    gallery: Gallery,
) -> None:
    gallery._db.executescript(
        "PRAGMA foreign_keys = ON; CREATE TABLE promises (name TEXT REFERENCES facts"
        " DEFERRABLE INITIALLY DEFERRED);"
    )

    def promise(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO promises VALUES ('a')")

    with pytest.raises(sqlite3.IntegrityError):
        await gallery.write(promise)
    await gallery.write(put, "b")
    assert on_disk(gallery) == ["b"]


async def test_a_reader_sees_what_was_asked_for_before_and_nothing_half_done(
    gallery: Gallery,
) -> None:
    async def read() -> list[str]:
        return await gallery.read(names)

    async with busy(gallery) as tasks:
        tasks.create_task(gallery.write(put, "a"))
        tasks.create_task(refused(gallery, "b"))
        tasks.create_task(gallery.write(put, "c"))
        reading = tasks.create_task(read())
    assert reading.result() == ["a", "busy", "c"]


async def test_a_write_whose_caller_has_gone_hinders_no_other(gallery: Gallery) -> None:
    async with busy(gallery) as tasks:
        gone = tasks.create_task(gallery.write(put, "a"))
        stays = tasks.create_task(gallery.write(put, "b"))
        await asyncio.sleep(0)
        gone.cancel()
    assert stays.done()
    assert on_disk(gallery) == ["a", "b", "busy"]


async def test_closing_finishes_what_was_handed_in(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(gallery.write(put, name))
        await asyncio.sleep(0)
        await gallery.close()
    again = Gallery.open(tmp_path / "gallery.db", tmp_path)
    assert await again.read(names) == ["a", "b", "c"]
    await again.close()
