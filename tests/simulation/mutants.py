"""The program with one promise taken out: what the simulation must not let pass.

Each is a context in which a house is built, that behaves as if its author had not known
of the promise.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from materializer.announce import Announcer
from materializer.fetch.partial import Note, Partial
from materializer.gallery import Gallery, files, ledger, outbox
from materializer.notices import Notices
from materializer.place import Places
from materializer.place.directory import Directory
from materializer.place.files import Files
from materializer.plan import OVERLAP_MS

Mutant = Callable[[], AbstractContextManager[object]]


def _nothing(*_: object) -> None:
    """Do nothing."""


@contextmanager
def no_file_fsync() -> Iterator[None]:
    """The bytes of a file are left to the system's mercy."""
    with ExitStack() as into:
        into.enter_context(patch.object(Partial, "finish", _nothing))
        into.enter_context(patch.object(Directory, "sync_file", _nothing))
        yield


def no_directory_fsync() -> AbstractContextManager[object]:
    """And so are the names."""
    return patch.object(Directory, "sync", _nothing)


def resume_from_holes() -> AbstractContextManager[object]:
    """After a power cut a part file is gone on with as if all of it were there."""

    def trusted(note: Note, there: int) -> int:
        return max(0, min(there, (note.body.total or 0) - 1))

    return patch("materializer.fetch.partial._trusted", trusted)


def row_before_rename() -> AbstractContextManager[object]:
    """A file is entered before it has its name."""
    commit = Places.commit

    async def hasty(
        self: Places, part: Path, name: str, *, synced: bool = False
    ) -> Path:
        async def later() -> None:
            await asyncio.sleep(0.5)
            await commit(self, part, name, synced=synced)

        task = asyncio.get_running_loop().create_task(later())
        _kept.append(task)
        return self.outputs / name

    return patch.object(Places, "commit", hasty)


_kept: list[asyncio.Task[None]] = []


def write_in_place() -> AbstractContextManager[object]:
    """A file is written under its own name."""

    def copy(self: Files, part: str, name: str) -> None:
        outputs, partial = self._directories()
        data = (partial.path / part).read_bytes()
        file = outputs.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(file, data[:10])
            os.write(file, data[10:])
            os.fsync(file)
        finally:
            os.close(file)
        partial.unlink(part)
        partial.unlink(f"{part}.json")

    return patch.object(Files, "rename", copy)


def announce_before_commit() -> AbstractContextManager[object]:
    """An announcement is out before what it announces is entered."""
    write = Gallery.write

    async def hasty(self: Gallery, do: Any, *args: Any, **kwargs: Any) -> Any:
        if do is ledger.settle:
            account, settlement = args[:2]
            for payload in settlement.payloads:
                await write(
                    self, outbox.append, account.owner, settlement.action, payload
                )
            await asyncio.sleep(0)
        return await write(self, do, *args, **kwargs)

    return patch.object(Gallery, "write", hasty)


def cursor_before_settle() -> AbstractContextManager[object]:
    """The feed is asked from a completion on before what came until then is known."""
    write, note = Gallery.write, Gallery.note

    def move(db: Any, account: Any, reached: Any) -> None:
        for query, at in reached.items():
            db.execute(
                "UPDATE cursors SET since = max(since, ?) WHERE owner = ?"
                " AND deployment = ? AND query = ?",
                (at, account.owner, account.deployment, query),
            )

    async def hasty(self: Gallery, do: Any, *args: Any, **kwargs: Any) -> Any:
        if do is ledger.take_up:
            await write(self, move, args[0], args[-1])
        return await note(self, do, *args, **kwargs)

    return patch.object(Gallery, "note", hasty)


def nothing_is_durable() -> AbstractContextManager[object]:
    """All is noted, and nothing waits for the disk."""
    return patch.object(Gallery, "write", Gallery.note)


def told_before_shown() -> AbstractContextManager[object]:
    """A failure counts as told before anybody has seen it."""
    tell = Notices._tell

    async def hasty(self: Notices, owner: str, records: Any, in_all: int) -> None:
        ids = [record.job.job_id for record in records]
        await self._gallery.write(ledger.told, owner, ids, "shown")
        await tell(self, owner, records, in_all)

    return patch.object(Notices, "_tell", hasty)


def never_acknowledged() -> AbstractContextManager[object]:
    """What a consumer acknowledges is forgotten."""

    async def forgetful(self: Announcer, consumer: str, seq: int) -> int:
        return seq

    return patch.object(Announcer, "acknowledge", forgetful)


def told_until_entered() -> AbstractContextManager[object]:
    """A failure is shown at each look, until the disk lets it be entered."""

    async def forgetful(*_: object) -> bool:
        return False

    return patch.object(Notices, "_was_shown", forgetful)


def told_to_anybody() -> AbstractContextManager[object]:
    """Whoever is signed in hears of all accounts."""
    after = outbox.after

    def all_after(db: Any, _: str | None, seq: int, limit: int) -> list[Any]:
        owners = [row["owner"] for row in db.execute("SELECT owner FROM outbox")]
        found = [one for owner in {*owners} for one in after(db, owner, seq, limit)]
        return sorted(found, key=lambda one: one.seq)[:limit]

    return patch.object(outbox, "after", all_after)


def removed_and_forgotten() -> AbstractContextManager[object]:
    """An item that the person removed leaves no trace, so that it comes back."""
    remove = files.remove

    def forget(db: Any, owner: str, item_id: str, now: int) -> bool:
        removed = remove(db, owner, item_id, now)
        job_id = item_id.rpartition("_")[0]
        for table in ("items", "jobs"):
            db.execute(
                f"DELETE FROM {table} WHERE owner = ? AND job_id = ?",  # noqa: S608
                (owner, job_id),
            )
        return removed

    return patch.object(files, "remove", forget)


def cursor_by_the_clock() -> AbstractContextManager[object]:
    """The feed is asked from the computer's own now on."""
    cursors = ledger.cursors

    def now(db: Any, account: Any, *, first: int) -> dict[Any, int]:
        asked = cursors(db, account, first=first)
        return dict.fromkeys(asked, int(time.time() * 1000) - OVERLAP_MS)

    return patch.object(ledger, "cursors", now)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        no_file_fsync,
        no_directory_fsync,
        resume_from_holes,
        row_before_rename,
        write_in_place,
        announce_before_commit,
        cursor_before_settle,
        nothing_is_durable,
        told_before_shown,
        told_until_entered,
        told_to_anybody,
        removed_and_forgotten,
        cursor_by_the_clock,
        never_acknowledged,
    )
}
