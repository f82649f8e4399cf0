from __future__ import annotations

from typing import Any

import pytest

from bank import Bank
from materializer.devserver.deployment import Deployment
from materializer.devserver.query_set import QuerySet

ADA = {"account": "ada"}


@pytest.fixture
def deployment() -> Deployment:
    deployment = Deployment(0)
    deployment.functions |= Bank().functions
    return deployment


@pytest.fixture
def queries(deployment: Deployment) -> QuerySet:
    return QuerySet(deployment)


def ids(changes: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(change["type"], change["queryId"]) for change in changes]


def test_only_what_differs_from_the_last_time_is_a_change(
    deployment: Deployment, queries: QuerySet
) -> None:
    queries.add(3, "bank:balance", ADA)
    queries.add(1, "bank:broken", {})
    assert ids(queries.changes(None)) == [("QueryFailed", 1), ("QueryUpdated", 3)]
    assert queries.changes(None) == []
    deployment.mutate(1, "bank:deposit", ADA | {"amount": 1.0}, None)
    assert ids(queries.changes(None)) == [("QueryUpdated", 3)]


def test_a_change_is_one_for_its_owner(queries: QuerySet) -> None:
    queries.add(0, "bank:whoami", {})
    for owner in ("me", "you", None):
        assert [change["value"] for change in queries.changes(owner)] == [owner]


def test_a_removal_is_told_once(queries: QuerySet) -> None:
    queries.add(0, "bank:whoami", {})
    queries.remove(0)
    assert len(queries) == 0
    assert ids(queries.changes(None)) == [("QueryRemoved", 0)]
    assert queries.changes(None) == []


def test_a_query_that_comes_back_is_told_in_full(queries: QuerySet) -> None:
    queries.add(0, "bank:whoami", {})
    queries.changes(None)
    queries.remove(0)
    queries.add(0, "bank:whoami", {})
    assert ids(queries.changes(None)) == [("QueryUpdated", 0)]


def test_ids_are_used_once_at_a_time(queries: QuerySet) -> None:
    queries.add(0, "bank:whoami", {})
    with pytest.raises(ValueError, match="Duplicate"):
        queries.add(0, "bank:whoami", {})
    queries.remove(0)
    with pytest.raises(ValueError, match="Nonexistent"):
        queries.remove(0)
