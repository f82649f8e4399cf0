from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from materializer.convex.events import Deliver
from materializer.convex.messages import QueryFailure
from materializer.media_jobs import (
    LIMIT,
    Question,
    hidden_before,
    next_question,
    read_snapshot,
    wanted,
)
from materializer.model import QUERIES, Job, Query, Snapshot


def row(job_id: str, status: str = "succeeded", at: float = 1.0) -> dict[str, Any]:
    return {"jobId": job_id, "status": status, "completedAt": at, "createdAt": 0.0}


def deliver(**results: Any) -> Deliver:
    named = {name.replace("_", " "): value for name, value in results.items()}
    return Deliver("site|ada", named, first=True)


def test_both_lists_and_single_jobs_are_asked_for() -> None:
    assert wanted(5, 7, ["j1"]) == {
        "succeeded": ("media_jobs:listSucceededSince", {"since": 5, "limit": 200}),
        "failed": ("media_jobs:listFailedSince", {"since": 7, "limit": 200}),
        "job j1": ("media_jobs:getByJobId", {"jobId": "j1"}),
    }


def test_lists_become_jobs_and_unreadable_rows_are_counted() -> None:
    rows: list[Any] = [row("b", at=2), {"status": "succeeded"}, None, row("a")]
    snapshot, complaint = read_snapshot(deliver(succeeded=rows, failed=[]))
    assert snapshot.succeeded is not None
    assert [job.job_id for job in snapshot.succeeded] == ["b", "a"]
    assert snapshot.failed == ()
    assert (snapshot.owner, snapshot.backlog) == ("site|ada", True)
    assert (snapshot.unreadable, snapshot.full) == (2, frozenset())
    assert complaint == "2 rows of the feed cannot be read"


def test_a_list_says_whether_its_page_is_full() -> None:
    rows: list[Any] = [None, *(row(f"j{n}") for n in range(LIMIT - 1))]
    assert read_snapshot(deliver(succeeded=[], failed=rows))[0].full == {"failed"}
    assert not read_snapshot(deliver(succeeded=[], failed=rows[1:]))[0].full


@pytest.mark.parametrize("query", QUERIES)
def test_a_list_that_fails_is_unknown_not_empty_and_the_other_goes_on(
    query: Query,
) -> None:
    lists: dict[str, Any] = {"succeeded": [row("s")], "failed": [row("f", "failed")]}
    boom = QueryFailure("boom at https://a.test/secret\n")
    snapshot, complaint = read_snapshot(deliver(**lists | {query: boom}))
    assert snapshot.listed.keys() == {*QUERIES} - {query}
    assert (
        complaint == f"the list of {query} jobs cannot be had: boom at https://a.test"
    )


def test_a_list_that_is_none_is_unknown_and_complained_of() -> None:
    snapshot, complaint = read_snapshot(deliver(succeeded={"a": 1.0}, failed=None))
    assert (snapshot.succeeded, snapshot.failed) == (None, None)
    assert complaint == (
        "the list of succeeded jobs cannot be had: it is none;"
        " the list of failed jobs cannot be had: it is none"
    )


def test_single_jobs_that_have_ended_are_told_beside_the_lists() -> None:
    snapshot, _ = read_snapshot(
        deliver(
            succeeded=QueryFailure("boom"),
            failed=[],
            job_1=row("asked", at=5),
            job_2=row("canceled", "cancelled"),
            job_3=row("open", "running"),
            job_4=row("strange", "on_hold"),
            job_5=None,
            job_6=QueryFailure("no"),
            job_7=5.0,
        )
    )
    assert [job.job_id for job in snapshot.asked] == ["asked", "canceled"]
    assert (snapshot.succeeded, snapshot.failed) == (None, ())
    assert (snapshot.absent, snapshot.unreadable) == (frozenset({"5"}), 1)


def test_a_word_that_is_not_known_means_what_its_list_says() -> None:
    words = ("completed", "succeeded", "failed", "canceled", "running")
    rows: list[Any] = [row(word, word) for word in words]
    snapshot, complaint = read_snapshot(deliver(succeeded=rows, failed=rows))
    assert snapshot.succeeded is not None
    assert snapshot.failed is not None
    assert {job.job_id: job.status for job in snapshot.succeeded} == {
        "completed": "succeeded",
        "succeeded": "succeeded",
        "failed": "failed",
        "canceled": "canceled",
    }
    assert [job.status for job in snapshot.failed] == [*words[:-1]]
    assert complaint is None


