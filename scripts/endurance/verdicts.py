"""What must hold after a long run, as sentences about what does not."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from scripts.endurance.consumer import Consumer
from scripts.endurance.stage import Stage

_MOST = 10


def at_end(on: Stage, consumer: Consumer) -> list[str]:
    """Judge what a daemon has left that came to its end."""
    wanted = _wanted(on, consumer)
    with closing(sqlite3.connect(on.state / "media/gallery.db")) as db:
        flaws = [
            *consumer.flaws,
            *_files(on.state / "media/outputs", wanted),
            *_rows(db, wanted),
            *_jobs(db, on),
            *_updates(db, on, consumer),
        ]
    left = [path.name for path in on.state.glob("media/gallery.db-*")]
    flaws += [f"{name} was left" for name in left]
    more = len(flaws) - _MOST
    return flaws if more <= 0 else [*flaws[:_MOST], f"and {more} more"]


def of_previews(on: Stage) -> list[str]:
    """Judge the previews of a daemon that had made all of them."""
    with closing(sqlite3.connect(on.state / "media/gallery.db")) as db:
        rows = db.execute(
            "SELECT thumbnail FROM items WHERE thumbnail <> '' AND removed_at IS NULL"
        ).fetchall()
    folder = on.state / "media/thumbnails"
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return [
        f"the preview {name} is {'left over' if name in there else 'lost'}"
        for name in sorted(there ^ {name for (name,) in rows})
    ]


def settled(on: Stage) -> bool:
    """Whether a daemon that runs has done all, and told of what failed."""
    ended = _ask(
        on,
        "SELECT count(*) FROM jobs WHERE state <> 'pending'"
        " AND (told IS NULL OR told <> 'due')",
    )
    return ended == len(on.outputs) + len(on.failed)


def previewed(on: Stage) -> bool:
    """Whether every picture that there is has its preview."""
    due = _ask(
        on,
        "SELECT count(*) FROM items WHERE thumbnail IS NULL AND kind = 'image'"
        " AND companion = 0 AND removed_at IS NULL",
    )
    return not due


def _ask(on: Stage, question: str) -> int:
    uri = f"file:{on.state / 'media/gallery.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        (answer,) = db.execute(question).fetchone()
    return int(answer)


def _wanted(on: Stage, consumer: Consumer) -> dict[str, bytes | None]:
    wanted = {}
    for job_id, output in on.outputs.items():
        for end, content in output.files.items():
            # The transcript's two files are one item.
            is_first = end.startswith("_0") or content is None
            if not (is_first and job_id in consumer.removed):
                wanted[job_id + end] = content
    return wanted


def _files(outputs: Path, wanted: dict[str, bytes | None]) -> Iterator[str]:
    there = {path.name for path in outputs.iterdir()} - {".partial"}
    yield from (f"{name} is lost" for name in sorted(wanted.keys() - there))
    yield from (f"{name} is one too many" for name in sorted(there - wanted.keys()))
    for name in sorted(there & wanted.keys()):
        content = wanted[name]
        if content is not None and (outputs / name).read_bytes() != content:
            yield f"{name} is not as it was sent"
    partial = (outputs / ".partial").iterdir()
    yield from (f".partial/{path.name} was left" for path in partial)


def _rows(db: sqlite3.Connection, wanted: dict[str, bytes | None]) -> Iterator[str]:
    (sound,) = db.execute("PRAGMA integrity_check").fetchone()
    if sound != "ok":
        yield f"the gallery is damaged: {sound}"
    rows = db.execute("SELECT file_name FROM items WHERE removed_at IS NULL")
    names = Counter(name for (name,) in rows)
    yield from (f"{name} has {names[name]} rows" for name in wanted.keys() ^ {*names})
    yield from (f"{name} has {n} rows" for name, n in names.items() if n > 1)


def _jobs(db: sqlite3.Connection, on: Stage) -> Iterator[str]:
    for job_id, owner, state, told in db.execute(
        "SELECT job_id, owner, state, told FROM jobs"
    ):
        if owner != on.owners[job_id]:
            yield f"{job_id} is said to be {owner}'s"
        if state != ("failed" if job_id in on.failed else "done"):
            yield f"{job_id} is {state}"
        if job_id in on.failed and told in {None, "due"}:
            yield f"of {job_id}, which failed, nobody was told"
    (known,) = db.execute("SELECT count(*) FROM jobs").fetchone()
    if known != len(on.owners):
        yield f"{known} jobs of {len(on.owners)} are known"


def _updates(db: sqlite3.Connection, on: Stage, consumer: Consumer) -> Iterator[str]:
    announced: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for action, payload in db.execute("SELECT action, payload FROM outbox"):
        announced[action == "remove"][json.loads(payload)["jobId"]] += 1
    for what, each, wanted in (
        ("announced", announced[False], on.outputs.keys()),
        ("told", consumer.told, on.outputs.keys()),
        ("announced as removed", announced[True], consumer.removed),
        ("told as removed", consumer.withdrawn, consumer.removed),
    ):
        for job_id in sorted(wanted | each.keys()):
            if each[job_id] != (job_id in wanted):
                yield f"{job_id} was {what} {each[job_id]} times"
