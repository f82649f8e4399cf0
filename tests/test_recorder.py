from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from materializer.errors import DiskTrouble
from materializer.gallery import Gallery, items, ledger, outbox
from materializer.model import (
    SUBMITTED,
    Account,
    DisplayUpdate,
    Job,
    JobError,
    Placed,
    Settlement,
)
from materializer.plan import Work
from materializer.recorder import Recorder

ME = Account("https://a.test", "me")


class Office:
    """A recorder over a real gallery, and whom it tells of what."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.told: list[dict[str, Any]] = []
        self.gallery_news: list[tuple[str, str, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.quiet = False
        self.recorder = Recorder(
            gallery,
            emit=self.emit,
            on_announced=self.announced,
            on_failed=lambda: self.calls.append("failed"),
            is_quiet=lambda: self.quiet,
        )

    def emit(self, owner: str, topic: str, type_: str, data: dict[str, Any]) -> None:
        assert owner == ME.owner
        if topic == "job":
            assert type_ == data["state"]
            self.told.append(data)
        else:
            self.gallery_news.append((topic, type_, data))

    def announced(self, owner: str, updates: Sequence[DisplayUpdate]) -> None:
        assert owner == ME.owner
        assert [update.seq for update in updates] == [1]
        self.calls.append("announced")

    async def settle(self, **fields: Any) -> None:
        job = Job("j", "succeeded", completed_at=5)
        await self.gallery.write(ledger.remember, ME, [Work(job, "open")])
        settlement = Settlement(job, **fields)
        updates = await self.recorder.settle(ME, settlement, 9, {})
        assert self.told == []
        self.recorder.settled(ME, settlement, updates)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    yield Office(gallery)
    await gallery.close()


async def test_a_job_that_is_begun_is_told(office: Office) -> None:
    office.recorder.begun(ME, Job("j", "succeeded"))
    assert office.told == [{"jobId": "j", "state": "fetching"}]
    assert office.calls == []


async def test_failures_are_kept_without_secrets_and_canceled_ones_quietly(
    office: Office,
) -> None:
    words = JobError("boom at https://h.test/x?sig=canary", "E1")
    failed = Job("f", "failed", error=words, completed_at=5)
    canceled = Job("c", "canceled", completed_at=6)
    await office.recorder.failed(ME, [failed, canceled])
    assert office.told == [
        {"jobId": "f", "state": "failed", "error": "boom at https://h.test"},
        {"jobId": "c", "state": "failed"},
    ]
    due = await office.gallery.read(items.to_tell, ME.owner)
    assert [record.job.job_id for record in due] == ["f"]
    assert office.calls == ["failed"]


async def test_where_nothing_failed_nobody_is_told(office: Office) -> None:
    await office.recorder.failed(ME, [])
    await office.recorder.gone(ME, [])
    assert (office.told, office.calls) == ([], [])


async def test_what_the_backend_does_not_know_is_closed(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    await office.gallery.write(ledger.submit, ME, "typo", 5)
    known = await office.gallery.read(ledger.known, ME.owner, ["typo"])
    assert known["typo"].status == SUBMITTED
    await office.recorder.gone(ME, ["typo"])
    assert await office.gallery.read(ledger.known, ME.owner, ["typo"]) == {}
    assert "typo" in caplog.text
    assert office.calls == ["failed"]


async def test_a_job_that_the_backend_has_no_longer_failed_and_that_is_told(
    office: Office,
) -> None:
    await office.gallery.write(
        ledger.remember, ME, [Work(Job("j", "succeeded"), "open")]
    )
    await office.gallery.write(ledger.submit, ME, "typo", 5)
    await office.recorder.gone(ME, ["j", "typo"])
    error = "the backend no longer has this job"
    assert office.told == [{"jobId": "j", "state": "failed", "error": error}]


async def test_each_item_that_is_entered_is_told_and_no_companion(
    office: Office,
) -> None:
    text, whole = (
        Placed(n, "text", f"/j_{n}", 1, "a", "text/plain", companion=n == 1)
        for n in (0, 1)
    )
    await office.settle(state="done", placed=(text, whole))
    assert office.gallery_news == [("gallery", "added", {"id": "j_0"})]


@pytest.mark.parametrize(("quiet", "action"), [(False, "open"), (True, "register")])
async def test_what_is_announced_while_nothing_may_open_is_registered_for_ever(
    office: Office, quiet: bool, action: str
) -> None:
    office.quiet = quiet
    await office.settle(state="done", action="open", payloads=({"kind": "media"},))
    office.quiet = False
    [update] = await office.gallery.read(outbox.after, ME.owner, 0, 9)
    assert update.action == action


@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        ({"state": "pending", "next_attempt_at": 5}, []),
        ({"state": "done", "payloads": ({"kind": "media"},)}, ["announced"]),
        ({"state": "failed", "tell": True}, ["failed"]),
        (
            {"state": "failed", "payloads": ({"kind": "media"},), "tell": True},
            ["announced", "failed"],
        ),
    ],
)
async def test_an_attempt_is_entered_and_told_to_whom_it_concerns(
    office: Office, fields: dict[str, Any], calls: list[str]
) -> None:
    await office.settle(error=("unavailable", "the source is busy"), **fields)
    state = fields["state"]
    error = "the source is busy"
    assert office.told == [{"jobId": "j", "state": state, "error": error}]
    assert office.calls == calls
    record = await office.gallery.read(items.record, ME.owner, "j")
    assert record is not None
    assert record.state == state


async def test_what_cannot_be_entered_is_told_to_nobody(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(office.gallery, "write", refuse)
    settlement = Settlement(Job("j", "succeeded"), "failed", tell=True)
    for enter in (
        office.recorder.settle(ME, settlement, 9, {}),
        office.recorder.failed(ME, [Job("f", "failed")]),
        office.recorder.gone(ME, ["g"]),
    ):
        with pytest.raises(DiskTrouble, match="full"):
            await enter
    assert (office.told, office.calls) == ([], [])
