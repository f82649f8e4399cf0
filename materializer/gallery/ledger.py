"""The ledger: which jobs are known, what was tried, and how far the feed is settled."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Literal

from materializer import naming
from materializer.gallery import items, outbox
from materializer.model import Account, DisplayUpdate, Job, Settlement
from materializer.plan import OVERLAP_MS, Known, Work

Query = Literal["succeeded", "failed"]
QUERIES: tuple[Query, ...] = ("succeeded", "failed")


def known(
    db: sqlite3.Connection, owner: str, job_ids: Sequence[str]
) -> dict[str, Known]:
    """Return what is known of these jobs; unknown ones are left out."""
    rows = db.execute(
        "SELECT job_id, state, status, action, attempts, next_attempt_at,"
        " (SELECT json_group_array(idx) FROM items i"
        "   WHERE i.owner = j.owner AND i.job_id = j.job_id) AS have"
        " FROM jobs j WHERE owner = ? AND job_id IN (SELECT value FROM json_each(?))",
        (owner, json.dumps(job_ids)),
    )
    return {
        row["job_id"]: Known(
            row["state"],
            row["status"],
            row["action"],
            row["attempts"],
            row["next_attempt_at"],
            frozenset(json.loads(row["have"])),
        )
        for row in rows
    }


def remember(
    db: sqlite3.Connection, account: Account, work: Sequence[Work]
) -> dict[str, str]:
    """Enter jobs as pending; return the stem of each one's file names."""
    return {
        part.job.job_id: _enter(db, account, part.job, "pending", part.action)
        for part in work
    }


def fail(
    db: sqlite3.Connection, account: Account, jobs: Sequence[tuple[Job, bool]]
) -> None:
    """Enter jobs that failed upstream, each with whether the person must be told."""
    for job, tell in jobs:
        _enter(db, account, job, "failed", "register")
        db.execute(
            "UPDATE jobs SET error_code = ?, error = ?, told = ?"
            " WHERE owner = ? AND job_id = ?",
            (
                job.error.code if job.error else None,
                job.error.message if job.error else None,
                "due" if tell else None,
                account.owner,
                job.job_id,
            ),
        )
    _advance(db, account)


def settle(
    db: sqlite3.Connection, account: Account, settlement: Settlement, now: int
) -> list[DisplayUpdate]:
    """Record an attempt: files, state, announcements and cursor.

    The job must have been remembered. Returns the announcements with their numbers.
    `now` is in ms.
    """
    job = settlement.job
    for placed in settlement.placed:
        items.add(db, account.owner, job, placed, now)
    code, words = settlement.error or (None, None)
    db.execute(
        "UPDATE jobs SET state = ?, attempts = ?, next_attempt_at = ?, error_code = ?,"
        " error = ?, told = ? WHERE owner = ? AND job_id = ?",
        (
            settlement.state,
            settlement.attempts,
            settlement.next_attempt_at,
            code,
            words,
            "due" if settlement.tell else None,
            account.owner,
            job.job_id,
        ),
    )
    updates = [
        outbox.append(db, account.owner, settlement.action, payload)
        for payload in settlement.payloads
    ]
    if settlement.state != "pending":
        _advance(db, account)
    return updates


def told(
    db: sqlite3.Connection, owner: str, job_ids: Sequence[str], outcome: str
) -> None:
    """Record that the person was told of these failures, or why they were not."""
    db.execute(
        "UPDATE jobs SET told = ? WHERE owner = ?"
        " AND job_id IN (SELECT value FROM json_each(?))",
        (outcome, owner, json.dumps(job_ids)),
    )


def since(db: sqlite3.Connection, account: Account, query: Query, *, first: int) -> int:
    """Return from which completion on the feed is asked, in ms.

    `first` is kept as the answer when there was none: from then on only settled jobs
    move it.
    """
    key = (account.deployment, account.owner, query)
    row = db.execute(
        "SELECT since FROM cursors WHERE deployment = ? AND owner = ? AND query = ?",
        key,
    ).fetchone()
    if row is not None:
        return int(row["since"])
    db.execute("INSERT INTO cursors VALUES (?, ?, ?, ?)", (*key, first))
    return first


