"""What must hold after a trial, as sentences about what does not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from scripts.chaos_trials.consumer import NAME, Heard
from scripts.chaos_trials.stage import FAILED, WORDS, Stage

_GALLERY = "media/gallery.db"


def amid(stage: Stage, state: Path, heard: Heard) -> list[str]:
    """Judge what a daemon left behind that was stopped at any moment."""
    flaws = [f"{name} is visible and not whole" for name in _spoilt(stage, state)]
    with _gallery(state) as db:
        if db is None:
            return flaws
        there = visible(state)
        flaws += [
            f"{row['file_name']} has a row and no file"
            for row in db.execute("SELECT file_name FROM items")
            if row["file_name"] not in there
        ]
        flaws += _promises(db, heard)
    return flaws


def at_end(stage: Stage, state: Path, heard: Heard, *, retold: int = 0) -> list[str]:
    """Judge what there is when a daemon has come to rest.

    So many times more than once a failure may have been told.
    """
    flaws = amid(stage, state, heard) + heard.flaws
    there = visible(state)
    flaws += [f"{name} is not there" for name in sorted(stage.files.keys() - there)]
    flaws += [f"{name} is one too many" for name in sorted(there - stage.files.keys())]
    partial = state / "media/outputs/.partial"
    flaws += [f".partial/{path.name} was left" for path in partial.iterdir()]
    with _gallery(state) as db:
        if db is None:
            return [*flaws, "there is no gallery"]
        flaws += _rows(stage, db)
        flaws += _updates(stage, db, heard)
    if heard.notices.count(FAILED) > 1 + retold:
        flaws.append("the failure was told too often")
    return flaws


def settled(stage: Stage, state: Path, heard: Heard) -> bool:
    """Whether a running daemon has done and told all that there is to do and tell."""
    if heard.acknowledged == 0:
        return False
    uri = f"file:{state / _GALLERY}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as db:
            (ended,) = db.execute(
                "SELECT count(*) FROM jobs WHERE state <> 'pending'"
                " AND (told IS NULL OR told <> 'due')"
            ).fetchone()
            (newest,) = db.execute("SELECT max(seq) FROM outbox").fetchone()
    except sqlite3.Error:
        return False
    return bool(ended == len(stage.told) + 1 and newest == heard.acknowledged)


def visible(state: Path) -> set[str]:
    """Return the names that can be seen in the outputs directory."""
    outputs = state / "media/outputs"
    # A file system that is mounted there brings a directory of its own.
    names = {path.name for path in outputs.iterdir()} if outputs.exists() else set()
    return {name for name in names if name not in {".partial", "lost+found"}}


def _spoilt(stage: Stage, state: Path) -> Iterator[str]:
    for name in sorted(visible(state)):
        data = (state / "media/outputs" / name).read_bytes()
        whole = stage.files.get(name, b"")
        if whole is None:
            try:
                is_whole = json.loads(data) == WORDS
            except ValueError:
                is_whole = False
        else:
            is_whole = data == whole
        if not is_whole:
            yield name


@contextmanager
def _gallery(state: Path) -> Iterator[sqlite3.Connection | None]:
    """Open a copy of the gallery, since who opens one also recovers it."""
    with tempfile.TemporaryDirectory() as aside:
        for path in (state / "media").glob("gallery.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, aside)
        copy = Path(aside, "gallery.db")
        if not copy.exists() or not copy.stat().st_size:
            yield None
            return
        with closing(sqlite3.connect(copy)) as db:
            db.row_factory = sqlite3.Row
            yield db


def _promises(db: sqlite3.Connection, heard: Heard) -> list[str]:
    """What was told, and confirmed, is as it was told."""
    kept = {row["seq"]: _plain(row) for row in db.execute("SELECT * FROM outbox")}
    flaws = [
        f"update {seq} was told and is not as it was"
        for seq, payload in heard.updates
        if kept.get(seq) != payload
    ]
    place = db.execute("SELECT seq FROM consumers WHERE name = ?", (NAME,)).fetchone()
    if (place["seq"] if place else 0) < heard.acknowledged:
        flaws.append("an acknowledgement was forgotten")
    return flaws


def _rows(stage: Stage, db: sqlite3.Connection) -> list[str]:
    flaws = []
    (sound,) = db.execute("PRAGMA integrity_check").fetchone()
    if sound != "ok":
        flaws.append(f"the gallery is damaged: {sound}")
    names = [row["file_name"] for row in db.execute("SELECT file_name FROM items")]
    if sorted(names) != sorted(stage.files):
        flaws.append(f"the rows are {sorted(names)}")
    jobs = {row["job_id"]: row for row in db.execute("SELECT * FROM jobs")}
    states = {job_id: row["state"] for job_id, row in jobs.items()}
    if states != dict.fromkeys(stage.told, "done") | {FAILED: "failed"}:
        flaws.append(f"the jobs are {states}")
    if FAILED in jobs and jobs[FAILED]["told"] in {None, "due"}:
        flaws.append("the failure was not told")
    return flaws


def _updates(stage: Stage, db: sqlite3.Connection, heard: Heard) -> list[str]:
    flaws = []
    told = [_content(row) for row in db.execute("SELECT * FROM outbox ORDER BY seq")]
    if sorted(told) != sorted(stage.told.items()):
        flaws.append(f"the updates are {told}")
    kept = [row["seq"] for row in db.execute("SELECT seq FROM outbox ORDER BY seq")]
    if sorted({seq for seq, _ in heard.updates}) != kept:
        flaws.append(f"of {kept} the consumer heard {heard.updates}")
    return flaws


def _content(row: sqlite3.Row) -> tuple[str, tuple[str, ...]]:
    payload = json.loads(row["payload"])
    asset: dict[str, Any] = payload["asset"]
    if "text" in asset:
        return payload["jobId"], (asset["text"],)
    paths = asset.get("filePaths") or [asset["filePath"]]
    return payload["jobId"], tuple(Path(path).name for path in paths)


def _plain(row: sqlite3.Row) -> str:
    return json.dumps(json.loads(row["payload"]), sort_keys=True)
