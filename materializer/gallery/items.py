"""The gallery's items: the files that people see, newest first."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializer.gallery import listing
from materializer.model import (
    GalleryItem,
    Job,
    JobError,
    JobRecord,
    JobState,
    Placed,
)

_ITEM = """
SELECT i.*, path_of(i.file_name) AS path,
  iif(i.thumbnail > '', thumbnail_of(i.thumbnail), NULL) AS thumbnail_path,
  j.prompt, j.capability, j.profile, j.aspect_ratio
FROM items i JOIN jobs j USING (owner, job_id)
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list: up to `limit` items after `cursor` that match every filter."""

    limit: int = 50
    cursor: str | None = None
    kind: str | None = None
    capability: str | None = None
    job_id: str | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the gallery; `next_cursor` is None on the last one."""

    items: tuple[GalleryItem, ...]
    next_cursor: str | None
    total: int

    def wire(self) -> dict[str, Any]:
        """Return the page as JSON for clients."""
        return {
            "items": [item.wire() for item in self.items],
            "nextCursor": self.next_cursor,
            "total": self.total,
        }


def add(db: sqlite3.Connection, owner: str, job: Job, placed: Placed, now: int) -> bool:
    """Enter one placed file; return whether it is new.

    One that is there already, or was removed by the person, stays as it is.
    """
    entered = db.execute(
        "INSERT INTO items (owner, job_id, idx, kind, capability, file_name, bytes,"
        " sha256, mime_type, width, height, duration_ms, label, text, companion,"
        " created_at, saved_at) VALUES (?, ?, ?, ?, (SELECT capability FROM jobs"
        " WHERE owner = ?1 AND job_id = ?2), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            owner,
            job.job_id,
            placed.index,
            placed.kind,
            Path(placed.path).name,
            placed.bytes,
            placed.sha256,
            placed.mime_type,
            placed.width,
            placed.height,
            placed.duration_ms,
            placed.label,
            placed.text,
            placed.companion,
            job.finished_at,
            now,
        ),
    )
    return entered.rowcount == 1


def placed(db: sqlite3.Connection, owner: str, job_id: str) -> tuple[Placed, ...]:
    """Return the files of a job that are entered, in the order of their indices."""
    rows = db.execute(
        "SELECT *, path_of(file_name) AS path FROM items"
        " WHERE owner = ? AND job_id = ? AND removed_at IS NULL ORDER BY idx",
        (owner, job_id),
    )
    return tuple(file(row) for row in rows)


def file(row: sqlite3.Row) -> Placed:
    """Return what a row of the gallery, with its `path`, says of a file."""
    return Placed(
        row["idx"],
        row["kind"],
        row["path"],
        row["bytes"],
        row["sha256"],
        row["mime_type"],
        row["width"],
        row["height"],
        row["duration_ms"],
        row["label"],
        row["text"],
        bool(row["companion"]),
    )


def get(db: sqlite3.Connection, owner: str | None, item_id: str) -> GalleryItem | None:
    """Return one item of `owner`, or None when there is none or it was removed."""
    row = db.execute(
        f"{_ITEM} WHERE i.owner = ? AND i.job_id = ? AND i.id = ?"
        " AND i.companion = 0 AND i.removed_at IS NULL",
        (owner, item_id.rpartition("_")[0], item_id),
    ).fetchone()
    return _item(row) if row else None


def page(db: sqlite3.Connection, owner: str | None, wanted: Wanted) -> Page:
    """Return the items of `owner` that are wanted, newest first, then by id.

    Raises:
        ValueError: the cursor is none that an earlier page gave.
    """
    columns: dict[str, object] = {"owner": owner}
    for column in ("kind", "capability", "job_id"):
        value = getattr(wanted, column)
        if value is not None:
            columns[column] = value
    numbers, total = listing.find(
        db, columns, wanted.search, wanted.cursor, wanted.limit + 1
    )
    rows = db.execute(
        f"{_ITEM} JOIN json_each(?) AS wanted ON i.n = wanted.value"
        " ORDER BY i.created_at DESC, i.id",
        (json.dumps(numbers[: wanted.limit]),),
    )
    items = tuple(_item(row) for row in rows)
    more = len(numbers) > wanted.limit
    cursor = listing.cursor_at(items[-1].created_at, items[-1].id) if more else None
    return Page(items, cursor, total)