def page(*ats: int, query: Query = "succeeded", full: bool = True) -> Snapshot:
    jobs = tuple(Job(f"j{at}", "succeeded", completed_at=at) for at in ats)
    lists = (jobs, ()) if query == "succeeded" else ((), jobs)
    return Snapshot("o", lists[0], lists[1], full=frozenset({query} if full else ()))


def test_a_full_page_hides_what_is_older_than_all_of_it() -> None:
    assert hidden_before(page(9, 5, full=False), None) is None
    assert hidden_before(page(9, 5), None) == 5


def test_each_full_page_is_looked_at_by_itself() -> None:
    succeeded = page(9, 8).succeeded
    failed = page(5, 3).succeeded
    both = Snapshot("o", succeeded, failed, full=frozenset({"failed"}))
    assert hidden_before(both, None) == 3
    assert hidden_before(replace(both, full=frozenset(QUERIES)), None) == 8
    assert hidden_before(replace(both, full=frozenset(QUERIES)), page(8)) == 3


def test_a_page_that_reaches_back_to_what_was_shown_hides_nothing() -> None:
    assert hidden_before(page(9, 5), page(5, 4)) is None
    assert hidden_before(page(9, 5), page(4, 3)) == 5
    assert hidden_before(page(9, 5), page(7, 6, query="failed")) == 5
    assert hidden_before(page(9, 5), Snapshot("o", None, None)) == 5


CURSORS: dict[Query, int] = {"succeeded": 7, "failed": 0}


@pytest.mark.parametrize(
    ("rows", "since"),
    [
        ((), 1),
        ((9, 8), 1),
        ((9, 8, 3), 1),
        ((9, 3), 7),
        ((9, 8, 3, 2), 7),
        ((3,), 7),
        ((7,), 1),
    ],
)
def test_a_list_of_which_half_has_settled_is_asked_for_from_later_on(
    rows: tuple[int, ...], since: int
) -> None:
    asked = next_question(Question(1, 2), page(*rows), CURSORS, [], [])
    assert asked == Question(since, 2)


def test_what_is_asked_never_goes_back_and_a_list_that_fails_stays_as_it_is() -> None:
    before = Question(8, 0)
    unanswered = Snapshot("o")
    assert next_question(before, page(3, 2), CURSORS, [], []) == before
    assert next_question(before, unanswered, CURSORS, [], []) == before
    assert next_question(Question(1, 0), unanswered, CURSORS, [], []) == Question(1, 0)


def test_open_jobs_that_no_list_shows_are_asked_for_by_id() -> None:
    asked = next_question(Question(1, 2), page(9), CURSORS, ["j9", "old"], [])
    assert asked.job_ids == {"old"}
    shown = replace(page(9), asked=(Job("old", "succeeded"),))
    assert next_question(asked, shown, CURSORS, ["old"], []).job_ids == {"old"}
    assert next_question(asked, shown, CURSORS, [], []).job_ids == set()


def test_a_job_whose_link_is_gone_is_asked_for_by_id_though_a_list_shows_it() -> None:
    asked = next_question(Question(1, 2), page(9), CURSORS, ["j9"], ["j9"])
    assert asked.job_ids == {"j9"}
    assert next_question(asked, page(9), CURSORS, ["j9"], []).job_ids == set()


@pytest.mark.parametrize(
    ("listed", "asked", "counts"),
    [
        (8.0, 7.0, "listed"),
        (7.0, 8.0, "asked"),
        (8.0, 8.0, "asked"),
        (None, 8.0, "asked"),
        (8.0, None, "asked"),
    ],
)
def test_of_a_job_that_is_listed_and_asked_for_the_later_row_counts(
    listed: float | None, asked: float | None, counts: str
) -> None:
    rows = {
        "listed": row("j") | {"output": "listed", "updatedAt": listed},
        "asked": row("j") | {"output": "asked", "updatedAt": asked},
    }
    snapshot, _ = read_snapshot(
        deliver(succeeded=[rows["listed"]], failed=[], job_j=rows["asked"])
    )
    assert [job.output for job in snapshot.jobs] == [counts]
