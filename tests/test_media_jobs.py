from __future__ import annotations

from typing import Any

from materializer.convex.events import Deliver
from materializer.convex.messages import QueryFailure
from materializer.media_jobs import LIMIT, read_snapshot, wanted


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
    assert (snapshot.unreadable, snapshot.full, complaint) == (2, False, None)


def test_a_full_page_may_hide_older_jobs() -> None:
    rows: list[Any] = [row(f"j{n}") for n in range(LIMIT)]
    assert read_snapshot(deliver(succeeded=[], failed=rows))[0].full
    assert not read_snapshot(deliver(succeeded=[], failed=rows[1:]))[0].full


def test_a_failed_list_is_unknown_not_empty() -> None:
    snapshot, complaint = read_snapshot(
        deliver(succeeded=QueryFailure("boom"), failed=[])
    )
    assert (snapshot.succeeded, snapshot.failed, complaint) == (None, (), None)


def test_a_list_that_is_none_is_unknown_and_complained_of() -> None:
    snapshot, complaint = read_snapshot(deliver(succeeded={"a": 1.0}, failed=[]))
    assert snapshot.succeeded is None
    assert complaint == "the deployment's list of jobs is no list"


def test_single_jobs_join_the_list_they_belong_to_once_they_have_ended() -> None:
    snapshot, _ = read_snapshot(
        deliver(
            succeeded=[row("new", at=9), row("old", at=1)],
            failed=QueryFailure("boom"),
            job_1=row("asked", at=5),
            job_2=row("old", at=1),
            job_3=row("canceled", "canceled"),
            job_4=row("open", "running"),
            job_5=None,
            job_6=QueryFailure("no"),
        )
    )
    assert snapshot.succeeded is not None
    assert snapshot.failed is not None
    assert [job.job_id for job in snapshot.succeeded] == ["new", "asked", "old"]
    assert [job.job_id for job in snapshot.failed] == ["canceled"]
    assert snapshot.absent == {"5"}
