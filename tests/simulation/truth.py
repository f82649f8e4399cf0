"""What must be true, of one moment or of all that has happened."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materializer.errors import DiskTrouble
from simulation.cloud import Cloud, Job
from simulation.world import Violation, World

if TYPE_CHECKING:
    from simulation.people import Consumer

_MOST_ATTEMPTS = 14
_SEVERAL = re.compile(r"([0-9]+) (more )?jobs failed")
_OF_NO_JOB = {"Saving media is paused", "Stella sign-in needed"}
_NAME = re.compile(r"(j[0-9]+)_([0-9]+)\.png")


@dataclass(frozen=True)
class Shown:
    """A note to the person."""

    title: str
    body: str


class Truth:
    """The promises, as checks.

    Attributes:
        broken: what was found broken by a call from within the process, which must not
            take that for an error of its own.
        unwanted: the names of files that the person did away with.
    """

    def __init__(self, world: World, cloud: Cloud, outputs: Path) -> None:
        self._world = world
        self._cloud = cloud
        self._outputs = outputs
        self.broken: list[str] = []
        self.unwanted: set[str] = set()
        self._removed: set[tuple[str, str]] = set()
        self._told_again = Counter[str]()

    def require_whole(self, path: str) -> None:
        """Take note if what became visible under a name is not all of its output."""
        if path.startswith("."):
            return
        data = (self._outputs / path).read_bytes()
        if data != self._right(path):
            self.broken.append(f"{path} is visible with {len(data)} wrong bytes")
            self._world.die()

    def require_there(self, payload: dict[str, Any]) -> None:
        """Raise Violation unless what is announced can be looked at."""
        for path in payload["asset"]["filePaths"]:
            name = Path(path).name
            there = Path(path).exists() or name in self.unwanted
            if not there:
                raise Violation(f"{name} was announced and is not there")

    async def removing(self, owner: str, item_id: str, work: Awaitable[bool]) -> None:
        """Do away with an item, which a person may have to ask for again."""
        try:
            if await work:
                self._removed.add((owner, item_id))
        except DiskTrouble:
            return

    def items(self, database: Path) -> list[tuple[str, str, list[str]]]:
        """Return the items that there are: owner, id, names of their files."""
        with _rows(database) as db:
            rows = db.execute(
                "SELECT owner, id, file_name FROM items WHERE removed_at IS NULL"
            )
            return [(owner, item_id, [name]) for owner, item_id, name in rows]

    def note_end(self, database: Path, notes: Sequence[Shown]) -> None:
        """Excuse those notes that a life was too short for to be entered."""
        with _rows(database) as db:
            due = [
                job
                for (job,) in db.execute("SELECT job_id FROM jobs WHERE told = 'due'")
            ]
        for job_id in due:
            self._told_again[job_id] += bool(_about(notes, job_id))

    def check_rows_stand(self, database: Path) -> None:
        """What the gallery says is there, is there after any death."""
        for _, _, names in self.items(database):
            for name in names:
                if not (self._outputs / name).exists() and name not in self.unwanted:
                    raise Violation(f"{name} has a row and is lost")

    def check_all(self, database: Path, notes: Sequence[Shown], deaths: int) -> None:
        """At the end: nothing lost, nothing twice, all told, nothing left over."""
        with _rows(database) as db:
            jobs = {row["job_id"]: row for row in db.execute("SELECT * FROM jobs")}
            items = Counter(
                row["file_name"] for row in db.execute("SELECT * FROM items")
            )
            updates = Counter(
                row["job"]
                for row in db.execute(
                    "SELECT json_extract(payload, '$.jobId') AS job FROM outbox"
                    " WHERE action <> 'remove'"
                )
            )
        self.check_rows_stand(database)
        for owner, item_id, _ in self.items(database):
            if (owner, item_id) in self._removed:
                raise Violation(f"{item_id} was removed and is back")
        for job in self._cloud.jobs.values():
            row = jobs.get(job.id)
            if row is None:
                raise Violation(f"{job.id} was never known")
            self._check_job(job, row, items, updates[job.id])
            self._check_notes(job, row, notes)
            self._check_patience(job, row, deaths)
        self._check_files(items)
        self._check_note_count(jobs, notes)

    def check_told(self, database: Path, consumer: Consumer) -> None:
        """A consumer was told of everything since it first asked."""
        with _rows(database) as db:
            rows = db.execute("SELECT seq, owner FROM outbox").fetchall()
        for row in rows:
            begun = consumer.begun.get(row["owner"])
            late = begun is not None and row["seq"] > begun
            if late and row["seq"] not in consumer.shown:
                raise Violation(f"{consumer.name} was never told of {row['seq']}")

    def _check_job(
        self, job: Job, row: sqlite3.Row, items: Counter[str], updates: int
    ) -> None:
        expected = "done" if job.succeeded and not job.refused else "failed"
        if row["state"] != expected:
            raise Violation(f"{job.id} is {row['state']} and not {expected}")
        names = {f"{job.id}_{i}.png" for i in range(len(job.files))}
        names -= {f"{job.id}_{i}.png" for i in job.refused}
        for name in sorted(names):
            if items[name] != 1:
                raise Violation(f"{name} has {items[name]} rows")
            if name in self.unwanted:
                continue
            if not (self._outputs / name).exists():
                raise Violation(f"{name} is lost")
        wanted = bool(names)
        if updates > wanted or (updates < wanted and not names & self.unwanted):
            raise Violation(f"{job.id} was announced {updates} times")

    def _check_notes(self, job: Job, row: sqlite3.Row, notes: Sequence[Shown]) -> None:
        tell = bool(job.refused) or not (job.succeeded or job.canceled)
        if tell != (row["told"] is not None) or row["told"] == "due":
            raise Violation(f"{job.id} was told: {row['told']}")
        about = _about(notes, job.id)
        if len(about) > 1 + self._told_again[job.id]:
            raise Violation(f"{job.id} was told {len(about)} times")
        if job.error and tell and not about and not _SEVERAL.search(_titles(notes)):
            raise Violation(f"{job.id} was never told")

    def _check_note_count(
        self, jobs: dict[str, sqlite3.Row], notes: Sequence[Shown]
    ) -> None:
        due = sum(row["told"] is not None for row in jobs.values())
        told = 0
        for note in notes:
            several = _SEVERAL.match(note.title)
            told += int(several[1]) if several else note.title not in _OF_NO_JOB
        if told < due:
            raise Violation(f"{due} failures were told as {told}")

    def _check_patience(self, job: Job, row: sqlite3.Row, deaths: int) -> None:
        if row["attempts"] > _MOST_ATTEMPTS:
            raise Violation(f"{job.id} was tried {row['attempts']} times")
        # What the disk's trouble cuts short is no attempt, and is made again.
        tries = row["attempts"] + deaths + self._world.disk_errors + 1
        for index, asked in job.asked.items():
            if asked > 4 * tries:
                raise Violation(f"{job.id}_{index} was asked for {asked} times")

    def _check_files(self, items: Counter[str]) -> None:
        for path in self._outputs.rglob("*"):
            if path.is_dir():
                continue
            if path.parent != self._outputs:
                raise Violation(f"{path.name} is left over")
            if path.read_bytes() != self._right(path.name):
                raise Violation(f"{path.name} is not what it should be")
            if path.name not in items:
                raise Violation(f"{path.name} has no row")

    def _right(self, name: str) -> bytes | None:
        match = _NAME.fullmatch(name)
        job = self._cloud.jobs.get(match[1]) if match else None
        return job.files[int(match[2])] if match and job else None


def _about(notes: Sequence[Shown], job_id: str) -> list[Shown]:
    return [
        note
        for note in notes
        if f"boom {job_id}." in note.body and not _SEVERAL.match(note.title)
    ]


def _titles(notes: Sequence[Shown]) -> str:
    return "\n".join(note.title for note in notes)


@contextmanager
def _rows(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.Connection(database)) as db:
        db.row_factory = sqlite3.Row
        yield db
