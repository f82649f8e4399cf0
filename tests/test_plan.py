from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from materializer import retry
from materializer.errors import (
    FetchError,
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.model import FOUND, SUBMITTED, Job, JobState, Placed, Snapshot
from materializer.plan import (
    Known,
    OpenPolicy,
    Plan,
    Work,
    conclude,
    is_large,
    is_quiet,
    payloads,
    plan,
)
from materializer.retry import Tried, digest

NOW = 1_000_000_000
FRESH = 600_000


def job(name: str = "j", *, ago: int = 0, status: str = "succeeded") -> Job:
    return Job(name, status, "text_to_image", completed_at=NOW - ago)


def look(
    *jobs: Job,
    known: dict[str, Known] | None = None,
    failed: tuple[Job, ...] = (),
    backlog: bool = False,
    absent: frozenset[str] = frozenset(),
    policy: OpenPolicy = "open",
    busy: frozenset[str] = frozenset(),
    tried: dict[str, Tried] | None = None,
) -> Plan:
    return plan(
        Snapshot("o", jobs, failed, backlog=backlog, absent=absent),
        known or {},
        busy=busy,
        tried=tried or {},
        now=NOW,
        policy=policy,
        fresh_ms=FRESH,
    )


def actions(found: Plan) -> dict[str, str]:
    return {work.job.job_id: work.action for work in found.work}


def image(index: int) -> Placed:
    return Placed(index, "image", f"/o/j_{index}.png", 1, "ab", "image/png")


def test_what_is_not_known_is_work_in_the_order_of_completion() -> None:
    found = look(
        job("new", ago=1), job("old", ago=9), known={"done": Known("done", "x")}
    )
    assert [work.job.job_id for work in found.work] == ["old", "new"]


@pytest.mark.parametrize("state", ["done", "failed", "unrecognised"])
def test_what_is_settled_is_no_work(state: JobState) -> None:
    assert look(job(), known={"j": Known(state, "succeeded")}).work == ()


def test_a_job_that_failed_upstream_and_then_succeeded_is_work() -> None:
    assert look(job(), known={"j": Known("failed", "failed")}).work


def test_several_fresh_jobs_of_a_later_result_are_each_opened() -> None:
    assert actions(look(job("a"), job("b", ago=5))) == {"a": "open", "b": "open"}


def test_of_the_backlog_only_the_newest_is_opened_and_only_when_fresh() -> None:
    backlog = look(job("a", ago=9), job("b", ago=5), backlog=True)
    assert actions(backlog) == {"a": "register", "b": "open"}
    stale = look(job("a", ago=FRESH + 1), backlog=True)
    assert actions(stale) == {"a": "register"}


def test_the_newest_of_the_backlog_may_be_known_already() -> None:
    known = {"b": Known("done", "succeeded")}
    backlog = look(job("a", ago=9), job("b", ago=5), known=known, backlog=True)
    assert actions(backlog) == {"a": "register"}


@pytest.mark.parametrize("policy", ["register", "never"])
def test_the_policy_can_forbid_opening(policy: OpenPolicy) -> None:
    assert actions(look(job(), policy=policy)) == {"j": "register"}


def test_a_pending_job_waits_for_its_time_and_keeps_what_was_decided() -> None:
    pending = Known("pending", "succeeded", "open", 2, NOW + 7, frozenset({1}))
    assert look(job(), known={"j": pending}) == Plan((), (), (), NOW + 7)
    due = Known("pending", "succeeded", "open", 2, NOW, frozenset({1}))
    assert look(job(ago=FRESH * 9), known={"j": due}).work == (
        Work(job(ago=FRESH * 9), "open", frozenset({1}), 2),
    )


GONE = Known("pending", "succeeded", "open", 2, NOW + 9, link_gone=True)


def with_link(link: str) -> Job:
    return replace(job(), output={"image": {"url": link}})


def test_a_link_that_is_gone_is_tried_at_once_when_another_is_shown() -> None:
    tried = {"j": Tried(gone=digest(with_link("old")))}
    known = {"j": GONE}
    assert look(with_link("old"), known=known, tried=tried) == Plan((), (), (), NOW + 9)
    (work,) = look(with_link("new"), known=known, tried=tried).work
    assert (work.ahead, work.link_gone, work.attempts) == (True, True, 2)
    assert work.tried == tried["j"]


def test_another_output_hastens_only_a_job_whose_link_was_gone() -> None:
    tried = {"j": Tried(gone=digest(with_link("old")))}
    known = {"j": replace(GONE, link_gone=False)}
    assert look(with_link("new"), known=known, tried=tried).work == ()


def test_a_link_that_was_gone_before_a_restart_is_tried_once_more() -> None:
    (work,) = look(with_link("old"), known={"j": GONE}).work
    assert work.ahead
    again = retry.recall(work.job, [LinkGone("x")], work.tried, ahead=work.ahead)
    known = {"j": GONE}
    assert look(with_link("old"), known=known, tried={"j": again}).work == ()
    due = {"j": replace(GONE, next_attempt_at=NOW)}
    (work,) = look(with_link("old"), known=due, tried={"j": again}).work
    assert not work.ahead


def test_nothing_is_planned_for_what_is_busy() -> None:
    known = {"gone": Known("pending", SUBMITTED), "f": Known("pending", SUBMITTED)}
    failed = (job("f", status="failed"),)
    absent = frozenset({"gone"})
    assert look(job(), known=known, failed=failed, absent=absent).work
    busy = frozenset({"j", "f", "gone"})
    found = look(job(), known=known, failed=failed, absent=absent, busy=busy)
    assert found == Plan((), (), (), None)


def test_a_busy_job_may_be_the_newest_of_the_backlog() -> None:
    found = look(job("a", ago=9), job("b"), backlog=True, busy=frozenset({"b"}))
    assert actions(found) == {"a": "register"}


@pytest.mark.parametrize(
    ("capability", "output", "large"),
    [
        ("text_to_video", None, True),
        ("video_extend", [], True),
        ("text_to_3d", None, True),
        ("", {"videos": []}, True),
        ("new", {"model_glb": {}}, True),
        ("text_to_image", {"images": [], "model": "x"}, False),
        ("", "https://a.test/video.mp4", False),
    ],
)
def test_films_and_meshes_are_large(capability: str, output: Any, large: bool) -> None:
    assert is_large(Job("j", "succeeded", capability, output=output)) is large


def test_a_new_failure_is_recorded_once() -> None:
    failed = (job("f", status="failed"),)
    assert look(failed=failed).failed == failed
    assert look(failed=failed, known={"f": Known("failed", "failed")}).failed == ()


def test_a_failure_that_has_succeeded_since_is_no_failure() -> None:
    found = look(job(), failed=(job(status="failed"),))
    assert (actions(found), found.failed) == ({"j": "open"}, ())


@pytest.mark.parametrize("state", ["done", "unrecognised", "failed"])
def test_a_failure_after_a_success_that_is_here_changes_nothing(
    state: JobState,
) -> None:
    failed = (job(status="failed"),)
    known = {"j": Known(state, "succeeded", have=frozenset({0}))}
    assert look(failed=failed, known=known) == Plan((), (), (), None)


def test_a_failure_after_a_success_that_is_not_here_yet_is_recorded() -> None:
    failed = (job(status="failed"),)
    known = {"j": Known("pending", "succeeded", next_attempt_at=NOW + 9)}
    assert look(failed=failed, known=known) == Plan((), failed, (), None)


def test_a_submitted_job_is_new_when_it_is_shown() -> None:
    known = {"j": Known("pending", SUBMITTED)}
    assert actions(look(job(), known=known)) == {"j": "open"}
    failed = (job(status="failed"),)
    assert look(failed=failed, known=known).failed == failed


def test_an_open_job_that_does_not_exist_is_gone() -> None:
    known = {
        "lost": Known("pending", SUBMITTED),
        "j": Known("pending", "succeeded"),
        "here": Known("done", "succeeded"),
    }
    absent = frozenset({"lost", "j", "here", "never"})
    assert look(job(), known=known, absent=absent).gone == ("lost",)


@pytest.mark.parametrize(
    ("status", "quiet"), [("canceled", True), ("cancelled", True), ("failed", False)]
)
def test_a_canceled_job_is_no_news(status: str, quiet: bool) -> None:
    assert is_quiet(job(status=status)) is quiet


def test_all_images_are_one_payload_and_every_other_file_its_own() -> None:
    files = [
        image(0),
        image(1),
        Placed(2, "audio", "/o/j_2.wav", 1, "ab", "audio/wav", label="vocals"),
        Placed(3, "model3d", "/o/j_3.glb", 1, "ab", "model/gltf-binary", label="M"),
        Placed(4, "text", "/o/j_4.txt", 1, "ab", "text/plain", text="hi"),
        Placed(5, "download", "/o/j_5.json", 1, "ab", "x/y", label="D", companion=True),
    ]
    assert [payload["asset"] for payload in payloads(job(), files)] == [
        {"kind": "image", "filePaths": ["/o/j_0.png", "/o/j_1.png"]},
        {"kind": "audio", "filePath": "/o/j_2.wav"},
        {"kind": "model3d", "filePath": "/o/j_3.glb", "label": "M"},
        {"kind": "text", "text": "hi"},
    ]


def test_a_payload_says_what_was_asked_for_and_leaves_out_what_was_not() -> None:
    (bare,) = payloads(job(), [image(0)])
    assert bare == {
        "kind": "media",
        "asset": {"kind": "image", "filePaths": ["/o/j_0.png"]},
        "jobId": "j",
        "capability": "text_to_image",
        "createdAt": NOW,
    }
    full = Job("j", "succeeded", "icon", None, "a fox", "1:1", (3, 4), completed_at=NOW)
    (rich,) = payloads(full, [image(0)])
    assert rich["prompt"] == "a fox"
    assert rich["aspectRatio"] == "1:1"
    assert rich["requestedSize"] == {"width": 3, "height": 4}


def concluded(
    *errors: FetchError, attempts: int = 0, recognised: bool = True, **fields: Any
) -> tuple[str, int, tuple[str, str] | None, bool]:
    found = conclude(
        Work(job(), "open", frozenset(), attempts, **fields),
        recognised=recognised,
        placed=[image(1)],
        before=[image(0)],
        errors=errors,
        now=NOW,
        chance=0.5,
    )
    assert (found.next_attempt_at is None) == (found.state != "pending")
    return found.state, len(found.payloads), found.error, found.tell


def test_a_whole_job_is_done_and_announced_with_all_its_files() -> None:
    assert concluded() == ("done", 1, None, False)


def test_an_output_that_may_still_come_keeps_the_job_open_and_unannounced() -> None:
    error = FetchUnavailable("later")
    assert concluded(error) == ("pending", 0, ("unavailable", "later"), False)


def test_a_refused_output_is_final_and_what_there_is_is_announced() -> None:
    assert concluded(OutputRefused("no")) == ("failed", 1, ("refused", "no"), True)


def test_one_refused_output_does_not_end_the_attempts_at_another() -> None:
    errors = OutputRefused("no"), FetchUnavailable("later")
    assert concluded(*errors) == ("pending", 0, ("unavailable", "later"), False)
    assert concluded(*errors, attempts=99) == ("failed", 1, ("refused", "no"), True)


def test_what_is_always_damaged_is_final_after_a_few_attempts() -> None:
    error = OutputDamaged("a page")
    assert concluded(error, tried=Tried(damaged=2))[0] == "pending"
    state, announced, why, tell = concluded(error, tried=Tried(damaged=3))
    assert (state, announced, why, tell) == ("failed", 1, ("damaged", "a page"), True)


def test_a_link_that_is_gone_is_told_before_what_mends_by_itself() -> None:
    errors = FetchUnavailable("later"), LinkGone("gone")
    assert concluded(*errors)[2] == ("link_gone", "gone")


def test_the_end_of_the_calendar_is_final_too() -> None:
    error = FetchUnavailable("gone")
    assert concluded(error, attempts=99)[:2] == ("failed", 1)


def test_an_unrecognised_output_is_kept_announced_and_told() -> None:
    state, announced, error, tell = concluded(recognised=False)
    assert (state, announced, tell) == ("unrecognised", 1, True)
    assert error is not None
    assert error[0] == "unrecognised_output"


def test_a_job_of_which_files_were_found_is_told_quietly_with_what_is_missing() -> None:
    known = {"j": Known("done", FOUND, have=frozenset({0}))}
    found = look(job(), known=known)
    assert found.work == (Work(job(), "register", frozenset({0})),)
    assert look(job(), known={"j": replace(known["j"], status="succeeded")}).work == ()
    assert look(failed=(job(status="failed"),), known=known).failed == ()
