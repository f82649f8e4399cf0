"""A whole daemon whose gallery is damaged: it goes on, and says so once."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from encoded import picture
from home import Home, at_home, finish
from materializer.devserver.app import Backend
from origin import Origin

REPAIRED = "The gallery was repaired"
RUBBISH = b"no database any more" * 999


def database(state: Path) -> Path:
    return state / "media" / "gallery.db"


@asynccontextmanager
async def live(state: Path, backend: Backend) -> AsyncIterator[Home]:
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        yield home


async def save(home: Home, backend: Backend, source: Origin, name: str) -> Path:
    """Have a job saved; return its file."""
    url = source.serve(f"/{name}", picture("PNG"))
    finish(backend, name, output={"images": [{"url": url}]})
    await home.event("job", "done", jobId=name)
    [path] = (await home.ask("job.get", jobId=name))["files"]
    return Path(path)


async def told(home: Home) -> dict[str, Any]:
    """Return the notice of a repair; it is about no job."""
    notice = await home.event("notification", "not_shown", title=REPAIRED)
    assert notice["jobId"] is None
    return notice


async def test_a_gallery_that_was_lost_is_filled_from_the_disk_and_told_once(
    backend: Backend, source: Origin, state: Path
) -> None:
    async with live(state, backend) as home:
        file = await save(home, backend, source, "a")
    before, asked = file.stat(), len(source.requests)
    database(state).write_bytes(RUBBISH)

    async with live(state, backend) as home:
        notice = await told(home)
        [aside] = database(state).parent.glob("gallery.db.damaged-*")
        assert aside.read_bytes() == RUBBISH
        assert aside.name in notice["body"]
        await home.event("job", "done", jobId="a")  # the feed shows whose it is
        [item] = (await home.ask("gallery.list"))["items"]
        assert (item["id"], item["capability"]) == ("a_0", "text_to_image")
        await home.ask("display.subscribe", consumer="app", after=0)
        assert (await home.update())["action"] == "register"
    assert len(source.requests) == asked, "it was fetched again"
    assert (file.stat().st_ino, file.stat().st_mtime) == (
        before.st_ino,
        before.st_mtime,
    )

    async with live(state, backend) as home:
        await save(home, backend, source, "b")
        assert home.passed_over("notification") == []
        assert await home.gallery() == ["b_0", "a_0"]


async def test_a_gallery_that_is_damaged_while_it_runs_goes_on(
    backend: Backend, source: Origin, state: Path
) -> None:
    async with live(state, backend) as home:
        await save(home, backend, source, "a")
        page = await home.database.read(_put_away)
        with database(state).open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\xa5" * 4096)
        await save(home, backend, source, "b")
        await told(home)
        assert await home.gallery() == ["b_0", "a_0"]
        assert (await home.ask("job.get", jobId="a"))["state"] == "done"
        await save(home, backend, source, "c")
        assert home.passed_over("notification") == []


async def test_damage_that_nobody_meets_is_found_beside_the_start(
    backend: Backend, source: Origin, state: Path
) -> None:
    async with live(state, backend) as home:
        await save(home, backend, source, "a")
    with closing(sqlite3.connect(database(state))) as db:
        page = _root(db, "consumers")
    with database(state).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    async with live(state, backend) as home:
        await told(home)
        assert await home.gallery() == ["a_0"]


def _root(db: sqlite3.Connection, table: str) -> int:
    found = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    return int(found.fetchone()[0])


def _put_away(db: sqlite3.Connection) -> int:
    """Write everything to the file and forget it; return where the outbox is."""
    page = _root(db, "outbox")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.execute("PRAGMA shrink_memory").fetchall()
    return page
