"""Which queries a session wants, what it has asked for, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

from materializer.convex import requests
from materializer.convex.messages import (
    Modification,
    QueryFailure,
    QueryRemoved,
    QueryUpdated,
)
from materializer.convex.paths import canonical_path
from materializer.convex.values import ABSENT, Value, canonical, same
from materializer.convex.words import fit

RETRY = 30.0
RETRY_CAP = 600.0

Wanted: TypeAlias = Mapping[str, tuple[str, Mapping[str, object]]]
Result: TypeAlias = "Value | QueryFailure"


@dataclass(slots=True)
class _Query:
    path: str
    args: Mapping[str, object]
    journal: str | None = None


class Queries:
    """The query table of one session, over all its connections.

    Callers know queries by names of their own. Two names for the same function and
    arguments are one query on the wire. An id is never used twice, so that a late
    answer cannot be taken for another query's.

    Attributes:
        retry_at: the `mono` at which failed queries are to be asked again.
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._queries: dict[int, _Query] = {}
        self._results: dict[int, Result] = {}
        self._told: tuple[str, dict[str, Result]] | None = None
        self._next_id = 0
        self._retries = 0
        self.retry_at = inf

    def restart(self) -> list[dict[str, Any]]:
        """Forget what the last connection said; return all that the next must add."""
        self._results.clear()
        self._told, self.retry_at = None, inf
        return [self._add(query_id) for query_id in self._queries]

    def want(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Replace the wanted queries; return the modifications that do it.

        Raises:
            ValueError: a path or an argument is unusable; nothing has changed.
        """
        keys = {
            name: canonical({"path": canonical_path(path), "args": args})
            for name, (path, args) in wanted.items()
        }
        ids = {self._key(query_id): query_id for query_id in self._queries}
        modifications = [
            self._remove(query_id)
            for key, query_id in ids.items()
            if key not in keys.values()
        ]
        for name, key in keys.items():
            if key not in ids:
                path, args = wanted[name]
                ids[key] = self._new(_Query(canonical_path(path), args))
                modifications.append(self._add(ids[key]))
        self._names = {name: ids[key] for name, key in keys.items()}
        return modifications

    def ask_again(self) -> list[dict[str, Any]]:
        """Return the modifications that run the failed queries once more."""
        self._retries += 1
        self.retry_at = inf
        modifications = []
        for query_id, result in list(self._results.items()):
            if isinstance(result, QueryFailure):
                query = self._queries[query_id]
                modifications.append(self._remove(query_id))
                new_id = self._new(_Query(query.path, query.args))
                modifications.append(self._add(new_id))
                for name, old_id in self._names.items():
                    if old_id == query_id:
                        self._names[name] = new_id
        return modifications

    def apply(self, modification: Modification) -> None:
        """Take one answer; that of a query nobody wants any more is ignored."""
        query = self._queries.get(modification.query_id)
        if query is None:
            return
        if isinstance(modification, QueryRemoved):
            self._results.pop(modification.query_id, None)
            return
        self._results[modification.query_id] = (
            modification.value
            if isinstance(modification, QueryUpdated)
            else modification.failure
        )
        if modification.journal is not ABSENT:
            query.journal = modification.journal

    @property
    def complete(self) -> bool:
        """Whether every wanted query has been answered on this connection."""
        return self._results.keys() >= self._queries.keys()

    def check(self, mono: float) -> str | None:
        """Return the words of a failed query, if any, and plan to ask it again."""
        for result in self._results.values():
            if isinstance(result, QueryFailure):
                wait = min(RETRY * 2.0 ** min(self._retries, 16), RETRY_CAP)
                self.retry_at = min(self.retry_at, mono + wait)
                return fit(result.message)
        self._retries, self.retry_at = 0, inf
        return None

    def news(self, owner: str) -> tuple[dict[str, Result], bool] | None:
        """Return the account's answers by name, if they are not those of last time.

        The flag says whether they are the first on this connection or for this account.
        """
        told_to, told = self._told or (None, {})
        results = {
            name: self._results[query_id]
            for name, query_id in self._names.items()
            if query_id in self._results
        }
        known = told_to == owner and results.keys() == told.keys()
        if not results or (known and all(same(results[n], told[n]) for n in told)):
            return None
        self._told = owner, results
        return results, told_to != owner

    def _key(self, query_id: int) -> str:
        query = self._queries[query_id]
        return canonical({"path": query.path, "args": query.args})

    def _new(self, query: _Query) -> int:
        query_id = self._next_id
        self._next_id += 1
        self._queries[query_id] = query
        return query_id

    def _add(self, query_id: int) -> dict[str, Any]:
        query = self._queries[query_id]
        return requests.add(query_id, query.path, query.args, query.journal)

    def _remove(self, query_id: int) -> dict[str, Any]:
        del self._queries[query_id]
        self._results.pop(query_id, None)
        return requests.remove(query_id)
