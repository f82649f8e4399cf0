"""What the embedded backend remembers over a restart: SQLite, on a thread.

Everything is done in the order of the calls, so what is read is as it was last written.
A process that is killed loses nothing that was `written`; a computer that loses its
power may lose the last seconds.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import UserDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter

from materializer.devserver.catalog import Order
from materializer.devserver.deployment import Row
from materializer.errors import SettingsInvalid

_VERSION = 1
_TABLES = f"""
BEGIN;
CREATE TABLE jobs (job_id TEXT PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE orders (job_id TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE objects (
  name TEXT PRIMARY KEY, mime_type TEXT NOT NULL, data BLOB NOT NULL
);
CREATE TABLE spoken (digest TEXT PRIMARY KEY, words TEXT NOT NULL);
CREATE TABLE place (port INTEGER NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_ROW, _ORDER = TypeAdapter(Row), TypeAdapter(Order)

T = TypeVar("T")
log = logging.getLogger(__name__)


class Memory:
    """One file of one backend, to be used as an async context manager.

    What cannot be written is logged, and gone.

    Attributes:
        rows: the jobs, as they were when this was entered.
        orders: by job id, those of them that had not been carried out.
        port: where the backend listened last; 0 the first time.
        spoken: scripts of dialogues by the SHA-256 of their sound; what is added is
            remembered.

    Raises:
        SettingsInvalid: on entering: the file is not ours, or another backend has it.
    """

    rows: list[Row]
    orders: dict[str, Order]
    port: int
    spoken: UserDict[str, str]

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory")

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wrap_future(self._thread.submit(self._open))
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what was handed over, and close the file."""
        await asyncio.wrap_future(self._thread.submit(self._db.close))
        self._thread.shutdown()

    def keep_row(self, row: Row) -> None:
        """Remember a job as it is now; the order of one that has ended is done."""

        def keep(db: sqlite3.Connection) -> None:
            written = _ROW.dump_json(row).decode()
            db.execute("REPLACE INTO jobs VALUES (?, ?)", (row.job_id, written))
            if row.completed_at is not None:
                db.execute("DELETE FROM orders WHERE job_id = ?", (row.job_id,))

        self._write(keep)

    def keep_order(self, job_id: str, order: Order) -> None:
        """Remember what is to be carried out for a job that is about to be queued."""
        self._write(
            lambda db: db.execute(
                "REPLACE INTO orders VALUES (?, ?)",
                (job_id, _ORDER.dump_json(order).decode()),
            )
        )

    def keep_object(self, name: str, data: bytes, mime_type: str) -> None:
        """Remember a stored object, in the place of one that has this name."""
        values = (name, mime_type, data)
        self._write(
            lambda db: db.execute("REPLACE INTO objects VALUES (?, ?, ?)", values)
        )

    def keep_port(self, port: int) -> None:
        """Remember where the backend listens."""

        def keep(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM place")
            db.execute("INSERT INTO place VALUES (?)", (port,))

        self._write(keep)

    async def fetch(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and media type, if there is one of this name."""
        query = "SELECT data, mime_type FROM objects WHERE name = ?"
        found = self._do(lambda db: db.execute(query, (name,)).fetchone())
        return await asyncio.wrap_future(found)

    async def written(self) -> None:
        """Return when all that was handed over so far is in the file."""
        await asyncio.wrap_future(self._do(lambda _: None))

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        self._do(work).add_done_callback(_tell)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        def transaction() -> T:
            with self._db:
                return work(self._db)

        return self._thread.submit(transaction)

    def _open(self) -> None:
        try:
            self._db = _connect(self._path)
            try:
                self._recall()
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, ValueError) as error:
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            why = "another backend is using it" if busy else "it cannot be read"
            raise SettingsInvalid(
                f"the backend's memory {self._path} cannot be used: {why}; name"
                " another directory with --state"
            ) from error

    def _recall(self) -> None:
        def all_of(query: str) -> list[Any]:
            return self._db.execute(query).fetchall()

        self.rows = [
            _ROW.validate_json(row) for (row,) in all_of("SELECT row FROM jobs")
        ]
        # An order without its job is one that was never accepted.
        wanted = all_of("SELECT job_id, content FROM orders JOIN jobs USING (job_id)")
        self.orders = {job_id: _ORDER.validate_json(order) for job_id, order in wanted}
        self.port = next((port for (port,) in all_of("SELECT port FROM place")), 0)
        self.spoken = _Spoken(self._write, dict(all_of("SELECT * FROM spoken")))


class _Spoken(UserDict[str, str]):
    """A mapping whose additions are written."""

    def __init__(
        self,
        write: Callable[[Callable[[sqlite3.Connection], object]], None],
        known: dict[str, str],
    ) -> None:
        super().__init__()
        self.data |= known
        self._write = write

    def __setitem__(self, digest: str, words: str) -> None:
        super().__setitem__(digest, words)
        said = (digest, words)
        self._write(lambda db: db.execute("REPLACE INTO spoken VALUES (?, ?)", said))


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        path.chmod(0o600)
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    # So that of two backends in one directory the second is told.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise ValueError(f"version {version}")
    if version == 0:
        db.executescript(_TABLES)


def _tell(write: Future[Any]) -> None:
    if (error := write.exception()) is not None:
        log.error("The backend's memory could not be written", exc_info=error)
