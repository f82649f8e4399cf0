from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from materializer.errors import GalleryUnusable
from materializer.gallery import Gallery


def put(db: sqlite3.Connection, name: str, *, fail: bool = False) -> None:
    db.execute("INSERT INTO facts VALUES (?, 'x')", (name,))
    if fail:
        raise RuntimeError("halfway")


def names(db: sqlite3.Connection) -> list[str]:
    return [row["name"] for row in db.execute("SELECT name FROM facts ORDER BY 1")]


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
    full = await gallery.read(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
    assert full == 2
    await gallery.close()


async def test_a_transaction_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    with pytest.raises(RuntimeError, match="halfway"):
        await gallery.write(put, "a", fail=True)
    await gallery.write(put, "b")
    assert await gallery.read(names) == ["b"]
    await gallery.close()


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(GalleryUnusable, match="newer version"):
        Gallery.open(path, tmp_path)
    assert path.read_bytes() == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    path.write_bytes(b"no database at all, but long enough to look at" * 9)
    with pytest.raises(GalleryUnusable, match="cannot read"):
        Gallery.open(path, tmp_path)


async def test_a_disk_that_takes_nothing_is_an_os_error(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    await gallery.read(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(OSError, match="cannot be used"):
        await gallery.write(put, "a")
    await gallery.close()


async def test_a_file_that_cannot_be_made_private_is_refused_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(GalleryUnusable, match="not permitted"):
        Gallery.open(tmp_path / "gallery.db", tmp_path)
