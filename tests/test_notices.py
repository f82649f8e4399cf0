from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer import wording
from materializer.audience import Audience
from materializer.config import Level
from materializer.gallery import Gallery, items, ledger, wishes
from materializer.model import (
    Account,
    Job,
    JobError,
    JobState,
    Placed,
    Settlement,
)
from materializer.notices import SWITCHED_OFF, Notices
from materializer.notify import Click, Notifier, Shown
from materializer.plan import Work
from materializer.presence import Events, Presence
from materializer.wording import Note

ME = Account("https://a.test", "me")
YOU = Account("https://a.test", "you")
SHOWN = Shown(True, "plyer")
HIDDEN = Shown(False, "plyer", "no session bus")
CLICK = Click("Open the folder", lambda: None)
SOON = 10.0


class Desktop(Notifier):
    """A desktop that takes notes as it was told; an exception is what it raises."""

    def __init__(self, *answers: Shown | BaseException) -> None:
        super().__init__()
        self.answers = list(answers)
        self.notes: list[Note] = []
        self.clicks: list[Click | None] = []

    async def show(self, note: Note, click: Click | None = None) -> Shown:
        self.notes.append(note)
        self.clicks.append(click)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class App(Audience):
    """A client that shows notes or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.shows = False
        self.asked: list[tuple[Note, str | None]] = []

    async def show(self, note: Note, job_id: str | None) -> bool:
        self.asked.append((note, job_id))
        return self.shows


class Wire(Events):
    """Events that are kept for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: asyncio.Queue[tuple[str, str, dict[str, Any]]] = asyncio.Queue()

    def emit(self, topic: str, type_: str, data: dict[str, Any]) -> None:
        self.heard.put_nowait((topic, type_, data))


class Office:
    """Notices over a real gallery."""

    def __init__(
        self, gallery: Gallery, desktop: Desktop, level: Level = "all"
    ) -> None:
        self.gallery = gallery
        self.desktop = desktop
        self.presence = Presence(account=ME)
        self.wire = Wire()
        self.app = App()
        self.notices = Notices(
            gallery,
            desktop,
            self.presence,
            self.wire,
            self.app,
            level=level,
            click=CLICK,
        )

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

    async def looked(self) -> list[Note]:
        """Return when all that was due before has been told: the notes of the desktop.

        News is told before failures, so that a second look has had the first one's.
        """
        for mark in ("first", "second"):
            self.notices.disk_trouble(mark)
            while (await self.next())[2]["body"] != mark:
                pass
        marks = {wording.disk_trouble(mark) for mark in ("first", "second")}
        return [note for note in self.desktop.notes if note not in marks]


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
        assert await office.told() == "shown through plyer"
        assert office.presence.notifications == "shown through plyer"
        assert len(await office.looked()) == 2
        assert desktop.clicks[:2] == [CLICK, CLICK]
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
        assert len(await office.looked()) == 1
    line = caplog.records[0]
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


async def test_what_could_not_be_recorded_is_not_told_again_and_stops_nothing(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("the gallery cannot be used")

    desktop = Desktop(SHOWN)
    office = Office(gallery, desktop)
    await office.fail(failed("j"), failed("k", at=6))
    monkeypatch.setattr(gallery, "write", refuse)
    async with at_work(office):
        assert [(await office.next())[2]["jobId"] for _ in range(2)] == ["j", "k"]
        assert len(await office.looked()) == 2
        assert await office.told() == "due"
        monkeypatch.undo()
        assert len(await office.looked()) == 2
        assert await office.told() == "shown through plyer"
    assert "cannot be used" in caplog.records[0].message


async def test_what_failed_anew_before_it_was_recorded_is_told_anew(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("the gallery cannot be used")

    office = Office(gallery, Desktop(SHOWN))
    await office.fail(failed())
    monkeypatch.setattr(gallery, "write", refuse)
    async with at_work(office):
        await office.next()
        assert len(await office.looked()) == 1
        monkeypatch.undo()
        await gallery.write(
            lambda db: db.execute("UPDATE jobs SET error = 'Back, and out again.'")
        )
        notes = await office.looked()
    assert [note.body for note in notes][1:] == ["Back, and out again."]


async def test_with_notifications_off_a_failure_is_still_recorded_and_told_to_clients(
    gallery: Gallery,
) -> None:
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop, "off")) as office:
        office.app.shows = True
        await office.fail(failed())
        office.notices.wake()
        _, type_, data = await office.next()
        assert (type_, data["shown"]) == ("not_shown", False)
        assert data["body"] == "The model is on holiday."
        assert await office.told() == SWITCHED_OFF
        assert await office.looked() == []
    assert (desktop.notes, office.app.asked) == ([], [])


async def test_failures_alone_are_told_to_who_wants_no_more(
    gallery: Gallery,
) -> None:
    async with at_work(Office(gallery, Desktop(SHOWN), "failures")) as office:
        await office.fail(failed())
        office.notices.sign_in_refused("The token has expired.")
        assert (await office.next())[1] == "not_shown"
        assert (await office.next())[1:] == (
            "shown",
            {
                "jobId": "j",
                "title": "Video generation failed",
                "body": "The model is on holiday.",
                "shown": True,
            },
        )
        office.notices.level = "all"
        office.notices.sign_in_refused("The token has expired.")
        assert (await office.next())[1] == "shown"


