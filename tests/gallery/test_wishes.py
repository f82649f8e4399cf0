from __future__ import annotations

from typing import Any

import pytest

from materializer.gallery import Gallery, items, ledger, outbox, wishes
from materializer.model import Account, Action, Job, Placed, Settlement
from materializer.plan import Work

ME = Account("https://a.test", "iss|me")
JOB = Job("j", "succeeded", "text_to_music", completed_at=5)
BUSY = "unavailable", "the source is busy"


def sound(index: int) -> Placed:
    return Placed(index, "audio", f"/j_{index}.mp3", 3, "ab", "audio/mpeg")


def told(*indices: int) -> tuple[dict[str, Any], ...]:
    return tuple({"jobId": "j", "filePath": f"/j_{index}.mp3"} for index in indices)


async def settle(
    gallery: Gallery, state: Any, action: Action = "open", **fields: Any
) -> list[tuple[str, str]]:
    """Enter what an attempt came to; return what is announced, and how."""
    if not await gallery.read(ledger.known, ME.owner, ["j"]):
        await gallery.write(ledger.remember, ME, [Work(JOB, action)])
    settlement = Settlement(JOB, state, action=action, **fields)
    updates = await gallery.write(ledger.settle, ME, settlement, 9, {})
    return [(update.action, update.payload["filePath"]) for update in updates]


async def action(gallery: Gallery) -> Action:
    return (await gallery.read(ledger.known, ME.owner, ["j"]))["j"].action


@pytest.mark.parametrize(
    ("state", "then"), [("pending", "open"), ("failed", "register")]
)
async def test_what_did_not_arrive_is_due_now_and_with_all_its_attempts(
    gallery: Gallery, state: Any, then: Action
) -> None:
    retry_at = 99 if state == "pending" else None
    await settle(
        gallery, state, attempts=9, error=BUSY, next_attempt_at=retry_at, tell=True
    )
    await gallery.write(wishes.retry, ME.owner, "j")
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert (record.state, record.attempts) == ("pending", 0)
    assert (record.next_attempt_at, record.error, record.told) == (None, None, None)
    assert await action(gallery) == then
    assert await gallery.read(ledger.open_jobs, ME) == ["j"]


@pytest.mark.parametrize("state", ["done", "unrecognised"])
async def test_what_is_here_is_not_tried_again(gallery: Gallery, state: Any) -> None:
    await settle(gallery, state, attempts=1)
    await gallery.write(wishes.retry, ME.owner, "j")
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert (record.state, record.attempts) == (state, 1)


async def test_somebody_else_s_job_is_not_tried_again(gallery: Gallery) -> None:
    await settle(gallery, "failed", error=BUSY)
    await gallery.write(wishes.retry, "iss|you", "j")
    record = await gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert record.state == "failed"


async def test_what_was_announced_before_a_new_attempt_is_not_announced_again(
    gallery: Gallery,
) -> None:
    first = await settle(
        gallery, "failed", placed=(sound(0),), payloads=told(0), error=BUSY
    )
    assert first == [("open", "/j_0.mp3")]
    await gallery.write(wishes.retry, ME.owner, "j")
    assert await settle(gallery, "failed", payloads=told(0), error=BUSY) == []
    await gallery.write(wishes.retry, ME.owner, "j")
    assert await settle(gallery, "pending", placed=(sound(1),)) == []
    last = await settle(
        gallery,
        "done",
        await action(gallery),
        placed=(sound(2),),
        payloads=told(0, 1, 2),
    )
    assert last == [("register", "/j_1.mp3"), ("register", "/j_2.mp3")]


async def test_a_claim_is_of_one_account_s_job_and_can_be_repeated(
    gallery: Gallery,
) -> None:
    for _ in range(2):
        await gallery.write(wishes.claim, ME.owner, "j")
    assert await gallery.read(wishes.is_claimed, ME.owner, "j")
    assert not await gallery.read(wishes.is_claimed, ME.owner, "k")
    assert not await gallery.read(wishes.is_claimed, "iss|you", "j")
    announced = await settle(gallery, "done", placed=(sound(0),), payloads=told(0))
    assert announced == [("register", "/j_0.mp3")]
    [update] = await gallery.read(outbox.after, ME.owner, 0, 9)
    assert update.action == "register"
