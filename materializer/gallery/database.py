"""The database of one state directory: one file, one thread, whole transactions.

Every commit is durable (`synchronous=FULL`): what was announced survives a power cut,
and its number is never given out again. Writes that come together share one.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from materializer.errors import GalleryUnusable

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA_VERSION = 1

_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CORRUPT: errno.EIO,
    sqlite3.SQLITE_NOTADB: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.ENOENT,
}

_SCHEMA = """
CREATE TABLE jobs (
  owner TEXT NOT NULL,
  job_id TEXT NOT NULL,
  deployment TEXT NOT NULL,
  stem TEXT NOT NULL UNIQUE COLLATE NOCASE,
  status TEXT NOT NULL,
  state TEXT NOT NULL,
  action TEXT NOT NULL,
  capability TEXT NOT NULL,
  profile TEXT,
  prompt TEXT,
  aspect_ratio TEXT,
  created_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt_at INTEGER,
  error_code TEXT,
  error TEXT,
  told TEXT,
  PRIMARY KEY (owner, job_id)
);
CREATE INDEX jobs_by_completion ON jobs (owner, finished_at);
CREATE INDEX jobs_open ON jobs (owner, finished_at) WHERE state = 'pending';
CREATE INDEX jobs_to_tell ON jobs (owner) WHERE told = 'due';
CREATE TABLE items (
  owner TEXT NOT NULL,
  job_id TEXT NOT NULL,
  idx INTEGER NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  file_name TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  width INTEGER,
  height INTEGER,
  duration_ms INTEGER,
  label TEXT,
  text TEXT,
  companion INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  saved_at INTEGER NOT NULL,
  PRIMARY KEY (owner, job_id, idx)
);
CREATE INDEX items_newest ON items (owner, created_at DESC, id) WHERE companion = 0;
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL,
  action TEXT NOT NULL,
  payload TEXT NOT NULL
);
CREATE TABLE consumers (
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (name, owner)
);
CREATE TABLE cursors (
  deployment TEXT NOT NULL,
  owner TEXT NOT NULL,
  query TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (deployment, owner, query)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Gallery:
    """One connection, owned by one thread, so that no two tasks share a transaction.

    A transaction is a function whose first argument is the connection. Open with
    `Gallery.open`, close with `close`.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gallery")
        self._queue: deque[_Write] = deque()

    @classmethod
    def open(cls, path: Path, outputs: Path) -> Gallery:
        """Open or create the database; `outputs` is the directory of its files.

        Raises:
            GalleryUnusable: it cannot be read, or a newer version wrote it.
        """
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise GalleryUnusable(f"cannot open the gallery {path}: {error}") from error
        try:
            path.chmod(0o600)
            db.row_factory = sqlite3.Row
            db.create_function(
                "path_of", 1, lambda name: str(outputs / name), deterministic=True
            )
            _prepare(db, path)
        except (sqlite3.Error, OSError) as error:
            db.close()
            raise GalleryUnusable(f"cannot read the gallery {path}: {error}") from error
        except GalleryUnusable:
            db.close()
            raise
        return cls(db)

    async def read(
        self,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `do` on the gallery's thread and return what it returns.

        It sees every write that was asked for before.

        Raises:
            OSError: the disk did not play along.
        """
        loop = asyncio.get_running_loop()
        with _disk_errors():
            return await loop.run_in_executor(
                self._thread, lambda: do(self._db, *args, **kwargs)
            )

    async def write(
        self,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `do` as a durable transaction: all of it happens, or nothing.

        Writes are made in the order of their calls. What waits while the disk is at
        work shares the next commit; one that raises takes nothing else along.

        Raises:
            OSError: the disk did not play along.
        """
        loop = asyncio.get_running_loop()
        write = _Write(lambda db: do(db, *args, **kwargs), loop.create_future())
        self._queue.append(write)
        if len(self._queue) == 1:  # else who comes for the first takes all
            self._thread.submit(self._commit_queued)
        with _disk_errors():
            result: T = await write.done
        return result

    async def close(self) -> None:
        """Finish what was handed in, then close the database."""
        await self.read(sqlite3.Connection.close)
        self._thread.shutdown()

    def _commit_queued(self) -> None:
        group = []
        while self._queue:
            group.append(self._queue.popleft())
        if group:
            _commit(self._db, group)
            with suppress(RuntimeError):  # a loop that has ended waits for no answer
                group[0].done.get_loop().call_soon_threadsafe(_answer, group)


@dataclass(slots=True, eq=False)
class _Write:
    """A function that waits for its turn; later, what has come of it."""

    do: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


def _commit(db: sqlite3.Connection, group: Sequence[_Write]) -> None:
    """Run all of a group as one transaction, each under a savepoint of its own."""
    try:
        db.execute("BEGIN IMMEDIATE")
        for write in group:
            _try(db, write)
        db.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 -- every caller gets it
        if db.in_transaction:
            db.execute("ROLLBACK")
        for write in group:
            write.error = write.error or error


def _try(db: sqlite3.Connection, write: _Write) -> None:
    db.execute("SAVEPOINT one")
    try:
        write.result = write.do(db)
    except BaseException as error:
        if not db.in_transaction:  # a disk that fails can undo the others as well
            raise
        db.execute("ROLLBACK TO one")
        write.error = error
    db.execute("RELEASE one")


def _answer(group: Sequence[_Write]) -> None:
    for write in group:
        if write.done.cancelled():
            continue
        if write.error is not None:
            write.done.set_exception(write.error)
        else:
            write.done.set_result(write.result)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        number = _ERRNO.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        say = f"the gallery cannot be used: {error}"
        if number is not None:
            raise OSError(number, say) from error
        if isinstance(error, sqlite3.OperationalError):
            raise OSError(say) from error
        raise


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA busy_timeout = 5000")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise GalleryUnusable(
            f"the gallery {path} was written by a newer version (schema {version}, this"
            f" one knows {SCHEMA_VERSION}): update Stella Materializer"
        )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if version == 0:
        db.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
