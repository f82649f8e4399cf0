from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from materializer.gallery import Gallery, items, ledger, outbox
from materializer.model import (
    SUBMITTED,
    Account,
    Job,
    JobError,
    JobState,
    Placed,
    Query,
    Settlement,
)
from materializer.plan import OVERLAP_MS, Known, Plan, Work

ME = Account("https://happy.example", "iss|me")
MINUTE = 60_000
T0 = 10_000 * MINUTE
LATE = T0 + 100 * MINUTE
EVERYTHING: dict[Query, int] = {"succeeded": LATE, "failed": LATE}


def job(name: str = "j", *, at: int = T0, status: str = "succeeded") -> Job:
    return Job(name, status, "text_to_image", prompt="a fox", completed_at=at)


def placed(index: int = 0, name: str = "j") -> Placed:
    return Placed(
        index, "image", f"/else/{name}_{index}.png", 3, "ab", "image/png", 4, 5
    )


async def remember(
    gallery: Gallery, *jobs: Job, account: Account = ME
) -> dict[str, str]:
    work = [Work(one, "open") for one in jobs]
    return await gallery.write(ledger.remember, account, work)


async def settle(
    gallery: Gallery, one: Job, state: JobState = "done", **fields: Any
) -> list[int]:
    settlement = Settlement(one, state, **fields)
    updates = await gallery.write(ledger.settle, ME, settlement, LATE, EVERYTHING)
    return [update.seq for update in updates]


async def since(gallery: Gallery, query: Query = "succeeded") -> int:
    return (await gallery.write(ledger.cursors, ME, first=0))[query]


async def advance(gallery: Gallery, now: int = LATE, **reached: int) -> None:
    shown: Any = reached
    await gallery.write(ledger.advance, ME, now, shown)


async def known(gallery: Gallery, job_id: str = "j") -> Known:
    return (await gallery.read(ledger.known, ME.owner, [job_id]))[job_id]


async def test_a_remembered_job_is_pending_with_its_action(gallery: Gallery) -> None:
    assert await remember(gallery, job()) == {"j": "j"}
    known = await gallery.read(ledger.known, ME.owner, ["j", "other"])
    assert known == {"j": Known("pending", "succeeded", "open")}
    assert await gallery.read(ledger.known, "iss|other", ["j"]) == {}


async def test_names_that_differ_only_in_case_get_different_stems(
    gallery: Gallery,
) -> None:
    stems = await remember(gallery, job("Job"), job("jOB"))
    assert stems["Job"] == "Job"
    assert stems["jOB"].startswith("job=")
    assert await remember(gallery, job("jOB")) == {"jOB": stems["jOB"]}


async def test_two_accounts_never_share_a_file_name(gallery: Gallery) -> None:
    mine = await remember(gallery, job())
    theirs = await remember(gallery, job(), account=Account(ME.deployment, "iss|you"))
    assert mine["j"].lower() != theirs["j"].lower()


async def test_settling_enters_files_state_and_announcement_at_once(
    gallery: Gallery, tmp_path: Path
) -> None:
    await remember(gallery, job())
    payload = {"kind": "media", "jobId": "j"}
    seqs = await settle(
        gallery,
        job(),
        placed=(placed(),),
        payloads=(payload,),
        action="open",
        attempts=1,
    )
    assert seqs == [1]
    known = await gallery.read(ledger.known, ME.owner, ["j"])
    assert known["j"] == Known("done", "succeeded", "open", 1, None, frozenset({0}))
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert [item.path for item in record.items] == [
        str(tmp_path / "outputs" / "j_0.png")
    ]
    (update,) = await gallery.read(outbox.after, ME.owner, 0, 9)
    assert (update.action, update.payload) == ("open", payload)


async def test_a_settlement_that_cannot_be_written_leaves_nothing(
    gallery: Gallery,
) -> None:
    await remember(gallery, job())
    unwritable: Any = {"kind": object()}
    with pytest.raises(TypeError):
        await settle(gallery, job(), placed=(placed(),), payloads=(unwritable,))
    known = await gallery.read(ledger.known, ME.owner, ["j"])
    assert known["j"] == Known("pending", "succeeded", "open")


