"""The database's tables, and how those of older versions become these.

A new database goes through every step, so that it is the same as one that grew old.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from materializer.errors import GalleryUnusable

_TABLES = """
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

# Every page has an index of its own, and its total is added up as items come and go:
# both take as long with a hundred thousand items as with ten. `n` is what the search
# index calls an item. The id of an item is made of what else is known of it.
_GALLERY = """
ALTER TABLE items RENAME TO items_before;
CREATE TABLE items (
  n INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  job_id TEXT NOT NULL,
  idx INTEGER NOT NULL,
  id TEXT NOT NULL GENERATED ALWAYS AS (job_id || '_' || idx) VIRTUAL,
  kind TEXT NOT NULL,
  capability TEXT NOT NULL,
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
  removed_at INTEGER,
  thumbnail TEXT,
  UNIQUE (owner, job_id, idx)
);
CREATE TABLE tallies (
  owner TEXT NOT NULL,
  kind TEXT NOT NULL,
  capability TEXT NOT NULL,
  items INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (owner, kind, capability)
) WITHOUT ROWID;
CREATE TRIGGER items_entered AFTER INSERT ON items
WHEN new.companion = 0 AND new.removed_at IS NULL BEGIN
  INSERT INTO tallies VALUES (new.owner, new.kind, new.capability, 1, new.bytes)
    ON CONFLICT DO UPDATE SET items = items + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER items_left AFTER DELETE ON items
WHEN old.companion = 0 AND old.removed_at IS NULL BEGIN
  UPDATE tallies SET items = items - 1, bytes = bytes - old.bytes
    WHERE owner = old.owner AND kind = old.kind AND capability = old.capability;
END;
CREATE TRIGGER items_altered
AFTER UPDATE OF owner, kind, capability, bytes, companion, removed_at ON items BEGIN
  UPDATE tallies SET items = items - 1, bytes = bytes - old.bytes
    WHERE owner = old.owner AND kind = old.kind AND capability = old.capability
    AND old.companion = 0 AND old.removed_at IS NULL;
  INSERT INTO tallies SELECT new.owner, new.kind, new.capability, 1, new.bytes
    WHERE new.companion = 0 AND new.removed_at IS NULL
    ON CONFLICT DO UPDATE SET items = items + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER jobs_renamed AFTER UPDATE OF capability ON jobs
WHEN old.capability <> new.capability BEGIN
  UPDATE items SET capability = new.capability
    WHERE owner = new.owner AND job_id = new.job_id;
END;
CREATE INDEX items_without_thumbnail ON items (n)
  WHERE thumbnail IS NULL AND kind = 'image' AND companion = 0 AND removed_at IS NULL;
CREATE TRIGGER items_changed AFTER UPDATE OF sha256 ON items
WHEN old.sha256 <> new.sha256 BEGIN
  UPDATE items SET thumbnail = NULL WHERE n = new.n;
END;
CREATE INDEX jobs_failed ON jobs (owner, finished_at) WHERE state = 'failed';
CREATE TABLE claims (
  owner TEXT NOT NULL,
  job_id TEXT NOT NULL,
  PRIMARY KEY (owner, job_id)
) WITHOUT ROWID;
INSERT INTO items (owner, job_id, idx, kind, capability, file_name, bytes, sha256,
  mime_type, width, height, duration_ms, label, text, companion, created_at, saved_at)
SELECT owner, job_id, idx, kind, j.capability, file_name, bytes, sha256, mime_type,
  width, height, duration_ms, label, text, companion, i.created_at, saved_at
FROM items_before i JOIN jobs j USING (owner, job_id);
DROP TABLE items_before;
CREATE INDEX items_newest ON items (owner, created_at)
  WHERE companion = 0 AND removed_at IS NULL;
CREATE INDEX items_of_kind ON items (owner, kind, created_at)
  WHERE companion = 0 AND removed_at IS NULL;
CREATE INDEX items_of_capability ON items (owner, capability, created_at)
  WHERE companion = 0 AND removed_at IS NULL;
"""


def _tables(db: sqlite3.Connection) -> None:
    """Make the tables of the first version."""
    run(db, _TABLES)


def _gallery(db: sqlite3.Connection) -> None:
    """Let the gallery be paged, filtered and added up quickly, and items be removed."""
    run(db, _GALLERY)


# Of a file that is still empty, one without a log, and one with it.
_FORMATS = {b"", b"\1\1", b"\2\2"}

STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_tables, _gallery)
"""What makes each version of the one before; the version is their number.

Each changes what the database is made of, so that a wrong number is noticed.
"""


def version(db: sqlite3.Connection) -> int:
    """Return the version that a database says it has; 0 when it is new."""
    (number,) = db.execute("PRAGMA user_version").fetchone()
    return int(number)


def made_of(db: sqlite3.Connection) -> dict[str, str]:
    """Return the names of all that we made of a database, and the words it was made by.

    Left out is what SQLite itself made, as the tables that hold the index of words.
    """
    rows = db.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        " AND NOT (type = 'table' AND name LIKE 'search!_%' ESCAPE '!')"
    )
    return dict(rows.fetchall())


def built(db: sqlite3.Connection) -> int | None:
    """Return the version whose tables a database has, or None: none that we know."""
    try:
        has = _of_a_version(db)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        for number, step in enumerate(STEPS):
            if _of_a_version(new) == has:
                return number
            step(new)
        return len(STEPS) if _of_a_version(new) == has else None


def _of_a_version(db: sqlite3.Connection) -> dict[str, str]:
    """Leave out the index of words, which is there or not in any version."""
    made = made_of(db).items()
    return {name: sql for name, sql in made if not name.startswith("search")}


def require_known(db: sqlite3.Connection, path: Path) -> None:
    """Make sure of a database's version; it is only read.

    Raises:
        GalleryUnusable: a newer version made it.
        sqlite3.DatabaseError: it is damaged: its tables are those of another version,
            or SQLite's own number says that it may only be read.
    """
    with path.open("rb") as file:
        if file.read(20)[18:] not in _FORMATS:
            raise _damage("it is of no known format")
    if version(db) == len(STEPS):
        return
    if built(db) not in {None, version(db)}:
        raise _damage(f"its version is no longer {built(db)}")
    if version(db) > len(STEPS):
        raise GalleryUnusable(
            f"the gallery {path} was written by a newer version of Stella Materializer"
            f" (schema {version(db)}; this one knows {len(STEPS)}): update it, or"
            " choose another directory with --state-dir"
        )


def _damage(words: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def migrate(db: sqlite3.Connection, to: int = len(STEPS)) -> None:
    """Bring a database of an older version to a newer one, whole or not at all."""
    if version(db) >= to:
        return
    with transaction(db):
        for step in STEPS[version(db) : to]:
            step(db)
        db.execute(f"PRAGMA user_version = {to}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Let everything in the block happen, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def run(db: sqlite3.Connection, script: str) -> None:
    """Run a script within a transaction, which `executescript` would end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
