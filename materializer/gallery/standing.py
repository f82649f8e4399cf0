"""How things stand for one person, in one look.

Where much is going on, each look at the gallery has to wait for its turn.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from materializer.gallery import items, ledger, wishes
from materializer.model import Account


@dataclass(frozen=True, slots=True)
class Standing:
    """What `daemon.status` tells of the gallery.

    Attributes:
        counts: as `items.counts` returns them.
        since: as `ledger.cursor` does; None while signed out.
        snoozed_until: as `wishes.snoozed_until` does.
    """

    counts: dict[str, int]
    since: int | None
    snoozed_until: int


def standing(
    db: sqlite3.Connection, owner: str | None, account: Account | None
) -> Standing:
    """Return how things stand for whose items are shown, and who is signed in."""
    since = ledger.cursor(db, account) if account else None
    return Standing(items.counts(db, owner), since, wishes.snoozed_until(db))
