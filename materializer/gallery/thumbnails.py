"""What the gallery knows of previews: which are to be made, and what came of them.

Of an item, `thumbnail` is NULL while its preview is to be made, the name of that when
it is there, and empty when it cannot be made, until the file is another one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Due:
    """A picture without a preview; `n` orders them by when they were entered."""

    n: int
    owner: str
    id: str
    file_name: str
    sha256: str


def due(db: sqlite3.Connection, before: int, limit: int) -> list[Due]:
    """Return up to `limit` pictures of any account before a row, newest first."""
    rows = db.execute(
        "SELECT n, owner, id, file_name, sha256 FROM items"
        " WHERE thumbnail IS NULL AND kind = 'image' AND companion = 0"
        " AND removed_at IS NULL AND n < ? ORDER BY n DESC LIMIT ?",
        (before, limit),
    )
    return [Due(*row) for row in rows]


def record(db: sqlite3.Connection, of: Due, thumbnail: str) -> bool:
    """Enter the name of a preview, or '' for none; return whether anybody wants it.

    The picture may have been removed or changed meanwhile.
    """
    done = db.execute(
        "UPDATE items SET thumbnail = ? WHERE n = ? AND file_name = ? AND sha256 = ?"
        " AND removed_at IS NULL",
        (thumbnail, of.n, of.file_name, of.sha256),
    )
    return done.rowcount > 0


def recorded(db: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Return up to `limit` names of previews, each behind its row, from `after` on."""
    rows = db.execute(
        "SELECT n, thumbnail FROM items WHERE n > ? AND thumbnail > ''"
        " AND removed_at IS NULL ORDER BY n LIMIT ?",
        (after, limit),
    )
    return [(row["n"], row["thumbnail"]) for row in rows]


def lost(db: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Let the previews of these rows be made again."""
    db.execute(
        "UPDATE items SET thumbnail = NULL WHERE n IN (SELECT value FROM json_each(?))",
        (json.dumps(rows),),
    )
