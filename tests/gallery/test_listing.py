from __future__ import annotations

import random
import sqlite3
from typing import Any

import pytest

from materializer.gallery import Gallery, items, ledger, listing
from materializer.gallery.items import Wanted
from materializer.model import Account, Job, Kind, Placed, Settlement
from materializer.plan import Work

ME = Account("https://happy.example", "iss|me")
YOU = Account("https://happy.example", "iss|you")
JOBS = 240
KINDS: tuple[Kind, ...] = ("image", "video", "audio")


def fill(db: sqlite3.Connection) -> None:
    """Enter jobs of two accounts in no order, some of several files, some at once."""
    chance = random.Random(5)  # noqa: S311 -- shuffles, guards nothing
    for number in chance.sample(range(JOBS), JOBS):
        account = YOU if number % 4 == 0 else ME
        words = ("red fox", "red hare", "sea")[number % 3]
        job = Job(
            f"j{number:03}",
            "succeeded",
            ("icon", "image_to_video")[number % 2],
            prompt=words,
            completed_at=number // 5,
        )
        placed = tuple(
            Placed(
                index, KINDS[number % 3], f"/o/{job.job_id}_{index}.x", 9, "ab", "a/b"
            )
            for index in range(number % 3 + 1)
        )
        ledger.remember(db, account, [Work(job, "register")])
        ledger.settle(db, account, Settlement(job, "done", placed), 1, {})
    db.execute("UPDATE items SET removed_at = 1 WHERE job_id LIKE 'j%7'")
    db.execute("UPDATE items SET companion = 1 WHERE job_id LIKE 'j%8' AND idx = 1")


def expected(db: sqlite3.Connection, wanted: Wanted, words: list[str]) -> list[str]:
    """Find the same items without any index."""
    rows = db.execute(
        "SELECT i.*, j.prompt FROM items i JOIN jobs j USING (owner, job_id)"
    ).fetchall()
    shown = [
        row
        for row in rows
        if (row["owner"], row["companion"], row["removed_at"]) == (ME.owner, 0, None)
        and wanted.kind in {None, row["kind"]}
        and wanted.capability in {None, row["capability"]}
        and wanted.job_id in {None, row["job_id"]}
        and all(f" {word}" in f" {row['prompt']}" for word in words)
    ]
    shown.sort(key=lambda row: (-row["created_at"], row["id"]))
    return [row["id"] for row in shown]


@pytest.mark.parametrize("few", [0, 10_000], ids=["many found", "few found"])
@pytest.mark.parametrize("search", [None, "red", "fo re", "fox sea"])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"kind": "image"},
        {"capability": "icon"},
        {"kind": "video", "capability": "image_to_video"},
        {"kind": "model3d"},
        {"job_id": "j005"},
    ],
)
async def test_every_choice_lists_and_counts_what_a_look_at_each_item_does(
    gallery: Gallery,
    filters: dict[str, Any],
    search: str | None,
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "_FEW", few)
    await gallery.write(fill)
    everything = Wanted(**filters)
    words = (search or "").split()
    right = await gallery.read(expected, everything, words)
    seen: list[str] = []
    cursor = None
    while True:
        wanted = Wanted(7, cursor, search=search, **filters)
        page = await gallery.read(items.page, ME.owner, wanted)
        assert page.total == len(right)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == right


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "items_newest (owner=? AND created_at<?)"),
        ({"kind": "image"}, "items_of_kind (owner=? AND kind=? AND created_at<?)"),
        (
            {"capability": "icon"},
            "items_of_capability (owner=? AND capability=? AND created_at<?)",
        ),
    ],
)
async def test_a_page_begins_where_its_cursor_says_in_an_index_of_its_order(
    gallery: Gallery, filters: dict[str, Any], index: str
) -> None:
    await gallery.write(fill)
    asked: list[str] = []
    gallery._db.set_trace_callback(asked.append)
    wanted = Wanted(7, "20:j1_0", **filters)
    await gallery.read(items.page, ME.owner, wanted)
    gallery._db.set_trace_callback(None)
    [query] = [one for one in asked if one.startswith("SELECT i.n FROM")]
    plan = await gallery.read(
        lambda db: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    )
    assert index in plan[0]
    assert not any("SCAN" in step for step in plan)


async def test_the_totals_are_added_up_and_never_counted(gallery: Gallery) -> None:
    await gallery.write(fill)
    asked: list[str] = []
    gallery._db.set_trace_callback(asked.append)
    page = await gallery.read(items.page, ME.owner, Wanted(kind="image"))
    counts = await gallery.read(items.counts, ME.owner)
    gallery._db.set_trace_callback(None)
    assert page.total > 0
    assert counts["bytes"] == counts["items"] * 9 > 0
    assert not any("count(*) FROM items" in query for query in asked)


async def test_the_totals_follow_what_becomes_of_the_items(gallery: Gallery) -> None:
    await gallery.write(fill)

    def tallied(db: sqlite3.Connection) -> list[tuple[object, ...]]:
        rows = db.execute(
            "SELECT owner, kind, capability, items, bytes FROM tallies"
            " WHERE items > 0 ORDER BY 1, 2, 3"
        )
        return [tuple(row) for row in rows]

    def counted(db: sqlite3.Connection) -> list[tuple[object, ...]]:
        rows = db.execute(
            "SELECT owner, kind, capability, count(*), sum(bytes) FROM items"
            " WHERE companion = 0 AND removed_at IS NULL GROUP BY 1, 2, 3"
            " ORDER BY 1, 2, 3"
        )
        return [tuple(row) for row in rows]

    for change in (
        "UPDATE items SET removed_at = NULL WHERE job_id LIKE 'j%7'",
        "UPDATE items SET bytes = 20, kind = 'download' WHERE job_id < 'j040'",
        "UPDATE jobs SET capability = 'renamed' WHERE job_id > 'j200'",
        "UPDATE OR IGNORE items SET owner = 'iss|new' WHERE owner = 'iss|you'",
        "DELETE FROM items WHERE job_id LIKE 'j%5'",
    ):
        before = await gallery.read(tallied)
        await gallery.write(sqlite3.Connection.execute, change)
        assert await gallery.read(tallied) == await gallery.read(counted) != before