async def test_an_app_that_shows_notes_goes_before_the_desktop(
    gallery: Gallery,
) -> None:
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        office.app.shows = True
        await office.fail(failed())
        office.notices.wake()
        assert (await office.next())[2]["shown"] is True
        assert await office.told() == "shown through the app"
        assert office.presence.notifications == "shown through the app"
        assert desktop.notes == []
        office.app.shows = False
        await office.fail(failed("k", at=6))
        office.notices.wake()
        await office.next()
        assert await office.told("k") == "shown through plyer"
    asked = Note("Video generation failed", "The model is on holiday.")
    assert office.app.asked == [(asked, "j"), (asked, "k")]


async def test_a_storm_of_thirty_is_three_notes_the_last_with_the_count(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("materializer.storm.QUIET", 0.2)
    caplog.set_level(logging.INFO)
    desktop = Desktop(SHOWN)
    async with at_work(Office(gallery, desktop)) as office:
        await office.fail(*(failed(f"j{n:02}", at=n) for n in range(30)))
        office.notices.wake()
        heard = [(await office.next())[2] for _ in range(3)]
        assert [data["jobId"] for data in heard] == ["j00", "j01", None]
        notes = await office.looked()
        told = [await office.told(f"j{n:02}") for n in range(30)]
    assert len(notes) == 3
    assert notes[-1] == Note(
        "28 more jobs failed",
        "30 in all; the newest: Video generation failed: The model is on holiday.",
    )
    assert told == ["shown through plyer"] * 30
    assert any(line.startswith("28 jobs: 28 more jobs") for line in caplog.messages)


async def test_a_snooze_holds_everything_back_and_then_it_is_told(
    gallery: Gallery,
) -> None:
    office = Office(gallery, Desktop(SHOWN))
    await gallery.write(wishes.snooze, 2**52)
    asleep = asyncio.Event()
    rest = office.notices._rest

    async def note() -> float:
        left = await rest()
        if left > 0:
            asleep.set()
        return left

    office.notices._rest = note  # type: ignore[method-assign]
    await office.fail(failed())
    office.notices.sign_in_refused("Expired.")
    async with at_work(office):
        async with asyncio.timeout(SOON):
            await asleep.wait()
        assert office.desktop.notes == []
        assert await office.told() == "due"
        await gallery.write(wishes.snooze, time.time_ns() // 1_000_000 + 100)
        office.notices.wake()
        assert (await office.next())[2]["body"] == "Expired."
        assert (await office.next())[2]["jobId"] == "j"
    assert await gallery.read(wishes.snoozed_until) <= time.time() * 1000


async def test_a_snooze_that_is_ended_lets_all_be_told_at_once(
    gallery: Gallery,
) -> None:
    await gallery.write(wishes.snooze, 2**52)
    async with at_work(Office(gallery, Desktop(SHOWN))) as office:
        await office.fail(failed())
        await gallery.write(wishes.snooze, 0)
        office.app.on_change()
        assert (await office.next())[2]["jobId"] == "j"


async def test_what_is_mended_before_it_was_told_is_not_told(
    gallery: Gallery,
) -> None:
    office = Office(gallery, Desktop(SHOWN))
    office.notices.sign_in_refused("Expired.")
    office.notices.disk_trouble("Full.")
    office.notices.sign_in_refused(None)
    office.notices.disk_trouble(None)
    async with at_work(office):
        assert await office.looked() == []


async def test_who_waits_for_a_job_is_not_told_besides_unless_they_leave(
    gallery: Gallery,
) -> None:
    async with at_work(Office(gallery, Desktop(SHOWN))) as office:
        office.app.expect(("me", "j"))
        office.app.expect(("me", "k"))
        await office.fail(failed("j"), failed("k", at=6))
        office.notices.wake()
        assert await office.looked() == []
        await gallery.write(ledger.told, "me", ["j"], "told by answer")
        office.app.leave(("me", "j"))
        office.app.leave(("me", "k"))
        assert (await office.next())[2]["jobId"] == "k"
        assert len(await office.looked()) == 1


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
        assert await office.looked() == []
        assert await office.told() == "due"


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
        told = await office.looked()
    assert told == [Note("Stella sign-in needed", "The token has expired.")]
    assert desktop.clicks[0] is None


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
        assert len(await office.looked()) == 1
    assert desktop.clicks[0] == CLICK
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


async def test_a_repaired_gallery_is_told_once_by_whichever_daemon_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("the gallery cannot be used")

    path = tmp_path / "gallery.db"
    path.write_bytes(b"no database any more" * 999)
    gallery = Gallery.open(path, tmp_path, mend=True)
    [aside] = tmp_path.glob("gallery.db.damaged-*")
    desktop = Desktop(SHOWN)
    monkeypatch.setattr(gallery, "write", refuse)
    async with at_work(Office(gallery, desktop)) as office:
        _, type_, data = await office.next()
        assert (type_, data["jobId"]) == ("shown", None)
        assert len(await office.looked()) == 1
        monkeypatch.undo()
        assert (data["title"], aside.name in data["body"]) == (
            "The gallery was repaired",
            True,
        )
        assert len(await office.looked()) == 1
    async with at_work(Office(gallery, Desktop(SHOWN))) as again:
        assert await again.looked() == []
    await gallery.close()


async def test_a_gallery_that_cannot_be_read_just_now_stops_no_notice(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()
    read = gallery.read

    async def refuse(*_: object) -> None:
        monkeypatch.setattr(gallery, "read", read)
        asked.set()
        raise OSError(5, "the disk fails")

    monkeypatch.setattr(gallery, "read", refuse)
    async with at_work(Office(gallery, Desktop(SHOWN))) as office:
        async with asyncio.timeout(SOON):
            await asked.wait()
        await office.looked()
    assert "the disk fails" in caplog.text
