from __future__ import annotations

from math import inf

import pytest

from materializer.convex.messages import (
    QueryFailed,
    QueryFailure,
    QueryRemoved,
    QueryUpdated,
)
from materializer.convex.queries import Queries, Result
from materializer.convex.values import ABSENT, Absent


def brief(modifications: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(m["type"], m["queryId"]) for m in modifications]


def results(queries: Queries) -> dict[str, Result]:
    """Return the answers so far."""
    told, _ = queries.news("somebody who was told nothing") or ({}, True)
    queries.news("another")
    return told


def test_one_function_with_the_same_arguments_is_one_query() -> None:
    queries = Queries()
    added = queries.want(
        {"a": ("api.m.q", {"x": 1}), "b": ("m:q", {"x": 1.0}), "c": ("m:q", {})}
    )
    assert brief(added) == [("Add", 0), ("Add", 1)]
    queries.apply(QueryUpdated(0, "both"))
    assert results(queries) == {"a": "both", "b": "both"}


def test_what_is_still_wanted_stays_and_ids_are_never_used_twice() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {"x": 1}), "b": ("m:q", {"x": 2})})
    queries.apply(QueryUpdated(0, "old"))
    changed = queries.want({"b": ("m:q", {"x": 2}), "a": ("m:q", {"x": 3})})
    assert brief(changed) == [("Remove", 0), ("Add", 2)]
    queries.apply(QueryFailed(0, QueryFailure("late")))
    assert queries.check(0) is None
    assert results(queries) == {}
    assert queries.want({"b": ("m:q", {"x": 2})})[0]["queryId"] == 2


def test_a_restart_adds_everything_with_its_journal_and_knows_nothing() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {}), "b": ("m:r", {})})
    queries.apply(QueryUpdated(0, "x", "page 1"))
    added = queries.restart()
    assert [m.get("journal") for m in added] == ["page 1", None]
    assert results(queries) == {}
    assert not queries.complete


def test_a_journal_is_kept_unless_another_or_null_replaces_it() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {})})
    said: list[tuple[str | Absent | None, str | None]]
    said = [("1", "1"), (ABSENT, "1"), ("2", "2"), (None, None)]
    for journal, kept in said:
        queries.apply(QueryUpdated(0, "x", journal))
        assert queries.restart()[0].get("journal") == kept
    queries.apply(QueryFailed(0, QueryFailure("boom"), "3"))
    queries.apply(QueryFailed(0, QueryFailure("boom")))
    assert queries.restart()[0]["journal"] == "3"


def test_news_are_what_an_account_was_not_told_yet() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {})})
    assert queries.news("ada") is None
    queries.apply(QueryUpdated(0, "x"))
    assert queries.news("ada") == ({"a": "x"}, True)
    assert queries.news("ada") is None
    assert queries.news("bob") == ({"a": "x"}, True)
    queries.apply(QueryUpdated(0, "x"))
    assert queries.news("bob") is None
    queries.apply(QueryUpdated(0, "y"))
    assert queries.news("bob") == ({"a": "y"}, False)
    queries.restart()
    queries.apply(QueryUpdated(0, "y"))
    assert queries.news("bob") == ({"a": "y"}, True)


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
    assert results(queries) == {"a": 1.0, "b": 2.0}


def test_an_unusable_query_changes_nothing() -> None:
    queries = Queries()
    queries.want({"a": ("m:q", {})})
    with pytest.raises(ValueError, match="Convex value"):
        queries.want({"b": ("m:q", {"x": object()})})
    with pytest.raises(ValueError, match="module:function"):
        queries.want({"b": (":", {})})
    assert brief(queries.restart()) == [("Add", 0)]
