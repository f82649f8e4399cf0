"""Which items come next in a list of them, and how many there are.

It takes about as long for ten items as for a hundred thousand: every order has an
index, what is often counted is added up beforehand, and words count their items.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from materializer.gallery import search

_TALLIED = {"owner", "kind", "capability"}
_FEW = 500
_LATEST = 2**63 - 1


def find(
    db: sqlite3.Connection,
    columns: Mapping[str, object],
    text: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[int], int]:
    """Return the numbers `n` of up to `limit` shown items, and how many match in all.

    They have these values and all words of `text`, come after `cursor`, and are sorted
    as newest first, then by id.

    Raises:
        ValueError: `cursor` is none that `cursor_at` made.
    """
    values = dict(columns)
    conditions = ["i.companion = 0", "i.removed_at IS NULL"]
    conditions += [f"i.{column} = :{column}" for column in columns]
    found = search.condition(db, text or "", columns)
    if found is not None:
        conditions.append(found.condition)
        values |= found.values
    total = _total(db, columns, conditions, values, found)
    # A few that words have found are sorted; of many, the newest are picked out.
    table = "items i NOT INDEXED" if found and total <= _FEW else "items i"
    if cursor is not None:
        created_at, _, after = cursor.partition(":")
        at = int(created_at)
        if not 0 <= at <= _LATEST:
            raise ValueError("the cursor is of no item")
        conditions.append("i.created_at <= :at")
        conditions.append("(i.created_at < :at OR i.id > :after)")
        values |= {"at": at, "after": after}
    if not total:
        return [], 0
    rows = db.execute(
        f"SELECT i.n FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608 -- all ours
        " ORDER BY i.created_at DESC, i.id LIMIT :limit",
        values | {"limit": limit},
    )
    return [row["n"] for row in rows], total


def cursor_at(created_at: int, item_id: str) -> str:
    """Return the cursor of what comes after an item."""
    return f"{created_at}:{item_id}"


def _total(
    db: sqlite3.Connection,
    columns: Mapping[str, object],
    conditions: list[str],
    values: Mapping[str, object],
    found: search.Found | None,
) -> int:
    if not columns.keys() <= _TALLIED or (found and not found.indexed):
        query = f"SELECT count(*) FROM items i WHERE {' AND '.join(conditions)}"  # noqa: S608 -- all ours
    elif found:
        query = "SELECT count(*) FROM search WHERE search MATCH :words"
    else:
        tallied = " AND ".join(f"{column} = :{column}" for column in columns)
        query = f"SELECT coalesce(sum(items), 0) FROM tallies WHERE {tallied}"  # noqa: S608 -- all ours
    (total,) = db.execute(query, values).fetchone()
    return int(total)