async def test_the_cursors_are_kept_from_the_first_question_on(
    gallery: Gallery,
) -> None:
    first = await gallery.write(ledger.cursors, ME, first=7)
    assert first == {"succeeded": 7, "failed": 7}
    assert await gallery.write(ledger.cursors, ME, first=9) == first


async def test_the_cursor_stops_below_the_oldest_open_job(gallery: Gallery) -> None:
    await since(gallery)
    jobs = [job(str(n), at=T0 + n * 10 * MINUTE) for n in range(3)]
    await remember(gallery, *jobs)
    await settle(gallery, jobs[0])
    await settle(gallery, jobs[2])
    assert await since(gallery) == T0 - OVERLAP_MS
    await settle(gallery, jobs[1], "pending", next_attempt_at=T0)
    assert await since(gallery) == T0 - OVERLAP_MS
    await settle(gallery, jobs[1])
    assert await since(gallery) == T0 + 20 * MINUTE - OVERLAP_MS


async def test_the_cursor_never_goes_back(gallery: Gallery) -> None:
    await gallery.write(ledger.cursors, ME, first=T0)
    old = job("old", at=T0 - MINUTE)
    await remember(gallery, old)
    await settle(gallery, old)
    assert await since(gallery) == T0


async def test_a_job_older_than_the_cursor_holds_nothing_back(
    gallery: Gallery,
) -> None:
    await gallery.write(ledger.cursors, ME, first=T0)
    await remember(gallery, job("old", at=T0 - MINUTE), job(at=T0 + 9 * MINUTE))
    await settle(gallery, job("old", at=T0 - MINUTE), "pending", next_attempt_at=LATE)
    await settle(gallery, job(at=T0 + 9 * MINUTE))
    assert await since(gallery) == T0 + 9 * MINUTE - OVERLAP_MS
    assert await gallery.read(ledger.open_jobs, ME) == ["old"]


async def test_the_cursor_follows_only_what_its_query_has_shown(
    gallery: Gallery,
) -> None:
    await since(gallery)
    for one in (job("shown"), job("by hand", at=T0 + 9 * MINUTE)):
        await remember(gallery, one)
        settlement = Settlement(one, "done")
        await gallery.write(ledger.settle, ME, settlement, LATE, {})
    assert await since(gallery) == 0
    await advance(gallery, failed=LATE)
    assert await since(gallery) == 0
    await advance(gallery, succeeded=T0 + MINUTE)
    assert await since(gallery) == T0 - OVERLAP_MS


async def test_a_completion_that_is_still_to_come_does_not_move_the_cursor(
    gallery: Gallery,
) -> None:
    await since(gallery)
    future = job("future", at=LATE + 1)
    await remember(gallery, job(), future)
    await settle(gallery, future)
    await settle(gallery, job())
    assert await since(gallery) == T0 - OVERLAP_MS


async def test_each_query_has_its_own_cursor(gallery: Gallery) -> None:
    await since(gallery)
    failure = Job("f", "failed", error=JobError("boom"), completed_at=T0)
    await remember(gallery, job("waits", at=T0 - MINUTE))
    await gallery.write(ledger.fail, ME, [(failure, True)])
    await advance(gallery, **EVERYTHING)
    assert await since(gallery, "failed") == T0 - OVERLAP_MS
    assert await since(gallery) == 0


async def test_what_is_taken_up_is_entered_and_moves_the_cursors_in_one(
    gallery: Gallery,
) -> None:
    await since(gallery)
    for one in (job("old"), job("older", at=T0 - 9 * MINUTE)):
        await remember(gallery, one)
        await gallery.write(ledger.settle, ME, Settlement(one, "done"), LATE, {})
    new = job("new", at=T0 + MINUTE)
    asked: list[dict[str, Known]] = []

    def decide(known: Mapping[str, Known]) -> Plan:
        asked.append(dict(known))
        return Plan((Work(new, "open"),), (), (), None)

    async def take_up(*waiting: str) -> tuple[Plan, dict[str, str]]:
        return await gallery.note(
            ledger.take_up, ME, ["old", "new"], decide, waiting, LATE, EVERYTHING
        )

    decided, stems = await take_up()
    assert (decided.work, stems) == ((Work(new, "open"),), {"new": "new"})
    assert [*asked[0]] == ["old"]
    assert (await known(gallery, "new")).state == "pending"
    assert await since(gallery) == T0 - OVERLAP_MS
    await gallery.write(ledger.settle, ME, Settlement(new, "done"), LATE, {})
    assert (await take_up("new"))[1] == {}
    assert (await known(gallery, "new")).state == "done"
    assert await since(gallery) == T0 + MINUTE - OVERLAP_MS