def record(db: sqlite3.Connection, owner: str | None, job_id: str) -> JobRecord | None:
    """Return all that is known of one job, or None."""
    row = db.execute(
        "SELECT * FROM jobs WHERE owner = ? AND job_id = ?", (owner, job_id)
    ).fetchone()
    return _record(db, row) if row else None


def records(
    db: sqlite3.Connection,
    owner: str | None,
    state: JobState | None,
    fetching: Sequence[str],
    limit: int,
) -> list[JobRecord]:
    """Return up to `limit` jobs, newest first; `fetching` are those at work now."""
    at_work = "job_id IN (SELECT value FROM json_each(:fetching))"
    states = {None: "1", "fetching": f"state = 'pending' AND {at_work}"}
    rows = db.execute(
        "SELECT * FROM jobs WHERE owner = :owner AND "  # noqa: S608 -- conditions are ours
        f"{states.get(state, f'state = :state AND NOT {at_work}')}"
        " ORDER BY finished_at DESC, job_id LIMIT :limit",
        {
            "owner": owner,
            "state": state,
            "fetching": json.dumps(fetching),
            "limit": limit,
        },
    ).fetchall()
    return [_record(db, row) for row in rows]


def to_tell(db: sqlite3.Connection, owner: str) -> list[JobRecord]:
    """Return the failures that the person has not been told of, oldest first."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE owner = ? AND told = 'due' ORDER BY finished_at",
        (owner,),
    ).fetchall()
    return [_record(db, row) for row in rows]


def counts(db: sqlite3.Connection, owner: str | None) -> dict[str, int]:
    """Return the number of jobs in each state, and of `items` and their `bytes`."""
    states = db.execute(
        "SELECT state, count(*) AS jobs FROM jobs WHERE owner = ? GROUP BY state",
        (owner,),
    )
    (count, size) = db.execute(
        "SELECT coalesce(sum(items), 0), coalesce(sum(bytes), 0) FROM tallies"
        " WHERE owner = ?",
        (owner,),
    ).fetchone()
    return {row["state"]: row["jobs"] for row in states} | {
        "items": count,
        "bytes": size,
    }


def _record(db: sqlite3.Connection, row: sqlite3.Row) -> JobRecord:
    error = JobError(row["error"], row["error_code"]) if row["error"] else None
    key = (row["owner"], row["job_id"])
    shown = db.execute(
        f"{_ITEM} WHERE i.owner = ? AND i.job_id = ? AND i.companion = 0"
        " AND i.removed_at IS NULL ORDER BY i.idx",
        key,
    )
    files = db.execute(
        "SELECT path_of(file_name) AS path FROM items"
        " WHERE owner = ? AND job_id = ? AND removed_at IS NULL ORDER BY idx",
        key,
    )
    return JobRecord(
        Job(
            row["job_id"],
            row["status"],
            row["capability"],
            row["profile"],
            row["prompt"],
            row["aspect_ratio"],
            error=error,
            created_at=row["created_at"],
            completed_at=row["finished_at"],
        ),
        row["state"],
        row["attempts"],
        row["next_attempt_at"],
        row["error"],
        row["told"],
        tuple(_item(item) for item in shown),
        tuple(file["path"] for file in files),
    )


def _item(row: sqlite3.Row) -> GalleryItem:
    return GalleryItem(
        id=row["id"],
        job_id=row["job_id"],
        index=row["idx"],
        kind=row["kind"],
        path=row["path"],
        file_name=row["file_name"],
        bytes=row["bytes"],
        sha256=row["sha256"],
        mime_type=row["mime_type"],
        capability=row["capability"],
        created_at=row["created_at"],
        saved_at=row["saved_at"],
        missing=not os.path.exists(row["path"]),  # noqa: PTH110 -- a page has 500
        width=row["width"],
        height=row["height"],
        duration_ms=row["duration_ms"],
        thumbnail_path=row["thumbnail_path"],
        label=row["label"],
        prompt=row["prompt"],
        profile=row["profile"],
        aspect_ratio=row["aspect_ratio"],
    )