def cursor(db: sqlite3.Connection, account: Account) -> int | None:
    """Return the earlier of an account's cursors, in ms, or None before the first."""
    (earliest,) = db.execute(
        "SELECT min(since) FROM cursors WHERE deployment = ? AND owner = ?",
        (account.deployment, account.owner),
    ).fetchone()
    return None if earliest is None else int(earliest)


def open_jobs(db: sqlite3.Connection, account: Account) -> list[str]:
    """Return the jobs that have not settled yet."""
    rows = db.execute(
        "SELECT job_id FROM jobs"
        " WHERE owner = ? AND deployment = ? AND state = 'pending'",
        (account.owner, account.deployment),
    )
    return [row["job_id"] for row in rows]


def settled_below(
    db: sqlite3.Connection, account: Account, job_ids: Collection[str]
) -> int:
    """Return how many of these succeeded jobs lie below the cursor by now."""
    (count,) = db.execute(
        "SELECT count(*) FROM jobs j JOIN cursors c USING (owner, deployment)"
        " WHERE j.owner = ? AND j.deployment = ? AND c.query = 'succeeded'"
        " AND j.finished_at < c.since"
        " AND j.job_id IN (SELECT value FROM json_each(?))",
        (account.owner, account.deployment, json.dumps(list(job_ids))),
    ).fetchone()
    return int(count)


def last_owner(db: sqlite3.Connection) -> str | None:
    """Return who was signed in last."""
    row = db.execute("SELECT value FROM facts WHERE name = 'last_owner'").fetchone()
    return row["value"] if row else None


def signed_in(db: sqlite3.Connection, owner: str) -> None:
    """Remember who is signed in, for when nobody is."""
    db.execute("INSERT OR REPLACE INTO facts VALUES ('last_owner', ?)", (owner,))


def _enter(
    db: sqlite3.Connection, account: Account, job: Job, state: str, action: str
) -> str:
    taken = db.execute(
        "SELECT 1 FROM jobs WHERE stem = ? AND NOT (owner = ? AND job_id = ?)",
        (naming.stem(job.job_id), account.owner, job.job_id),
    ).fetchone()
    row = db.execute(
        "INSERT INTO jobs (owner, job_id, deployment, stem, status, state, action,"
        " capability, profile, prompt, aspect_ratio, created_at, finished_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (owner, job_id) DO UPDATE SET status = excluded.status,"
        " state = excluded.state, finished_at = excluded.finished_at"
        " RETURNING stem",
        (
            account.owner,
            job.job_id,
            account.deployment,
            naming.stem(job.job_id, taken=taken is not None),
            job.status,
            state,
            action,
            job.capability,
            job.profile,
            job.prompt,
            job.aspect_ratio,
            job.created_at,
            job.finished_at,
        ),
    ).fetchone()
    return str(row["stem"])


def _advance(db: sqlite3.Connection, account: Account) -> None:
    """Move each cursor to the newest completion below which nothing is open."""
    db.execute(
        "UPDATE cursors SET since = max(since, coalesce((SELECT max(finished_at)"
        " FROM jobs j WHERE j.owner = :owner AND j.deployment = :deployment"
        "  AND (j.status = 'succeeded') = (cursors.query = 'succeeded')"
        "  AND j.finished_at < coalesce((SELECT min(finished_at) FROM jobs"
        "   WHERE owner = :owner AND deployment = :deployment AND state = 'pending'),"
        "   9e18)"
        " ), 0) - :overlap) WHERE owner = :owner AND deployment = :deployment",
        {
            "owner": account.owner,
            "deployment": account.deployment,
            "overlap": OVERLAP_MS,
        },
    )