async def test_no_cursor_moves_before_all_that_was_shown_is_entered(
    gallery: Gallery,
) -> None:
    await since(gallery)
    await remember(gallery, job("old"))
    await settle(gallery, job("old"), "done")
    await gallery.write(lambda db: db.execute("UPDATE cursors SET since = 0"))
    new = [job(f"j{n}", at=T0 + 1 + n) for n in range(ledger.BITE + 1)]
    work = tuple(Work(one, "open") for one in new)

    async def take_up(count: int, *failed: Job) -> dict[str, str]:
        plan = Plan(work[:count], failed, (), None)
        decide = lambda _: plan  # noqa: E731 -- what is decided does not matter here
        return (
            await gallery.note(ledger.take_up, ME, [], decide, (), LATE, EVERYTHING)
        )[1]

    assert len(await take_up(ledger.BITE + 1)) == ledger.BITE
    assert await since(gallery) == 0
    await take_up(0, Job("lost", "failed", completed_at=T0))
    assert await since(gallery) == 0
    assert len(await take_up(ledger.BITE)) == ledger.BITE
    assert await since(gallery) > 0


async def test_moving_the_cursors_looks_at_a_few_of_many_jobs(
    gallery: Gallery,
) -> None:
    """First 5,000 have settled, then nothing has, then an old one is open."""

    def fill(db: sqlite3.Connection) -> None:
        for n in range(5000):
            one = job(f"j{n}", at=T0 + n)
            ledger.remember(db, ME, [Work(one, "open")])
        db.execute("UPDATE jobs SET state = 'done'")

    def steps(db: sqlite3.Connection) -> int:
        taken: list[int] = []
        db.set_progress_handler(lambda: taken.append(10), 10)
        ledger.advance(db, ME, LATE, EVERYTHING)
        db.set_progress_handler(None, 0)
        return sum(taken)

    await since(gallery)
    await gallery.write(fill)
    assert await gallery.write(steps) < 1000
    assert await since(gallery) == T0 + 4999 - OVERLAP_MS
    assert await gallery.write(steps) < 1000
    await remember(gallery, job("old", at=T0 + 5))
    assert await gallery.write(steps) < 1000
    assert await since(gallery) == T0 + 4999 - OVERLAP_MS


async def test_a_settlement_moves_only_the_cursor_of_its_own_query(
    gallery: Gallery,
) -> None:
    await since(gallery)
    failure = Job("f", "failed", completed_at=T0)
    await gallery.write(ledger.fail, ME, [(failure, True)])
    await remember(gallery, job())
    await settle(gallery, job())
    assert await since(gallery) == T0 - OVERLAP_MS
    assert await since(gallery, "failed") == 0


async def test_how_far_all_has_settled_is_told_in_one(gallery: Gallery) -> None:
    await gallery.write(ledger.cursors, ME, first=T0)
    await gallery.write(ledger.submit, ME, "mine", T0)
    await remember(gallery, job("done"), job("busy"), job("gone"))
    await settle(gallery, job("done"))
    for name, code in (("busy", "unavailable"), ("gone", "link_gone")):
        error = (code, "x")
        await settle(
            gallery,
            job(name),
            "pending",
            attempts=3,
            next_attempt_at=LATE,
            error=error,
        )
    theirs = Account(ME.deployment, "iss|you")
    await remember(gallery, job("theirs"), account=theirs)
    assert await gallery.read(ledger.standing, ME) == ledger.Standing(
        {"succeeded": T0, "failed": T0},
        frozenset({"mine", "busy", "gone"}),
        {"gone": 3},
    )
    assert (await known(gallery, "gone")).link_gone
    assert not (await known(gallery, "busy")).link_gone


async def test_a_link_that_was_gone_is_forgotten_when_the_job_settles(
    gallery: Gallery,
) -> None:
    await remember(gallery, job())
    await settle(gallery, job(), "pending", error=("link_gone", "x"))
    await settle(gallery, job())
    assert not (await known(gallery)).link_gone


