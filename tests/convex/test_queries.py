from __future__ import annotations

from math import inf

import pytest

from materializer.convex.messages import (
    QueryFailed,
    QueryFailure,
    QueryRemoved,
    QueryUpdated,
)
from materializer.convex.queries import Queries


def brief(modifications: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(m["type"], m["queryId"]) for m in modifications]


def test_one_function_with_the_same_arguments_is_one_query() -> None:
    queries = Queries()
    added = queries.want(
        {"a": ("api.m.q", {"x": 1}), "b": ("m:q", {"x": 1.0}), "c": ("m:q", {})}
    )
    assert brief(added) == [("Add", 0), ("Add", 1)]
    queries.apply(QueryUpdated(0, "both"))
    assert queries.results == {"a": "both", "b": "both"}


def test_what_is_still_wanted_stays_and_ids_are_never_used_twice() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {"x": 1}), "b": ("m:q", {"x": 2})})
    queries.apply(QueryUpdated(0, "old"))
    changed = queries.want({"b": ("m:q", {"x": 2}), "a": ("m:q", {"x": 3})})
    assert brief(changed) == [("Remove", 0), ("Add", 2)]
    queries.apply(QueryFailed(0, QueryFailure("late")))
    assert queries.check(0) is None
    assert queries.results == {}
    assert queries.want({"b": ("m:q", {"x": 2})})[0]["queryId"] == 2


def test_a_restart_adds_everything_with_its_journal_and_knows_nothing() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {}), "b": ("m:r", {})})
    queries.apply(QueryUpdated(0, "x", "page 1"))
    added = queries.restart()
    assert [m.get("journal") for m in added] == ["page 1", None]
    assert queries.results == {}
    assert not queries.complete


def test_an_answer_taken_back_is_missing_again() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {})})
    queries.apply(QueryUpdated(0, None))
    assert queries.complete
    queries.apply(QueryRemoved(0))
    assert not queries.complete


def test_failed_queries_are_asked_again_ever_more_rarely() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {}), "b": ("m:r", {})})
    queries.apply(QueryUpdated(0, 1.0))
    queries.apply(QueryFailed(1, QueryFailure("boom\n")))
    assert queries.check(100) == "boom"
    assert queries.retry_at == 130
    assert queries.check(110) == "boom"
    assert queries.retry_at == 130
    assert brief(queries.ask_again()) == [("Remove", 1), ("Add", 2)]
    queries.apply(QueryFailed(2, QueryFailure("again")))
    queries.check(200)
    assert queries.retry_at == 260
    queries.apply(QueryUpdated(2, 2.0))
    assert queries.check(300) is None
    assert queries.retry_at == inf
    assert queries.results == {"a": 1.0, "b": 2.0}


def test_an_unusable_query_changes_nothing() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {})})
    with pytest.raises(ValueError, match="Convex value"):
        queries.want({"b": ("m:q", {"x": object()})})
    with pytest.raises(ValueError, match="module:function"):
        queries.want({"b": (":", {})})
    assert brief(queries.restart()) == [("Add", 0)]
