"""The database of one state directory: one file, one thread, whole transactions.

A commit is durable (`synchronous=FULL`): what was announced survives a power cut, and
its number is never given out again. Writes that come together share one. Only what
the feed says again anyway is noted without waiting for the disk.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from materializer.answers import Answers
from materializer.errors import GalleryUnusable
from materializer.gallery import repair, schema, search

P = ParamSpec("P")
T = TypeVar("T")

_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CORRUPT: errno.EIO,
    sqlite3.SQLITE_NOTADB: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.ENOENT,
}


class Gallery:
    """One connection, owned by one thread, so that no two tasks share a transaction.

    A transaction is a function whose first argument is the connection, and which may
    be run more than once before one run counts: on a file that turns out to be damaged
    it is run again when that was mended. Open with `Gallery.open`, close with `close`.

    Attributes:
        on_mended: called after the file was mended, in whatever thread.
    """

    def __init__(
        self, path: Path, outputs: Path, db: sqlite3.Connection, *, mend: bool
    ) -> None:
        self._path = path
        self._outputs = outputs
        self._db = db
        self._may_mend = mend
        self._is_damaged = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gallery")
        self._queue: deque[_Write] = deque()
        self._answers = Answers()
        self.on_mended: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, path: Path, outputs: Path, *, mend: bool = False) -> Gallery:
        """Open or create the database; `outputs` is the directory of its files.

        Args:
            path: of the database.
            outputs: absolute, or what the items' paths shall begin with.
            mend: whether a damaged one is mended, now or when that is found: only who
                holds the lock of the state directory may replace a file in it.

        Raises:
            GalleryUnusable: it cannot be read, or a newer version wrote it.
        """
        try:
            try:
                db = _connect(path, outputs)
            except repair.ERRORS as error:
                if not repair.is_damage(error):
                    raise
                if not mend:
                    raise GalleryUnusable(
                        f"the gallery {path} is damaged: stella-materializer run"
                        " repairs it"
                    ) from error
                repair.mend(path)
                db = _connect(path, outputs)
        except (sqlite3.Error, OSError) as error:
            raise GalleryUnusable(f"cannot read the gallery {path}: {error}") from error
        return cls(path, outputs, db, mend=mend)

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
                self._thread, self._read, lambda db: do(db, *args, **kwargs)
            )

    async def write(
        self,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `do` as a durable transaction: all of it happens, or nothing.

        Writes are made in the order of their calls. What waits while the disk is at
        work shares the next commit; where one of them raises, all are run again, each
        by itself.

        Raises:
            OSError: the disk did not play along.
        """
        return await self._hand_in(lambda db: do(db, *args, **kwargs), durable=True)

    async def note(
        self,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `do` as `write` does, but do not wait until it is durable.

        Later writes are not durable before it is. The end of the program does not undo
        it; a power cut may.

        Raises:
            OSError: the disk did not play along.
        """
        return await self._hand_in(lambda db: do(db, *args, **kwargs), durable=False)

    async def check(self) -> None:
        """Read the whole file beside all else; a damaged one is mended, or an error.

        Raises:
            OSError: the disk did not play along.
        """
        with _disk_errors():
            beside = await asyncio.to_thread(repair.open_to_read, self._path)
            try:
                sound = await asyncio.to_thread(repair.is_sound, beside)
            finally:
                with suppress(sqlite3.ProgrammingError):  # it is closed by now
                    beside.interrupt()
            if not sound:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, self._mend)

    async def close(self) -> None:
        """Finish what was handed in, then close the database."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, lambda: self._db.close())
        self._thread.shutdown()

    async def _hand_in(
        self, do: Callable[[sqlite3.Connection], T], *, durable: bool
    ) -> T:
        write = _Write(do, asyncio.get_running_loop().create_future(), durable)
        self._queue.append(write)
        if len(self._queue) == 1:  # else who comes for the first takes all
            self._thread.submit(self._commit_queued)
        with _disk_errors():
            return cast("T", await write.done)

    def _read(self, do: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return do(self._sound())
        except repair.ERRORS as error:
            if not repair.is_damage(error):
                raise
        self._mend()
        return do(self._db)

    def _commit_queued(self) -> None:
        group = []
        while self._queue:
            group.append(self._queue.popleft())
        if group:
            self._commit(group)
            for write in group:
                self._answers.give(write.done, write.result, write.error)

    def _commit(self, group: Sequence[_Write]) -> None:
        """Commit a group; what damage has thwarted, on the mended database."""
        thwarted = group
        try:
            _commit(self._sound(), group)
            thwarted = [write for write in group if repair.is_damage(write.error)]
            if thwarted:
                self._mend()
                _commit(self._db, thwarted)
        except (sqlite3.Error, OSError) as error:
            for write in thwarted:
                write.error = error

    def _sound(self) -> sqlite3.Connection:
        if self._is_damaged:  # and could not be mended then
            self._mend()
        return self._db

    def _mend(self) -> None:
        if not self._may_mend:
            raise OSError(errno.EIO, "the gallery cannot be used: it is damaged")
        self._is_damaged = True
        self._db.close()
        repair.mend(self._path)
        self._db = _connect(self._path, self._outputs)
        self._is_damaged = False
        self.on_mended()


@dataclass(slots=True, eq=False)
class _Write:
    """A function that waits for its turn; later, what has come of it."""

    do: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    durable: bool
    result: Any = None
    error: BaseException | None = None


def _commit(db: sqlite3.Connection, group: Sequence[_Write]) -> None:
    """Run all of a group as one transaction; if that fails, each as one of its own."""
    durable = any(write.durable for write in group)
    try:
        if not durable:
            db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        for write in group:
            write.result, write.error = write.do(db), None
        db.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 -- its caller gets it
        if db.in_transaction:  # a disk that fails can have ended it
            db.execute("ROLLBACK")
        if len(group) == 1:
            group[0].error = error
        else:
            for write in group:
                _commit(db, [write])
    finally:
        if not durable:
            db.execute("PRAGMA synchronous = FULL")


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


def _connect(path: Path, outputs: Path) -> sqlite3.Connection:
    """Open a database and bring it to this version.

    Raises:
        GalleryUnusable: a newer version made it.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        db.row_factory = sqlite3.Row
        _tell_where(db, "path_of", outputs)
        _tell_where(db, "thumbnail_of", outputs.with_name("thumbnails"))
        db.execute("PRAGMA busy_timeout = 5000")
        schema.require_known(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA temp_store = MEMORY")  # never a file outside the state
        schema.migrate(db)
        search.prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _tell_where(db: sqlite3.Connection, function: str, directory: Path) -> None:
    beginning = f"{directory}{os.sep}"  # a page has 500 paths, which pathlib feels
    db.create_function(
        function, 1, lambda name: f"{beginning}{name}", deterministic=True
    )