async def test_a_submitted_job_is_open_and_moves_and_holds_no_cursor(
    gallery: Gallery,
) -> None:
    await since(gallery)
    await gallery.write(ledger.submit, ME, "mine", T0 - 9 * MINUTE)
    assert await gallery.read(ledger.open_jobs, ME) == ["mine"]
    assert await known(gallery, "mine") == Known("pending", SUBMITTED)
    await advance(gallery, **EVERYTHING)
    assert await since(gallery, "failed") == 0
    await remember(gallery, job())
    await settle(gallery, job())
    assert await since(gallery) == T0 - OVERLAP_MS


async def test_submitting_what_is_known_changes_nothing(gallery: Gallery) -> None:
    await remember(gallery, job())
    await settle(gallery, job())
    before = await known(gallery)
    await gallery.write(ledger.submit, ME, "j", T0)
    assert await known(gallery) == before
    assert await gallery.read(ledger.open_jobs, ME) == []


async def test_a_submitted_job_that_is_shown_gets_all_that_the_row_says(
    gallery: Gallery,
) -> None:
    await gallery.write(ledger.submit, ME, "j", T0)
    assert await remember(gallery, job(at=T0 + 5)) == {"j": "j"}
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert record.job == replace(job(at=T0 + 5), created_at=0)
    assert await known(gallery) == Known("pending", "succeeded", "open")


async def test_what_the_backend_does_not_know_is_forgotten_or_failed(
    gallery: Gallery,
) -> None:
    await gallery.write(ledger.submit, ME, "typo", T0)
    await remember(gallery, job("lost"), job("here"))
    await settle(gallery, job("here"))
    await gallery.write(ledger.give_up, ME, ["typo", "lost", "here"])
    assert await gallery.read(items.record, ME.owner, "typo") is None
    assert (await known(gallery, "here")).state == "done"
    (due,) = await gallery.read(items.to_tell, ME.owner)
    assert (due.job.job_id, due.state, due.error) == ("lost", "failed", ledger.GONE[1])


async def test_a_failure_is_due_until_it_was_told(gallery: Gallery) -> None:
    loud = Job("loud", "failed", error=JobError("boom", "E"), completed_at=T0)
    quiet = Job("quiet", "canceled", completed_at=T0)
    await gallery.write(ledger.fail, ME, [(loud, True), (quiet, False)])
    (due,) = await gallery.read(items.to_tell, ME.owner)
    assert (due.job.job_id, due.job.error) == ("loud", JobError("boom", "E"))
    await gallery.write(ledger.told, ME.owner, ["loud"], "shown")
    assert await gallery.read(items.to_tell, ME.owner) == []
    record = await gallery.read(items.record, ME.owner, "loud")
    assert record is not None
    assert record.told == "shown"


@pytest.mark.parametrize("told", [False, True])
async def test_a_late_success_withdraws_the_failure_before_it_is_here(
    gallery: Gallery, told: bool
) -> None:
    await gallery.write(ledger.fail, ME, [(job(status="failed"), True)])
    if told:
        await gallery.write(ledger.told, ME.owner, ["j"], "shown")
    await remember(gallery, job())
    assert await gallery.read(items.to_tell, ME.owner) == []
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert (record.state, record.error, record.told) == ("pending", None, None)
    await gallery.write(ledger.told, ME.owner, ["j"], "shown too late")
    assert await gallery.read(items.record, ME.owner, "j") == record
    await settle(gallery, job(), placed=(placed(),))
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert (record.state, record.error, record.told) == ("done", None, None)


async def test_a_failure_of_an_open_job_ends_its_attempts_and_keeps_its_files(
    gallery: Gallery,
) -> None:
    await remember(gallery, job())
    await settle(
        gallery, job(), "pending", placed=(placed(),), next_attempt_at=T0, attempts=1
    )
    await gallery.write(ledger.fail, ME, [(job(status="failed"), True)])
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert (record.state, record.next_attempt_at, record.told) == (
        "failed",
        None,
        "due",
    )
    assert [item.id for item in record.items] == ["j_0"]


async def test_the_last_account_is_remembered(gallery: Gallery) -> None:
    assert await gallery.read(ledger.last_owner) is None
    for owner in ("a|1", "a|2"):
        await gallery.write(ledger.signed_in, owner)
    assert await gallery.read(ledger.last_owner) == "a|2"
