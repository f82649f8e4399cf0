from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer.gallery import Gallery, items, ledger
from materializer.model import (
    Account,
    Job,
    JobError,
    JobState,
    Placed,
    Settlement,
)
from materializer.notices import SWITCHED_OFF, Notices
from materializer.notify import Notifier, Shown
from materializer.plan import Work
from materializer.presence import Events, Presence
from materializer.wording import Note

ME = Account("https://a.test", "me")
YOU = Account("https://a.test", "you")
SHOWN = Shown(True, "plyer")
HIDDEN = Shown(False, "plyer", "no session bus")
SOON = 10.0


class Desktop(Notifier):
    """A desktop that takes notes as it was told; an exception is what it raises."""

    def __init__(self, *answers: Shown | BaseException) -> None:
        super().__init__()
        self.answers = list(answers)
        self.notes: list[Note] = []

    async def show(self, note: Note) -> Shown:
        self.notes.append(note)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Wire(Events):
    """Events that are kept for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: asyncio.Queue[tuple[str, str, dict[str, Any]]] = asyncio.Queue()

    def emit(self, topic: str, type_: str, data: dict[str, Any]) -> None:
        self.heard.put_nowait((topic, type_, data))


class Office:
    """Notices over a real gallery."""

    def __init__(self, gallery: Gallery, desktop: Desktop | None) -> None:
        self.gallery = gallery
        self.desktop = desktop
        self.presence = Presence(account=ME)
        self.wire = Wire()
        self.notices = Notices(gallery, desktop, self.presence, self.wire)

    async def next(self) -> tuple[str, str, dict[str, Any]]:
        async with asyncio.timeout(SOON):
            return await self.wire.heard.get()

    async def fail(self, *jobs: Job, account: Account = ME) -> None:
        await self.gallery.write(ledger.fail, account, [(job, True) for job in jobs])

    async def settle(self, job: Job, state: JobState, *placed: Placed) -> None:
        """Enter a succeeded job whose materializing ended in `state`."""
        error = ("refused", "its host is refused")
        settlement = Settlement(job, state, placed, attempts=1, error=error, tell=True)
        await self.gallery.write(ledger.remember, ME, [Work(job, "open")])
        await self.gallery.write(ledger.settle, ME, settlement, 9, {})

    async def told(self, job_id: str = "j", owner: str = "me") -> str | None:
        record = await self.gallery.read(items.record, owner, job_id)
        assert record is not None
        return record.told

    async def looked(self) -> None:
        """Return when everything that was due before has been told."""
        await self.fail(failed("last", at=9), account=Account("", "nobody else"))
        shown, self.presence.account = self.presence.account, Account("", "nobody else")
        self.notices.wake()
        while (await self.next())[2]["jobId"] != "last":
            pass
        self.presence.account = shown


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    yield gallery
    await gallery.close()


@asynccontextmanager
async def at_work(office: Office) -> AsyncIterator[Office]:
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(office.notices.run())
        yield office
        telling.cancel()


def failed(job_id: str = "j", at: int = 5) -> Job:
    error = JobError("The model is on holiday.")
    return Job(job_id, "failed", "text_to_video", error=error, completed_at=at)


def placed(index: int, kind: Any = "image") -> Placed:
    return Placed(index, kind, f"/out/j_{index}.png", 3, "00", "image/png")


async def test_each_failure_is_told_once_oldest_first_and_recorded(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.fail(failed("later", at=6), failed("j"))
        office.notices.wake()
        words = {
            "title": "Video generation failed",
            "body": "The model is on holiday.",
            "shown": True,
        }
        first, second = await office.next(), await office.next()
        assert first == ("notification", "shown", {"jobId": "j"} | words)
        assert second == ("notification", "shown", {"jobId": "later"} | words)
        office.notices.wake()
        await office.looked()
        assert await office.told() == "shown through plyer"
        assert office.presence.notifications == "shown through plyer"
        assert len(desktop.notes) == 3
    [line] = [record for record in caplog.records if "job j:" in record.message]
    assert line.levelno == logging.INFO
    assert "The model is on holiday." in line.message


async def test_what_could_not_be_shown_is_said_and_not_repeated(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    desktop = Desktop(HIDDEN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.fail(failed())
        office.notices.wake()
        topic, type_, data = await office.next()
        assert (topic, type_, data["shown"]) == ("notification", "not_shown", False)
        assert await office.told() == "not shown: no session bus"
        assert office.presence.notifications == "not shown: no session bus"
        office.notices.wake()
        await office.looked()
        assert len(desktop.notes) == 2
    [line, _] = caplog.records
    assert line.levelno == logging.WARNING
    assert "no session bus" in line.message


@pytest.mark.parametrize("fault", [RuntimeError("power cut"), asyncio.CancelledError()])
async def test_a_crash_between_showing_and_recording_tells_it_again(
    gallery: Gallery, fault: BaseException
) -> None:
    office = Office(gallery, Desktop(fault))
    await office.fail(failed())
    office.notices.wake()
    with pytest.raises(type(fault)):
        await office.notices.run()
    assert await office.told() == "due"
    assert office.wire.heard.empty()
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as again:
        again.notices.wake()
        await again.next()
        assert await again.told() == "shown through plyer"
    assert len(desktop.notes) == 1


async def test_what_could_not_be_recorded_is_told_again_and_stops_nothing(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("the gallery cannot be used")

    desktop = Desktop(SHOWN)
    office = Office(gallery, desktop)
    await office.fail(failed("j"), failed("k", at=6))
    monkeypatch.setattr(gallery, "write", refuse)
    async with at_work(office):
        office.notices.wake()
        async with asyncio.timeout(SOON):
            while len(caplog.records) < 2:
                await gallery.read(lambda db: None)
        assert office.wire.heard.empty()
        monkeypatch.undo()
        office.notices.wake()
        assert [(await office.next())[2]["jobId"] for _ in range(2)] == ["j", "k"]
        assert await office.told() == "shown through plyer"
    assert len(desktop.notes) == 4
    assert "cannot be used" in caplog.records[0].message


async def test_with_notifications_off_a_failure_is_still_recorded_and_told_to_clients(
    gallery: Gallery,
) -> None:
    async with at_work(Office(gallery, None)) as office:
        await office.fail(failed())
        office.notices.wake()
        _, type_, data = await office.next()
        assert (type_, data["shown"]) == ("not_shown", False)
        assert data["body"] == "The model is on holiday."
        assert await office.told() == SWITCHED_OFF


async def test_one_wake_up_is_enough_for_all_that_is_due(
    gallery: Gallery,
) -> None:
    office = Office(gallery, Desktop(SHOWN))
    await office.fail(failed())
    office.notices.wake()
    await office.fail(failed("k", at=6))
    async with at_work(office):
        assert [(await office.next())[2]["jobId"] for _ in range(2)] == ["j", "k"]


async def test_an_output_that_was_refused_has_its_own_words(gallery: Gallery) -> None:
    job = Job("j", "succeeded", "text_to_image", completed_at=5)
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.settle(job, "failed")
        office.notices.wake()
        await office.next()
    assert desktop.notes == [Note("Image could not be saved", "its host is refused")]


async def test_a_job_of_which_a_part_was_saved_says_so(gallery: Gallery) -> None:
    job = Job("j", "succeeded", "text_to_image", completed_at=5)
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.settle(job, "failed", placed(0))
        office.notices.wake()
        await office.next()
    assert desktop.notes == [
        Note("Image was saved only in part", "its host is refused")
    ]


async def test_an_output_that_nobody_knows_is_named(gallery: Gallery) -> None:
    job = Job("j", "succeeded", "text_to_smell", completed_at=5)
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.settle(job, "unrecognised", placed(0, "download"))
        office.notices.wake()
        await office.next()
    said = "The result of text_to_smell was kept as j_0.png."
    assert desktop.notes == [Note("Unrecognised output", said)]


async def test_nobody_is_told_while_nobody_was_ever_signed_in(
    gallery: Gallery,
) -> None:
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        office.presence.account = None
        await office.fail(failed())
        office.notices.wake()
        await office.looked()
        assert await office.told() == "due"
    assert len(desktop.notes) == 1


async def test_signed_out_the_last_owner_is_told_and_nobody_else(
    gallery: Gallery,
) -> None:
    async with at_work(Office(gallery, Desktop(SHOWN))) as office:
        office.presence.account, office.presence.last_owner = None, "me"
        await office.fail(failed("k"), account=YOU)
        await office.fail(failed())
        office.notices.wake()
        assert (await office.next())[2]["jobId"] == "j"
        await office.looked()
        assert await office.told("k", "you") == "due"


async def test_a_refused_sign_in_is_told_in_the_deployment_s_words(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        office.presence.account = None
        office.notices.sign_in_refused("The token has expired.")
        assert await office.next() == (
            "notification",
            "shown",
            {
                "jobId": None,
                "title": "Stella sign-in needed",
                "body": "The token has expired.",
                "shown": True,
            },
        )
        assert office.presence.notifications == "shown through plyer"
        await office.looked()
    assert desktop.notes[0] == Note("Stella sign-in needed", "The token has expired.")
    assert len(desktop.notes) == 2  # the second is the mark of having looked


async def test_a_disk_that_takes_no_files_is_told_with_what_to_do(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    desktop = Desktop(SHOWN)
    caplog.set_level(logging.INFO)
    async with at_work(Office(gallery, desktop)) as office:
        office.notices.disk_trouble("The disk is full: free some space.")
        assert await office.next() == (
            "notification",
            "shown",
            {
                "jobId": None,
                "title": "Saving media is paused",
                "body": "The disk is full: free some space.",
                "shown": True,
            },
        )
        await office.looked()
    assert len(desktop.notes) == 2  # the second is the mark of having looked
    assert caplog.records[0].message.startswith("disk: Saving media is paused: ")


async def test_what_is_about_no_job_is_each_told_the_newest_words_only(
    gallery: Gallery,
) -> None:
    office = Office(gallery, Desktop(SHOWN))
    office.notices.sign_in_refused("Expired.")
    office.notices.disk_trouble("Full.")
    office.notices.sign_in_refused("Revoked.")
    async with at_work(office):
        bodies = [(await office.next())[2]["body"] for _ in range(2)]
    assert bodies == ["Revoked.", "Full."]
