from __future__ import annotations

import sqlite3
from pathlib import Path

from materializer.gallery import Gallery, items, ledger, thumbnails
from materializer.gallery.thumbnails import NEWEST, Due
from materializer.model import Account, Job, Kind, Placed, Settlement
from materializer.plan import Work

ME = Account("https://happy.example", "iss|me")


async def enter(
    gallery: Gallery, name: str, kind: Kind = "image", *, companion: bool = False
) -> None:
    path = f"/o/{name}_0.png"
    placed = Placed(0, kind, path, 1, "ab", "image/png", companion=companion)
    job = Job(name, "succeeded", completed_at=5)
    await gallery.write(ledger.remember, ME, [Work(job, "register")])
    await gallery.write(ledger.settle, ME, Settlement(job, "done", (placed,)), 6, {})


async def due(gallery: Gallery, before: int = NEWEST, limit: int = 9) -> list[Due]:
    return await gallery.read(thumbnails.due, before, limit)


async def ids(gallery: Gallery) -> list[str]:
    return [one.id for one in await due(gallery)]


def change(db: sqlite3.Connection, name: str, what: str) -> None:
    db.execute(f"UPDATE items SET {what} WHERE job_id = ?", (name,))  # noqa: S608 -- ours


async def test_pictures_are_due_newest_first_and_page_by_page(gallery: Gallery) -> None:
    for name in ("a", "b", "c"):
        await enter(gallery, name)
    await enter(gallery, "film", "video")
    await enter(gallery, "companion", companion=True)
    first = await due(gallery, limit=2)
    assert [one.id for one in first] == ["c_0", "b_0"]
    [last] = await due(gallery, first[-1].n)
    assert (last.owner, last.id, last.file_name) == (ME.owner, "a_0", "a_0.png")


async def test_what_has_one_or_can_have_none_is_due_when_it_has_changed(
    gallery: Gallery,
) -> None:
    for name in ("a", "b"):
        await enter(gallery, name)
    b, a = await due(gallery)
    assert await gallery.write(thumbnails.record, a, "a_0.webp")
    assert await gallery.write(thumbnails.record, b, "")
    assert await ids(gallery) == []
    assert await gallery.read(thumbnails.recorded, 0, 9) == [(a.n, "a_0.webp")]
    for name in ("a", "b"):
        await gallery.write(change, name, "sha256 = 'ab'")
    assert await ids(gallery) == []
    for name in ("a", "b"):
        await gallery.write(change, name, "sha256 = 'cd'")
    assert await ids(gallery) == ["b_0", "a_0"]


async def test_what_changed_or_was_removed_meanwhile_wants_no_old_one(
    gallery: Gallery,
) -> None:
    for name in ("a", "b"):
        await enter(gallery, name)
    b, a = await due(gallery)
    await gallery.write(change, "a", "sha256 = 'cd'")
    await gallery.write(change, "b", "removed_at = 1")
    assert not await gallery.write(thumbnails.record, a, "a_0.webp")
    assert not await gallery.write(thumbnails.record, b, "b_0.webp")
    assert await ids(gallery) == ["a_0"]


async def test_what_was_lost_is_due_again(gallery: Gallery) -> None:
    for name in ("a", "b"):
        await enter(gallery, name)
    for one in await due(gallery):
        await gallery.write(thumbnails.record, one, f"{one.id}.webp")
    (n, _), _ = await gallery.read(thumbnails.recorded, 0, 9)
    await gallery.write(thumbnails.lost, [n])
    assert await ids(gallery) == ["a_0"]
    [(_, name)] = await gallery.read(thumbnails.recorded, 0, 9)
    assert name == "b_0.webp"


async def test_an_item_tells_where_its_preview_is(gallery: Gallery) -> None:
    for name in ("a", "b"):
        await enter(gallery, name)
    b, a = await due(gallery)
    await gallery.write(thumbnails.record, a, "a_0.webp")
    await gallery.write(thumbnails.record, b, "")
    page = await gallery.read(items.page, ME.owner, items.Wanted())
    told = {item.id: item.wire().get("thumbnailPath") for item in page.items}
    place = str(Path(page.items[0].path).parent.with_name("thumbnails") / "a_0.webp")
    assert told == {"a_0": place, "b_0": None}


async def test_looking_for_what_is_due_reads_nothing_else(gallery: Gallery) -> None:
    def plan(db: sqlite3.Connection) -> str:
        said: list[str] = []
        db.set_trace_callback(said.append)
        thumbnails.due(db, NEWEST, 1)
        db.set_trace_callback(None)
        [row] = db.execute(f"EXPLAIN QUERY PLAN {said[0]}").fetchall()
        return str(row["detail"])

    assert "items_without_thumbnail" in await gallery.read(plan)
