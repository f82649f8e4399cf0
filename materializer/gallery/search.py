"""Searching the gallery: prompts, capabilities and file names, by words.

A word is found by its beginning, in any order, and nothing that a person types is an
operator. Scripts that do not part their words, and pictographs, are found anywhere.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from materializer.gallery.schema import run, transaction

# Thai to Burmese, Khmer, Chinese, Japanese, and pictographs: each sign is a word.
_ALONE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")

_SHOWN = "{0}.companion = 0 AND {0}.removed_at IS NULL"
_TEXTS = (
    "{item}.n, 'o' || hex({item}.owner) || ' k' || hex({item}.kind)"
    " || ' c' || hex({job}.capability),"
    " spaced({job}.prompt), spaced({job}.capability), spaced({item}.file_name)"
)
_JOB_OF = "j.owner = {0}.owner AND j.job_id = {0}.job_id"
_HAS_WORD = (
    "EXISTS (SELECT 1 FROM jobs j WHERE j.owner = i.owner AND j.job_id = i.job_id"
    " AND (coalesce(j.prompt, '') || char(10) || j.capability"
    " || char(10) || i.file_name) LIKE :word{} ESCAPE '!')"
)


def _enter(item: str, job: str, of: str) -> str:
    texts = _TEXTS.format(item=item, job=job)
    return (
        "INSERT INTO search (rowid, shelf, prompt, capability, file_name)"
        f" SELECT {texts} {of} AND {_SHOWN.format(item)};"
    )


def _leave(item: str, job: str, of: str) -> str:
    texts = _TEXTS.format(item=item, job=job)
    return (
        "INSERT INTO search (search, rowid, shelf, prompt, capability, file_name)"
        f" SELECT 'delete', {texts} {of} AND {_SHOWN.format(item)};"
    )


_OF_NEW = f"FROM jobs j WHERE {_JOB_OF.format('new')}"
_OF_OLD = f"FROM jobs j WHERE {_JOB_OF.format('old')}"
_OF_JOB = "FROM items i WHERE i.owner = new.owner AND i.job_id = new.job_id"
_OF_ALL = "FROM items i JOIN jobs j USING (owner, job_id) WHERE TRUE"

# It holds no text of its own, so it is told what an item was before that changes. By
# its shelf, whose and of what sort it is, the index alone can count what is found.
_INDEX = f"""
CREATE VIRTUAL TABLE search USING fts5(
  shelf, prompt, capability, file_name, content = '',
  tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co So'"
);
CREATE TRIGGER search_entered AFTER INSERT ON items BEGIN
  {_enter("new", "j", _OF_NEW)}
END;
CREATE TRIGGER search_left AFTER DELETE ON items BEGIN
  {_leave("old", "j", _OF_OLD)}
END;
CREATE TRIGGER search_altered
AFTER UPDATE OF owner, kind, file_name, companion, removed_at ON items BEGIN
  {_leave("old", "j", _OF_NEW)}
  {_enter("new", "j", _OF_NEW)}
END;
CREATE TRIGGER search_reworded AFTER UPDATE OF prompt, capability ON jobs
WHEN old.prompt IS NOT new.prompt OR old.capability <> new.capability BEGIN
  {_leave("i", "old", _OF_JOB)}
  {_enter("i", "new", _OF_JOB)}
END;
{_enter("i", "j", _OF_ALL)}
"""

_TRIGGERS = ("search_entered", "search_left", "search_altered", "search_reworded")


def prepare(db: sqlite3.Connection) -> None:
    """Have the index of words in step with the items, where SQLite can have one.

    An SQLite without FTS5 could not write to the gallery beside an index, so its
    triggers go; the index is made anew for the next one that has it.
    """
    db.create_function("spaced", 1, _spaced, deterministic=True)
    if _has_fts5(db) == _is_kept(db):
        return
    with transaction(db):
        for trigger in _TRIGGERS:
            db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        if _has_fts5(db):
            db.execute("DROP TABLE IF EXISTS search")
            run(db, _INDEX)


@dataclass(frozen=True, slots=True)
class Found:
    """What is so of an item `i` that is found, and the values in that.

    `indexed` is whether the index alone, asked for `:words`, knows all of them.
    """

    condition: str
    values: dict[str, str]
    indexed: bool


def condition(
    db: sqlite3.Connection, text: str, shelf: Mapping[str, object]
) -> Found | None:
    """Return how items with every word of a text are found, or None: it has no words.

    Of `shelf` an item's `owner`, `kind` and `capability` are looked for as well.
    """
    words = _UNWRITABLE.sub(" ", text).split()
    if not words:
        return None
    if not _is_kept(db):
        return _looked_through(words)
    quoted = (_apart(word).replace('"', " ") for word in words)
    texts = " ".join(f'"{word}"*' for word in quoted)
    match = f"{{prompt capability file_name}} : ({texts}) AND shelf : ({_signs(shelf)})"
    return Found(
        "i.n IN (SELECT rowid FROM search WHERE search MATCH :words)",
        {"words": match},
        indexed=True,
    )


def _looked_through(words: list[str]) -> Found:
    """Do without an index, for an SQLite that has no FTS5: slower, and as lenient."""
    conditions, values = [], {}
    for number, word in enumerate(words):
        conditions.append(_HAS_WORD.format(number))
        plain = re.sub("[!%_]", r"!\g<0>", word)
        values[f"word{number}"] = f"%{plain}%"
    return Found(" AND ".join(conditions), values, indexed=False)


def _signs(shelf: Mapping[str, object]) -> str:
    """Return what the index knows an item's owner, kind and capability by."""
    return " ".join(
        f'"{column[0]}{str(shelf[column]).encode().hex()}"'
        for column in ("owner", "kind", "capability")
        if column in shelf
    )


def _spaced(text: str | None) -> str | None:
    return None if text is None else _apart(text)


def _apart(text: str) -> str:
    return _ALONE.sub(r" \g<0> ", text)


def _has_fts5(db: sqlite3.Connection) -> bool:
    return bool(
        db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    )


def _is_kept(db: sqlite3.Connection) -> bool:
    """Whether the index is kept in step."""
    (kept,) = db.execute(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"
        " AND name LIKE 'search!_%' ESCAPE '!'"
    ).fetchone()
    return bool(kept == len(_TRIGGERS))
