"""The ledger: which jobs are known, what was tried, and how far the feed is settled."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from materializer import naming
from materializer.errors import LinkGone
from materializer.gallery import files, items, outbox, repair, wishes
from materializer.model import (
    QUERIES,
    SUBMITTED,
    Account,
    DisplayUpdate,
    Job,
    Query,
    Settlement,
)
from materializer.plan import OVERLAP_MS, Known, Plan, Work

GONE = "gone", "the backend no longer has this job"

BITE = 50
"""So many jobs are entered at once; others who want the database wait for so long."""

# To the newest completion beyond it below which nothing is open. What has settled is
# said so that an index finds it from its newer end, however many jobs there are.
_ADVANCE = """
UPDATE cursors AS c SET since = coalesce((
  SELECT max(finished_at) - ?5 FROM jobs j
  WHERE j.owner = c.owner AND j.deployment = c.deployment AND {settled}
    AND j.finished_at > c.since + ?5
    AND j.finished_at <= min(?1, coalesce((
      SELECT min(finished_at) - 1 FROM jobs o
      WHERE o.owner = c.owner AND o.deployment = c.deployment AND o.state = 'pending'
        AND (o.status = 'succeeded') = (c.query = 'succeeded')
        AND o.finished_at >= c.since
    ), ?1))
), since)
WHERE deployment = ?2 AND owner = ?3 AND query = ?4
"""
_ADVANCE_OF: dict[Query, str] = {
    "succeeded": _ADVANCE.format(
        settled="j.status = 'succeeded' AND j.state <> 'pending'"
    ),
    "failed": _ADVANCE.format(settled="j.status <> 'succeeded' AND j.state = 'failed'"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an account's jobs have settled.

    Attributes:
        cursors: from which completion on each query is asked, in ms.
        open_jobs: those that have not settled yet.
        gone: of them those whose last attempt ended with a link that is no longer good,
            each with the number of its attempts.
    """

    cursors: dict[Query, int]
    open_jobs: frozenset[str]
    gone: dict[str, int]


def known(
    db: sqlite3.Connection, owner: str, job_ids: Sequence[str]
) -> dict[str, Known]:
    """Return what is known of these jobs; unknown ones are left out."""
    rows = db.execute(
        "SELECT job_id, state, status, action, attempts, next_attempt_at, error_code,"
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
            row["error_code"] == LinkGone.code,
        )
        for row in rows
    }


def remember(
    db: sqlite3.Connection, account: Account, work: Sequence[Work]
) -> dict[str, str]:
    """Enter jobs as pending; return the stem of each one's file names.

    A failure that one of them had before is withdrawn, told or not.
    """
    db.execute(
        "UPDATE jobs SET error_code = NULL, error = NULL, told = NULL"
        " WHERE owner = ? AND state = 'failed'"
        " AND job_id IN (SELECT value FROM json_each(?))",
        (account.owner, json.dumps([part.job.job_id for part in work])),
    )
    return {
        part.job.job_id: _enter(db, account, part.job, "pending", part.action)
        for part in work
    }


def take_up(
    db: sqlite3.Connection,
    account: Account,
    job_ids: Sequence[str],
    decide: Callable[[Mapping[str, Known]], Plan],
    waiting: Collection[str],
    now: int,
    reached: Mapping[Query, int],
) -> tuple[Plan, dict[str, str]]:
    """Decide by what is known of some jobs, and enter the work that comes of it.

    What is `waiting` to be done is entered already. Then the cursors move, as in
    `advance`, unless something is left to be entered by the caller, who then moves
    them: failures, and of more than BITE new jobs the rest. Returns what was decided,
    and for what was entered what `remember` does.
    """
    plan = decide(known(db, account.owner, job_ids))
    new = [part for part in plan.work if part.job.job_id not in waiting]
    stems = remember(db, account, new[:BITE]) if new else {}
    if len(new) <= BITE and not plan.failed:
        advance(db, account, now, reached)
    return plan, stems


def submit(db: sqlite3.Connection, account: Account, job_id: str, now: int) -> None:
    """Enter a job that the feed must be asked for until it ends, unless it is known.

    `now` is in ms.
    """
    if not known(db, account.owner, [job_id]):
        job = Job(job_id, SUBMITTED, created_at=now)
        _enter(db, account, job, "pending", "register")


def give_up(
    db: sqlite3.Connection, account: Account, job_ids: Sequence[str]
) -> list[str]:
    """Close open jobs that the backend does not know; return those that failed thus.

    One of which nothing else is known was never a job of this account: it is forgotten.
    """
    key = (account.owner, json.dumps(job_ids))
    db.execute(
        "DELETE FROM jobs WHERE status = ? AND owner = ? AND state = 'pending'"
        " AND job_id IN (SELECT value FROM json_each(?))",
        (SUBMITTED, *key),
    )
    failed = db.execute(
        "UPDATE jobs SET state = 'failed', next_attempt_at = NULL, error_code = ?,"
        " error = ?, told = 'due' WHERE owner = ? AND state = 'pending'"
        " AND job_id IN (SELECT value FROM json_each(?)) RETURNING job_id",
        (*GONE, *key),
    )
    return [row["job_id"] for row in failed]


