"""The gallery's items: the files that people see, newest first."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializer.model import GalleryItem, Job, JobError, JobRecord, Placed

_ITEM = """
SELECT i.*, path_of(i.file_name) AS path,
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


def add(db: sqlite3.Connection, owner: str, job: Job, placed: Placed, now: int) -> None:
    """Enter one placed file; one that is there already stays as it is."""
    db.execute(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            owner,
            job.job_id,
            placed.index,
            f"{job.job_id}_{placed.index}",
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


def placed(db: sqlite3.Connection, owner: str, job_id: str) -> tuple[Placed, ...]:
    """Return the files of a job that are entered, in the order of their indices."""
    rows = db.execute(
        "SELECT *, path_of(file_name) AS path FROM items"
        " WHERE owner = ? AND job_id = ? ORDER BY idx",
        (owner, job_id),
    )
    return tuple(
        Placed(
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
        for row in rows
    )


def page(db: sqlite3.Connection, owner: str | None, wanted: Wanted) -> Page:
    """Return the items of `owner` that are wanted, newest first, then by id.

    Raises:
        ValueError: the cursor is none that an earlier page gave.
    """
    conditions = ["i.owner = :owner", "i.companion = 0"]
    values: dict[str, object] = {"owner": owner, "limit": wanted.limit + 1}
    for column, value in (
        ("i.kind", wanted.kind),
        ("j.capability", wanted.capability),
        ("i.job_id", wanted.job_id),
    ):
        if value is not None:
            name = column[2:]
            conditions.append(f"{column} = :{name}")
            values[name] = value
    if wanted.search:
        conditions.append(
            "instr(lower(coalesce(j.prompt, '') || char(10) || j.capability"
            " || char(10) || i.file_name), lower(:search)) > 0"
        )
        values["search"] = wanted.search
    matching = " AND ".join(conditions)
    (total,) = db.execute(
        f"SELECT count(*) FROM items i JOIN jobs j USING (owner, job_id)"  # noqa: S608 -- conditions are ours
        f" WHERE {matching}",
        values,
    ).fetchone()
    if wanted.cursor is not None:
        created_at, _, after = wanted.cursor.partition(":")
        matching += (
            " AND (i.created_at < :at OR (i.created_at = :at AND i.id > :after))"
        )
        values |= {"at": int(created_at), "after": after}
    rows = db.execute(
        f"{_ITEM} WHERE {matching} ORDER BY i.created_at DESC, i.id LIMIT :limit",
        values,
    ).fetchall()
    items = tuple(_item(row) for row in rows[: wanted.limit])
    more = len(rows) > wanted.limit and items
    cursor = f"{items[-1].created_at}:{items[-1].id}" if more else None
    return Page(items, cursor, total)


def record(db: sqlite3.Connection, owner: str | None, job_id: str) -> JobRecord | None:
    """Return all that is known of one job, or None."""
    row = db.execute(
        "SELECT * FROM jobs WHERE owner = ? AND job_id = ?", (owner, job_id)
    ).fetchone()
    return _record(db, row) if row else None


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
        "SELECT count(*), coalesce(sum(bytes), 0) FROM items"
        " WHERE owner = ? AND companion = 0",
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
        " ORDER BY i.idx",
        key,
    )
    files = db.execute(
        "SELECT path_of(file_name) AS path FROM items"
        " WHERE owner = ? AND job_id = ? ORDER BY idx",
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
        missing=not Path(row["path"]).exists(),
        width=row["width"],
        height=row["height"],
        duration_ms=row["duration_ms"],
        label=row["label"],
        prompt=row["prompt"],
        profile=row["profile"],
        aspect_ratio=row["aspect_ratio"],
    )
