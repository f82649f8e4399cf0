"""The outbox: what was announced, in order, and how far each consumer has read."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from materializer.model import Action, DisplayUpdate

_BEYOND = 2**63 - 1


def append(
    db: sqlite3.Connection, owner: str, action: Action, payload: dict[str, Any]
) -> DisplayUpdate:
    """Enter one announcement and return it with its number."""
    row = db.execute(
        "INSERT INTO outbox (owner, action, payload) VALUES (?, ?, ?) RETURNING *",
        (owner, action, _text(payload)),
    ).fetchone()
    return _update(row)


def has(db: sqlite3.Connection, owner: str, payload: dict[str, Any]) -> bool:
    """Whether just this was announced before; it looks at all of them."""
    found = db.execute(
        "SELECT 1 FROM outbox WHERE owner = ? AND payload = ? LIMIT 1",
        (owner, _text(payload)),
    ).fetchone()
    return found is not None


def after(
    db: sqlite3.Connection, owner: str | None, seq: int, limit: int
) -> list[DisplayUpdate]:
    """Return up to `limit` announcements of `owner` that come after `seq`, in order."""
    rows = db.execute(
        # What a damaged disk has garbled must not keep the rest from being told.
        "SELECT * FROM outbox WHERE seq > ? AND owner = ? AND json_valid(payload)"
        " ORDER BY seq LIMIT ?",
        (seq, owner, limit),
    )
    return [_update(row) for row in rows]


def newest(db: sqlite3.Connection) -> int:
    """Return the number of the newest announcement, 0 when there was none."""
    (seq,) = db.execute("SELECT coalesce(max(seq), 0) FROM outbox").fetchone()
    return int(seq)


def acknowledged(
    db: sqlite3.Connection, consumer: str, owner: str | None
) -> int | None:
    """Return how far a consumer has acknowledged; None when it never did.

    It is kept for each account, so that switching between two skips nothing of either.
    """
    row = db.execute(
        "SELECT seq FROM consumers WHERE name = ? AND owner = ?",
        (consumer, owner or ""),
    ).fetchone()
    return int(row["seq"]) if row else None


def acknowledge(
    db: sqlite3.Connection, consumer: str, owner: str | None, seq: int
) -> int:
    """Move a consumer's cursor forward and return it; an older `seq` changes nothing.

    It never passes the newest announcement. It is the cursor of the account that was
    told of `seq`, which may have signed out meanwhile; `owner` is whose it is else.
    """
    return _move(db, consumer, owner, seq)


def begin(db: sqlite3.Connection, consumer: str, owner: str | None) -> int:
    """Place a new consumer at the newest announcement; return its cursor."""
    return _move(db, consumer, owner, _BEYOND)


def _move(db: sqlite3.Connection, consumer: str, owner: str | None, seq: int) -> int:
    # One statement, as a hundred consumers acknowledge each update.
    row = db.execute(
        "INSERT INTO consumers (name, owner, seq) SELECT ?1,"
        " coalesce((SELECT owner FROM outbox WHERE seq = ?3), ?2),"
        " min(?3, (SELECT coalesce(max(seq), 0) FROM outbox)) WHERE true"
        " ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq) RETURNING seq",
        (consumer, owner or "", seq),
    ).fetchone()
    return int(row["seq"])


def _update(row: sqlite3.Row) -> DisplayUpdate:
    return DisplayUpdate(row["seq"], row["action"], json.loads(row["payload"]))


def _text(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False)