def fail(
    db: sqlite3.Connection, account: Account, jobs: Sequence[tuple[Job, bool]]
) -> None:
    """Enter jobs that failed upstream, each with whether the person must be told."""
    for job, tell in jobs:
        _enter(db, account, job, "failed", "register")
        db.execute(
            "UPDATE jobs SET next_attempt_at = NULL, error_code = ?, error = ?,"
            " told = ? WHERE owner = ? AND job_id = ?",
            (
                job.error.code if job.error else None,
                job.error.message if job.error else None,
                "due" if tell else None,
                account.owner,
                job.job_id,
            ),
        )


def settle(
    db: sqlite3.Connection,
    account: Account,
    settlement: Settlement,
    now: int,
    reached: Mapping[Query, int],
) -> list[DisplayUpdate]:
    """Record an attempt: files, state, announcements and cursor, as `advance` does.

    The job must have been remembered. Returns the announcements with their numbers.
    `now` is in ms.
    """
    job = settlement.job
    is_new = not items.placed(db, account.owner, job.job_id)
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
    claimed = wishes.is_claimed(db, account.owner, job.job_id)
    updates = [
        outbox.append(
            db, account.owner, "register" if claimed else settlement.action, payload
        )
        for payload in settlement.payloads
        if is_new or not outbox.has(db, account.owner, payload)
    ]
    query: Query = "succeeded" if job.succeeded else "failed"
    if query in reached:  # the other query's jobs are as they were
        advance(db, account, now, {query: reached[query]})
    return updates


def told(
    db: sqlite3.Connection, owner: str, job_ids: Sequence[str], outcome: str
) -> None:
    """Record that the person was told of these failures, or why they were not.

    One that was withdrawn meanwhile stays withdrawn.
    """
    db.execute(
        "UPDATE jobs SET told = ? WHERE owner = ? AND told = 'due'"
        " AND job_id IN (SELECT value FROM json_each(?))",
        (outcome, owner, json.dumps(job_ids)),
    )


def cursors(
    db: sqlite3.Connection, account: Account, *, first: int
) -> dict[Query, int]:
    """Return from which completion on each query is asked, in ms.

    `first` is kept as the answer when there was none: from then on only settled jobs
    move it.
    """
    first = repair.first_asked(db, first)
    db.executemany(
        "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(account.deployment, account.owner, query, first) for query in QUERIES],
    )
    return _cursors(db, account)


def advance(
    db: sqlite3.Connection, account: Account, now: int, reached: Mapping[Query, int]
) -> None:
    """Move each cursor to the newest completion below which all has settled.

    Only as far as its query has `reached`: what was saved from elsewhere says nothing
    about what the feed would have shown before it. What ended later than `now`, in ms,
    was dated by a clock that is wrong, and must not hide what ends until then. An open
    job that is older than the cursor is asked for by id, so it holds nothing back.
    """
    for query, reach in reached.items():
        place = (account.deployment, account.owner, query)
        db.execute(_ADVANCE_OF[query], (min(reach, now), *place, OVERLAP_MS))


def standing(db: sqlite3.Connection, account: Account) -> Standing:
    """Return how far an account's jobs have settled."""
    rows = db.execute(
        "SELECT job_id, attempts, error_code FROM jobs"
        " WHERE owner = ? AND deployment = ? AND state = 'pending'",
        (account.owner, account.deployment),
    ).fetchall()
    return Standing(
        _cursors(db, account),
        frozenset(row["job_id"] for row in rows),
        {r["job_id"]: r["attempts"] for r in rows if r["error_code"] == LinkGone.code},
    )


def cursor(db: sqlite3.Connection, account: Account) -> int | None:
    """Return until when an account's succeeded jobs have settled, in ms, or None."""
    return _cursors(db, account).get("succeeded")


def open_stems(db: sqlite3.Connection) -> set[str]:
    """Return what the file names of every account's open jobs begin with."""
    rows = db.execute("SELECT stem FROM jobs WHERE state = 'pending'")
    return {row["stem"] for row in rows}


def open_jobs(db: sqlite3.Connection, account: Account) -> list[str]:
    """Return the jobs that have not settled yet."""
    rows = db.execute(
        "SELECT job_id FROM jobs"
        " WHERE owner = ? AND deployment = ? AND state = 'pending'",
        (account.owner, account.deployment),
    )
    return [row["job_id"] for row in rows]


def last_owner(db: sqlite3.Connection) -> str | None:
    """Return who was signed in last."""
    row = db.execute("SELECT value FROM facts WHERE name = 'last_owner'").fetchone()
    return row["value"] if row else None


def signed_in(db: sqlite3.Connection, owner: str) -> None:
    """Remember who is signed in, for when nobody is.

    What was found here while nobody was known is theirs.
    """
    db.execute("INSERT OR REPLACE INTO facts VALUES ('last_owner', ?)", (owner,))
    files.claim(db, owner)


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
        " ON CONFLICT (owner, job_id) DO UPDATE SET deployment = excluded.deployment,"
        " status = excluded.status, state = excluded.state, action = excluded.action,"
        " capability = excluded.capability, profile = excluded.profile,"
        " prompt = excluded.prompt, aspect_ratio = excluded.aspect_ratio,"
        " created_at = excluded.created_at, finished_at = excluded.finished_at"
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


def _cursors(db: sqlite3.Connection, account: Account) -> dict[Query, int]:
    rows = db.execute(
        "SELECT query, since FROM cursors WHERE deployment = ? AND owner = ?",
        (account.deployment, account.owner),
    )
    return {row["query"]: row["since"] for row in rows}
