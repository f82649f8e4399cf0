"""The gallery's word on files: found, changed by somebody, removed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from materializer import naming
from materializer.gallery import items, outbox
from materializer.model import FOUND, Job, Kind, Placed
from materializer.plan import payloads

_ENTRY = (
    'SELECT i.n, i.owner, i.idx AS "index", i.id, i.kind, i.file_name, i.bytes,'
    " i.sha256, i.companion, i.saved_at"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the gallery knows it, of whatever owner; `n` orders them."""

    n: int
    owner: str
    index: int
    id: str
    kind: Kind
    file_name: str
    bytes: int
    sha256: str
    companion: bool
    saved_at: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the outputs directory whose name says which output it is."""

    stem: str
    placed: Placed
    written_at: int


def after(db: sqlite3.Connection, n: int, limit: int) -> list[Entry]:
    """Return up to `limit` files that are in the gallery and come after one."""
    rows = db.execute(
        f"{_ENTRY} FROM items i WHERE i.n > ? AND i.removed_at IS NULL"
        " ORDER BY i.n LIMIT ?",
        (n, limit),
    )
    return [_entry(row) for row in rows]


def named(db: sqlite3.Connection, names: Iterable[str]) -> list[Entry]:
    """Return the files of these names that are in the gallery."""
    wanted = {name: place for name in names if (place := naming.read(name))}
    rows = db.execute(
        f"{_ENTRY} FROM json_each(?) AS wanted"
        " JOIN jobs j ON j.stem = json_extract(wanted.value, '$[0]')"
        " JOIN items i ON i.owner = j.owner AND i.job_id = j.job_id"
        " AND i.idx = json_extract(wanted.value, '$[1]')"
        " WHERE i.removed_at IS NULL",
        (json.dumps([*wanted.values()]),),
    )
    return [entry for entry in map(_entry, rows) if entry.file_name in wanted]


def of_item(db: sqlite3.Connection, owner: str | None, item_id: str) -> list[str]:
    """Return the names of an item's files, its companions last; none: no such item."""
    return [row["file_name"] for row in _of_item(db, owner, item_id)]


def enter(db: sqlite3.Connection, owner: str, found: Iterable[Found]) -> int:
    """Enter files that were found; return how many the gallery did not know.

    Each is its job's owner's, or `owner`'s when the job is not known. What a job is
    still to bring is left to the job, what was removed stays removed, and a name that
    does not tell the job's id is passed over.
    """
    return sum(_enter(db, owner, one) for one in found)


def change(
    db: sqlite3.Connection, entry: Entry, placed: Placed, written_at: int
) -> None:
    """Enter what a file has become, and that it was saved so at `written_at`, in ms."""
    db.execute(
        "UPDATE items SET bytes = ?, sha256 = ?, width = ?, height = ?,"
        " duration_ms = ?, text = ?, saved_at = ? WHERE n = ?",
        (
            placed.bytes,
            placed.sha256,
            placed.width,
            placed.height,
            placed.duration_ms,
            placed.text,
            written_at,
            entry.n,
        ),
    )


def remove(db: sqlite3.Connection, owner: str, item_id: str, now: int) -> bool:
    """Take an item out for ever, and announce that; return whether there was one.

    Its row stays as the sign that the person does not want it. `now` is in ms.
    """
    rows = _of_item(db, owner, item_id)
    if not rows:
        return False
    job_id = rows[0]["job_id"]
    db.executemany(
        "UPDATE items SET removed_at = ? WHERE n = ?",
        [(now, row["n"]) for row in rows],
    )
    # Who removes what nobody has recognised need not be told of it.
    db.execute(
        "UPDATE jobs SET told = NULL WHERE owner = ? AND job_id = ?"
        " AND state = 'unrecognised' AND told = 'due'",
        (owner, job_id),
    )
    record = items.record(db, owner, job_id)
    if record is not None:
        for payload in payloads(record.job, [items.file(rows[0])]):
            outbox.append(db, owner, "remove", payload)
    return True


def claim(db: sqlite3.Connection, owner: str) -> None:
    """Give what was found while nobody was known to an owner."""
    for table in ("jobs", "items", "outbox"):
        db.execute(
            f"UPDATE OR IGNORE {table} SET owner = ? WHERE owner = ''",  # noqa: S608
            (owner,),
        )


def _of_item(
    db: sqlite3.Connection, owner: str | None, item_id: str
) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT one.*, path_of(one.file_name) AS path FROM items i"
        " JOIN items one ON one.owner = i.owner AND one.job_id = i.job_id"
        " AND (one.idx = i.idx OR one.companion = 1 AND i.kind = 'text')"
        " WHERE i.owner = ? AND i.job_id = ? AND i.id = ? AND i.removed_at IS NULL"
        " AND i.companion = 0 ORDER BY one.companion, one.idx",
        (owner, item_id.rpartition("_")[0], item_id),
    ).fetchall()


def _enter(db: sqlite3.Connection, owner: str, found: Found) -> bool:
    row = db.execute("SELECT * FROM jobs WHERE stem = ?", (found.stem,)).fetchone()
    if row is not None:
        if row["stem"] != found.stem or row["state"] == "pending":
            return False
        job = Job(
            row["job_id"],
            row["status"],
            row["capability"],
            completed_at=row["finished_at"],
        )
        return items.add(db, row["owner"], job, found.placed, found.written_at)
    if naming.stem(found.stem) != found.stem:
        return False
    at = found.written_at
    db.execute(
        "INSERT INTO jobs (owner, job_id, deployment, stem, status, state, action,"
        " capability, created_at, finished_at)"
        " VALUES (?, ?, '', ?, ?, 'done', 'register', '', ?, ?)",
        (owner, found.stem, found.stem, FOUND, at, at),
    )
    job = Job(found.stem, FOUND, completed_at=at)
    return items.add(db, owner, job, found.placed, at)


def _entry(row: sqlite3.Row) -> Entry:
    facts = dict(row)
    return Entry(**facts | {"companion": bool(facts["companion"])})
