"""A damaged database: set aside, and what can still be read of it kept.

It is lost with nothing else: the files are in the outputs directory, and what the feed
shows it shows again. Only what the person removed, and what consumers acknowledged,
stands nowhere else.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from materializer.gallery import schema, search
from materializer.plan import OVERLAP_MS

log = logging.getLogger(__name__)

# The second where SQLite's words quote what was a name and is no text any more.
ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# SQLite's words, and Python's, for damage that has no code.
_NO_CODE = (
    "unsupported file format",
    "invalid fts5 file format",
    "Could not decode to UTF-8",
    "user-defined function raised exception",  # ours take any text
)
_OWN = {"tallies", "search"}  # made of the others
_FITS: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "TEXT": (str,)}


def is_damage(error: BaseException | None) -> bool:
    """Whether an error says that the file is not what SQLite wrote."""
    if not isinstance(error, sqlite3.DatabaseError):
        return isinstance(error, UnicodeDecodeError)
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE or str(error).startswith(_NO_CODE)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that somebody else may be using, for any thread."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def is_sound(db: sqlite3.Connection) -> bool:
    """Read a whole database, say whether it is undamaged, and close it.

    Raises:
        sqlite3.Error: it cannot be read for another reason.
    """
    with closing(db):
        try:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            return bool(found == "ok") and _is_as_made(db)
        except ERRORS as error:
            if is_damage(error):
                return False
            raise


def _is_as_made(db: sqlite3.Connection) -> bool:
    """Whether nothing was renamed: SQLite takes any words that fit for sound."""
    has = schema.made_of(db)
    return all(has.get(name) == sql for name, sql in _as_made().items())


@cache
def _as_made() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        schema.migrate(new)
        search.prepare(new)
        return schema.made_of(new)


def mend(path: Path) -> None:
    """Put a sound database in the place of a damaged one, which nobody may use now.

    It has every row that could be read, and two facts: that the person is to be told,
    and that what is in the outputs directory is to be entered again.

    Raises:
        OSError: a file could not be moved; then nothing has changed.
        sqlite3.Error: a new one could not be written; then nothing has changed.
    """
    made = path.with_name(f"{path.name}.mending")
    for left in (made, _beside(made, "-journal")):
        left.unlink(missing_ok=True)
    made.touch(0o600)
    aside = _aside(path)
    with closing(sqlite3.connect(made, isolation_level=None)) as db:
        kept = _fill(db, path, aside.name)
    # The log goes first: it must never be beside a file that it does not belong to.
    with suppress(FileNotFoundError):
        _beside(path, "-wal").rename(_beside(aside, "-wal"))
    _beside(path, "-shm").unlink(missing_ok=True)
    path.rename(aside)
    made.rename(path)
    log.error(
        "the gallery %s was damaged; it is kept as %s, and %d rows of it were saved",
        path,
        aside.name,
        kept,
    )


def note(db: sqlite3.Connection) -> str | None:
    """Return what a person must still be told of a repair: the damaged file's name."""
    return _fact(db, "damaged")


def noted(db: sqlite3.Connection) -> None:
    """Record that the person was told."""
    db.execute("DELETE FROM facts WHERE name = 'damaged'")


def must_fill(db: sqlite3.Connection) -> bool:
    """Whether the files are still to be entered again, after a repair."""
    return _fact(db, "to_fill") is not None


def filled(db: sqlite3.Connection) -> None:
    """Record that the files were entered again."""
    db.execute("DELETE FROM facts WHERE name = 'to_fill'")


def first_asked(db: sqlite3.Connection, first: int) -> int:
    """Return from when on a query is asked that has no cursor: `first`, in ms.

    The first time after a repair it may be earlier: from the last word of the damaged
    file on, since nothing can have been entered after it.
    """
    last = _fact(db, "last_word")
    db.execute("DELETE FROM facts WHERE name = 'last_word'")
    return first if last is None else min(first, int(last) - OVERLAP_MS)


def _fill(db: sqlite3.Connection, damaged: Path, name: str) -> int:
    """Write what can be read of a damaged database; return the number of rows."""
    now = time.time_ns() // 1_000_000
    with closing(open_to_read(damaged)) as old:
        old.text_factory = _text
        schema.migrate(db, _version(old))
        with schema.transaction(db):
            kept = sum(_copy(old, db, table) for table in _tables(db))
    schema.migrate(db)
    with schema.transaction(db):
        db.execute(
            "DELETE FROM items"
            " WHERE (owner, job_id) NOT IN (SELECT owner, job_id FROM jobs)"
        )
        # A number that was given out never comes again, even if its update is lost.
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
        db.execute("INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (now,))
        db.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)",
            [("damaged", name), ("to_fill", ""), ("last_word", _last_word(damaged))],
        )
    search.prepare(db)
    return kept


def _copy(old: sqlite3.Connection, db: sqlite3.Connection, table: str) -> int:
    types = {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table})")}
    kinds = [(*_FITS[type_], type(None)) for type_ in types.values()]
    marks = ", ".join("?" * len(types))
    kept = 0
    for row in _rows(old, table, ", ".join(types)):
        if all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)):
            with suppress(sqlite3.IntegrityError):  # which is damage, too
                kept += db.execute(
                    f"INSERT INTO {table} ({', '.join(types)}) VALUES ({marks})"  # noqa: S608 -- ours
                    " ON CONFLICT DO NOTHING",
                    row,
                ).rowcount
    return kept


def _text(data: bytes) -> str | bytes:
    """Return a text, or what was one, which fits nowhere."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _rows(
    old: sqlite3.Connection, table: str, columns: str
) -> Iterator[tuple[object, ...]]:
    """Read up to the damage, and then from the other end, which may repeat some."""
    for order in ("", " ORDER BY rowid DESC"):
        try:
            yield from old.execute(f"SELECT {columns} FROM {table} NOT INDEXED{order}")  # noqa: S608 -- ours
        except ERRORS as error:
            log.info("%s can be read in part: %s", table, error)
        else:
            return


def _tables(db: sqlite3.Connection) -> list[str]:
    rows = db.execute(
        "SELECT name FROM sqlite_schema"
        " WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return [name for (name,) in rows if name not in _OWN]


def _version(old: sqlite3.Connection) -> int:
    """Return the version whose tables are to be read, whatever number it has."""
    if built := schema.built(old):
        return built
    try:
        said = schema.version(old)
    except ERRORS:
        said = 0
    return said if 0 < said < len(schema.STEPS) else len(schema.STEPS)


def _aside(path: Path) -> Path:
    """Return a name for a damaged file that nothing has yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}+")
    return aside


def _last_word(path: Path) -> str:
    """Return when a database was written last, in ms."""
    written = [path.stat()]
    with suppress(FileNotFoundError):
        written.append(_beside(path, "-wal").stat())
    return str(max(file.st_mtime_ns for file in written if file.st_size) // 1_000_000)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _fact(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None
