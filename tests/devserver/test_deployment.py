from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from bank import Bank
from materializer.devserver.deployment import Deployment
from materializer.devserver.functions import ConvexError, FunctionFailed, Returned

MS = 1_000_000
START = 1_700_000_000_000
ME, YOU = "https://site|me", "https://site|you"
DEPOSIT = {"account": "ada", "amount": 5.0}


@pytest.fixture
def deployment() -> Deployment:
    return Deployment(START * MS)


def submit(deployment: Deployment, job_id: str, owner: str = ME) -> None:
    deployment.submit(
        START * MS, owner=owner, job_id=job_id, capability="text_to_image"
    )


def succeeded(
    deployment: Deployment, args: dict[str, Any], owner: str | None = ME
) -> list[str]:
    rows = deployment.run("media_jobs:listSucceededSince", args, owner).value
    return [row["jobId"] for row in rows]


def test_a_row_shows_what_has_happened_and_nothing_else(deployment: Deployment) -> None:
    submit(deployment, "a")
    queued = deployment.run("media_jobs:getByJobId", {"jobId": "a"}, ME).value
    assert queued == {
        "jobId": "a",
        "capability": "text_to_image",
        "profile": "default",
        "request": {},
        "status": "queued",
        "upstreamStatus": "IN_QUEUE",
        "queuePosition": 0.0,
        "createdAt": float(START),
        "updatedAt": float(START),
        "logs": [{"message": "Queued.", "timestamp": float(START)}],
    }
    deployment.start((START + 5) * MS, "a")
    deployment.succeed((START + 9) * MS, "a", {"text": "hi"})
    done = deployment.run("media_jobs:getByJobId", {"jobId": "a"}, ME).value
    assert done["status"] == "succeeded"
    assert done["output"] == {"text": "hi"}
    assert (done["startedAt"], done["completedAt"]) == (START + 5, START + 9)
    assert done["queuePosition"] is None


def test_a_jobs_log_is_told_with_the_job_and_in_a_list_when_asked_for(
    deployment: Deployment,
) -> None:
    submit(deployment, "a")
    deployment.start((START + 5) * MS, "a")
    deployment.fail((START + 9) * MS, "a", "No.")
    log = [
        {"message": "Queued.", "timestamp": START},
        {"message": "Started.", "timestamp": START + 5},
        {"message": "Ended: failed.", "timestamp": START + 9},
    ]
    row = deployment.run("media_jobs:getByJobId", {"jobId": "a"}, ME).value
    assert row["logs"] == log
    path, since = "media_jobs:listFailedSince", {"since": 0}
    [listed] = deployment.run(path, since, ME).value
    assert "logs" not in listed
    [listed] = deployment.run(path, since | {"includeLogs": True}, ME).value
    assert listed["logs"] == log


def test_of_a_long_log_the_newest_hundred_entries_are_kept(
    deployment: Deployment,
) -> None:
    submit(deployment, "a")
    for after in range(1, 201):
        deployment.start((START + after) * MS, "a")
    row = deployment.run("media_jobs:getByJobId", {"jobId": "a"}, ME).value
    times = [entry["timestamp"] for entry in row["logs"]]
    assert times == [START + after for after in range(101, 201)]


def test_other_words_for_a_status_change_what_is_told_and_not_what_is_listed() -> None:
    words = {"canceled": "cancelled", "running": "in_progress"}
    deployment = Deployment(START * MS, words=words)
    submit(deployment, "a")
    deployment.start(START * MS, "a")
    row = deployment.run("media_jobs:getByJobId", {"jobId": "a"}, ME).value
    assert row["status"] == "in_progress"
    deployment.cancel(START * MS, "a")
    [row] = deployment.run("media_jobs:listFailedSince", {"since": 0}, ME).value
    assert row["status"] == "cancelled"


def test_a_job_is_open_until_it_has_ended(deployment: Deployment) -> None:
    assert not deployment.is_open("a")
    submit(deployment, "a")
    assert deployment.is_open("a")
    deployment.start(START * MS, "a")
    assert deployment.is_open("a")
    deployment.cancel(START * MS, "a")
    assert not deployment.is_open("a")


def test_every_change_of_a_job_is_handed_over_to_be_kept() -> None:
    kept: list[tuple[str, str]] = []
    deployment = Deployment(
        START * MS, keep=lambda row: kept.append((row.job_id, row.status))
    )
    submit(deployment, "a")
    deployment.start(START * MS, "a")
    deployment.fail(START * MS, "a", "No.")
    assert kept == [("a", "queued"), ("a", "running"), ("a", "failed")]


def test_a_job_is_found_by_its_key_and_owner_and_nobody_is_told_the_key(
    deployment: Deployment,
) -> None:
    row = deployment.submit(
        START * MS, owner=ME, job_id="a", capability="icon", key="once"
    )
    submit(deployment, "keyless")
    assert deployment.keyed(ME, "once") == row
    assert deployment.keyed(YOU, "once") is None
    assert deployment.keyed(ME, "twice") is None
    assert "key" not in row.wire()
    assert Deployment(START * MS, [row]).keyed(ME, "once") == row


def test_succeeded_jobs_come_newest_first_from_since_on(deployment: Deployment) -> None:
    for number, job_id in enumerate("abc"):
        submit(deployment, job_id)
        deployment.succeed((START + number) * MS, job_id, {})
    submit(deployment, "running")
    assert succeeded(deployment, {"since": 0}) == ["c", "b", "a"]
    assert succeeded(deployment, {"since": START + 1}) == ["c", "b"]


