"""The queries that one client follows, and what it was told of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from materializer.devserver.calls import failure, request_id, success
from materializer.devserver.deployment import Deployment
from materializer.devserver.formats import text_of
from materializer.devserver.functions import FunctionFailed


class QuerySet:
    """Queries by their ids.

    Attributes:
        version: how far the client has changed it.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.version = 0
        self._deployment = deployment
        self._queries: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self._told: dict[int, str] = {}
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._queries)

    def add(self, query_id: int, path: str, args: Mapping[str, Any]) -> None:
        """Follow a query.

        Raises:
            ValueError: one with this id is followed.
        """
        if query_id in self._queries:
            raise ValueError("Duplicate query ID")
        self._queries[query_id] = path, args
        self._removed.discard(query_id)

    def remove(self, query_id: int) -> None:
        """Follow a query no longer.

        Raises:
            ValueError: there is none with this id.
        """
        if query_id not in self._queries:
            raise ValueError("Nonexistent query id")
        del self._queries[query_id]
        self._told.pop(query_id, None)
        self._removed.add(query_id)

    def changes(self, owner: str | None) -> list[dict[str, Any]]:
        """Run every query; return the modifications since the last time, by id."""
        changes: list[dict[str, Any]] = [
            {"type": "QueryRemoved", "queryId": query_id} for query_id in self._removed
        ]
        self._removed.clear()
        for query_id, (path, args) in self._queries.items():
            result = self._result(path, args, owner)
            if self._told.get(query_id) != (text := text_of(result)):
                self._told[query_id] = text
                changes.append(result | {"queryId": query_id, "journal": None})
        return sorted(changes, key=lambda change: change["queryId"])

    def _result(
        self, path: str, args: Mapping[str, Any], owner: str | None
    ) -> dict[str, Any]:
        try:
            returned = self._deployment.run(path, args, owner)
        except FunctionFailed as error:
            # Equal failures must look equal, so their id is made of the path alone.
            return failure(error, request_id(path)) | {"type": "QueryFailed"}
        return success(returned, "value") | {"type": "QueryUpdated"}
