"""The database of one state directory: one file, one thread, whole transactions.

Every commit is durable (`synchronous=FULL`): what was announced survives a power cut,
and its number is never given out again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from materializer.errors import GalleryUnusable

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA_VERSION = 1

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

        Raises:
            OSError: the disk did not play along.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread, lambda: do(self._db, *args, **kwargs)
            )
        except sqlite3.OperationalError as error:
            raise OSError(f"the gallery cannot be used: {error}") from error

    async def write(
        self,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `do` as one durable transaction: all of it happens, or nothing.

        Raises:
            OSError: the disk did not play along.
        """

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = do(db, *args, **kwargs)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

        return await self.read(transaction)

    async def close(self) -> None:
        """Finish what was handed in, then close the database."""
        await self.read(sqlite3.Connection.close)
        self._thread.shutdown()


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
