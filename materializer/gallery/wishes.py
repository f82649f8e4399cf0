"""What a person wants: a job tried again or left to others, or no notices for now."""

from __future__ import annotations

import sqlite3


def retry(db: sqlite3.Connection, owner: str, job_id: str) -> None:
    """Let an open or a failed job have new attempts, from now on.

    A failure is withdrawn, told or not. One that was given up is announced quietly, if
    at all: it was seen before. Any other job stays as it is.
    """
    db.execute(
        "UPDATE jobs SET state = 'pending', attempts = 0, next_attempt_at = NULL,"
        " error_code = NULL, error = NULL, told = NULL,"
        " action = CASE state WHEN 'failed' THEN 'register' ELSE action END"
        " WHERE owner = ? AND job_id = ? AND state IN ('pending', 'failed')",
        (owner, job_id),
    )


def claim(db: sqlite3.Connection, owner: str, job_id: str) -> None:
    """Let a job, known or not, be announced quietly: something else presents it."""
    db.execute("INSERT OR IGNORE INTO claims VALUES (?, ?)", (owner, job_id))


def is_claimed(db: sqlite3.Connection, owner: str, job_id: str) -> bool:
    """Whether something else presents a job."""
    found = db.execute(
        "SELECT 1 FROM claims WHERE owner = ? AND job_id = ?", (owner, job_id)
    ).fetchone()
    return found is not None


def snooze(db: sqlite3.Connection, until: int) -> None:
    """Let the person not be told of anything until a moment, in ms."""
    db.execute("INSERT OR REPLACE INTO facts VALUES ('snoozed_until', ?)", (until,))


def snoozed_until(db: sqlite3.Connection) -> int:
    """Return until when the person wants to be told of nothing, in ms; 0 is never."""
    row = db.execute("SELECT value FROM facts WHERE name = 'snoozed_until'").fetchone()
    return int(row["value"]) if row else 0
