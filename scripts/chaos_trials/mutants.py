"""Mistakes that the trials must find: each is put into a daemon before it runs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from materializer.fetch import partial
from materializer.gallery import database, ledger
from materializer.model import Account, Query
from materializer.place.directory import Directory
from materializer.place.files import Files
from materializer.place.group import GroupCommit, Step
from materializer.place.places import Places
from materializer.plan import OVERLAP_MS

_LATE = 0.05  # seconds
_MUCH_LATER = 0.5


def reboot() -> None:
    """Let the computer seem to be started anew, as it is after a power cut."""
    _put(partial, "_boot", lambda: "another")


def no_file_fsync() -> None:
    """Rename what may still be in memory only."""
    _put(Directory, "sync_file", lambda *_: None)
    _put(partial.Partial, "finish", lambda _: None)


def no_directory_fsync() -> None:
    """Enter a file whose name may still be in memory only."""
    _put(Directory, "sync", lambda _: None)


def row_before_rename() -> None:
    """Enter a file that gets its name a moment later."""

    async def make(self: GroupCommit, prepare: Step | None, put: Step) -> None:
        def later() -> None:
            threading.Event().wait(_LATE)
            put()
            self._sync()

        if prepare is not None:
            await asyncio.to_thread(prepare)
        threading.Thread(target=later).start()

    _put(GroupCommit, "make", make)


def write_in_place() -> None:
    """Gather bytes under the name that the file is going to have."""

    def part(self: Places, stem: str, index: int) -> Path:
        return self.outputs / f"{stem}_{index}.bin"

    def rename(self: Files, part: str, name: str) -> None:
        outputs = self._outputs()
        outputs.move(part, outputs, name)
        outputs.unlink(f"{part}.json")

    _put(Places, "part", part)
    _put(Files, "rename", rename)
    _put(Files, "sync_part", lambda self, name: self.sync_output(name))


def announce_before_commit() -> None:
    """Say that it is entered, and commit a moment later."""
    late = database.Gallery._commit_queued  # noqa: SLF001 -- it is what goes wrong

    def group(db: sqlite3.Connection, writes: Sequence[Any]) -> None:
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        for write in writes:
            write.result = write.do(db)

    def commit_queued(self: database.Gallery) -> None:
        late(self)

        def commit() -> None:
            if self._db.in_transaction:
                self._db.execute("COMMIT")

        timer = threading.Timer(_LATE, lambda: self._thread.submit(commit))
        timer.daemon = True
        timer.start()

    _put(database, "_commit", group)
    _put(database.Gallery, "_commit_queued", commit_queued)


def cursor_before_settle() -> None:
    """Ask the feed for what is newer before what is older is entered."""
    right = ledger.take_up

    def take_up(db: sqlite3.Connection, account: Account, *seen: Any) -> Any:
        reached: Mapping[Query, int] = seen[-1]
        for query, newest in reached.items():
            db.execute(
                "UPDATE cursors SET since = ? WHERE owner = ? AND query = ?",
                (newest - OVERLAP_MS, account.owner, query),
            )
        db.execute("COMMIT")
        threading.Event().wait(_MUCH_LATER)
        db.execute("BEGIN IMMEDIATE")
        return right(db, account, *seen)

    _put(ledger, "take_up", take_up)


def nothing_is_durable() -> None:
    """Leave what was entered to the system, to write when it likes."""
    _put(database.Gallery, "write", database.Gallery.note)


def _put(where: object, name: str, wrong: Callable[..., Any]) -> None:
    getattr(where, name)  # a mistake in what is no longer there is none
    setattr(where, name, wrong)


MUTANTS: Mapping[str, Callable[[], None]] = {
    "no file fsync": no_file_fsync,
    "no directory fsync": no_directory_fsync,
    "row before rename": row_before_rename,
    "write in place": write_in_place,
    "announce before commit": announce_before_commit,
    "cursor before settle": cursor_before_settle,
    "nothing is durable": nothing_is_durable,
}