@pytest.mark.parametrize(
    ("limit", "rows"),
    [(None, 50), (3.7, 3), (0, 1), (-9, 1), (1e9, 200), (float("nan"), 1)],
)
def test_the_limit_is_50_unless_told_and_kept_within_1_and_200(
    deployment: Deployment, limit: float | None, rows: int
) -> None:
    for number in range(201):
        submit(deployment, f"j{number}")
        deployment.succeed((START + number) * MS, f"j{number}", {})
    told = {} if limit is None else {"limit": limit}
    found = succeeded(deployment, {"since": 0} | told)
    assert len(found) == rows
    assert found[0] == "j200"


def test_everything_that_ended_without_success_is_listed_as_failed(
    deployment: Deployment,
) -> None:
    for job_id in "abc":
        submit(deployment, job_id)
    deployment.fail(START * MS, "a", "Content policy violation", "POLICY")
    deployment.cancel((START + 1) * MS, "b")
    deployment.succeed((START + 2) * MS, "c", {})
    rows = deployment.run("media_jobs:listFailedSince", {"since": 0}, ME).value
    assert [row["status"] for row in rows] == ["canceled", "failed"]
    assert rows[1]["error"] == {"message": "Content policy violation", "code": "POLICY"}


def test_nobody_sees_another_owners_jobs(deployment: Deployment) -> None:
    submit(deployment, "mine")
    deployment.succeed(START * MS, "mine", {})
    for stranger in (YOU, None):
        assert succeeded(deployment, {"since": 0}, stranger) == []
        run = deployment.run("media_jobs:getByJobId", {"jobId": "mine"}, stranger)
        assert run.value is None


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "missing the required field `since`"),
        ({"since": "0"}, "Path: .since"),
        ({"since": True}, "Path: .since"),
        ({"since": 0, "limit": None}, "Path: .limit"),
        ({"since": 0, "includeLogs": 1}, "Path: .includeLogs"),
        ({"since": 0, "cursor": "x"}, "extra field `cursor`"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_that_names_them(
    deployment: Deployment, args: dict[str, Any], says: str
) -> None:
    with pytest.raises(FunctionFailed, match="ArgumentValidationError") as caught:
        deployment.run("media_jobs:listFailedSince", args, ME)
    assert says in str(caught.value)


def test_a_module_may_be_written_with_its_extension(deployment: Deployment) -> None:
    args = {"jobId": "none"}
    assert deployment.run("media_jobs.js:getByJobId", args, ME).value is None


def test_what_is_not_there_or_of_another_kind_cannot_be_run(
    deployment: Deployment,
) -> None:
    with pytest.raises(FunctionFailed, match="public function for 'x:default'"):
        deployment.run("x", {}, ME)
    with pytest.raises(FunctionFailed, match="is no mutation but a query"):
        deployment.mutate(0, "media_jobs:getByJobId", {"jobId": "a"}, ME)
    with pytest.raises(FunctionFailed, match="is no action but a query"):
        deployment.act("media_jobs:getByJobId", {"jobId": "a"}, ME)


def test_a_mutation_moves_the_time_on_and_is_told(deployment: Deployment) -> None:
    told: list[int] = []
    deployment.watchers.add(lambda: told.append(deployment.ts))
    deployment.functions |= Bank().functions
    returned, ts = deployment.mutate(0, "bank:deposit", DEPOSIT, ME)
    assert returned == Returned(5.0, ("[LOG] 'deposited'",))
    assert told == [ts] == [START * MS + 1]


def test_a_mutation_that_failed_changes_nothing_and_is_run_again(
    deployment: Deployment,
) -> None:
    deployment.functions |= Bank().functions
    key = (UUID(int=1), 0)
    for _ in range(2):
        with pytest.raises(ConvexError) as caught:
            deployment.mutate(0, "bank:withdraw", DEPOSIT, ME, key)
        assert caught.value.data == {"code": 42.0}
    assert deployment.ts == START * MS
    deployment.mutate(0, "bank:deposit", DEPOSIT, ME)
    returned, _ = deployment.mutate(0, "bank:withdraw", DEPOSIT, ME, key)
    assert returned.value == 0


def test_a_mutation_is_run_once_for_its_session_and_request(
    deployment: Deployment,
) -> None:
    """S7"""
    deployment.functions |= Bank().functions
    session = UUID(int=1)
    first = deployment.mutate(0, "bank:deposit", DEPOSIT, ME, (session, 0))
    again = deployment.mutate(9, "bank:deposit", DEPOSIT, ME, (session, 0))
    other = deployment.mutate(9, "bank:deposit", DEPOSIT, ME, (UUID(int=2), 0))
    assert again == first
    assert other[0].value == 10


def test_a_row_that_is_no_convex_value_fails_the_query(deployment: Deployment) -> None:
    submit(deployment, "odd")
    deployment.succeed(START * MS, "odd", {"$odd": 1, "b": 2})
    with pytest.raises(FunctionFailed, match="cannot be returned"):
        succeeded(deployment, {"since": 0})


def test_every_change_is_told_and_moves_the_time_on_even_if_the_clock_went_back(
    deployment: Deployment,
) -> None:
    seen: list[int] = []
    deployment.watchers.add(lambda: seen.append(deployment.ts))
    deployment.submit(0, owner=ME, job_id="a", capability="icon")
    deployment.start(1, "a")
    deployment.succeed((START + 60_000) * MS, "a", {})
    assert seen == [START * MS + 1, START * MS + 2, (START + 60_000) * MS]
