"""What a person sees on a desktop: dunst on a real bus and display, read back."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import session_desktop
from process.house import MATERIALIZER, MEDIA, App, House, started, until
from session_desktop import Session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is Linux's")

VIDEO = {"capability": "text_to_video"}


@pytest.fixture
def desktop(house: House, tmp_path: Path) -> Iterator[Session]:
    """A desktop of its own, with the daemon in its session."""
    with session_desktop.session(tmp_path) as made:
        house.environ |= made.environ
        yield made


@asynccontextmanager
async def at_work(house: House, *flags: str, **params: object) -> AsyncIterator[App]:
    async with house.daemon(*flags), App(house.state) as app:
        if params:
            await app.call("events.subscribe", **params)
        await app.feed("live")
        yield app


def lose(house: House, job_id: str, message: str, *, canceled: bool = False) -> None:
    """Let a video job of the account fail."""
    deployment, now = house.backend.deployment, time.time_ns()
    owner = house.backend.owner()
    deployment.submit(now, owner=owner, job_id=job_id, capability="text_to_video")
    if canceled:
        deployment.cancel(now, job_id)
    else:
        deployment.fail(now, job_id, message)


async def status(app: App) -> dict[str, Any]:
    told: dict[str, Any] = await app.call("daemon.status")
    return told


async def test_thirty_failures_at_once_are_three_notes_the_last_with_the_count(
    house: House, desktop: Session, tmp_path: Path
) -> None:
    for n in range(30):
        lose(house, f"lost{n:02}", f"Out of film {n}.")
    async with at_work(house) as app:
        told = [await app.event("notification") for _ in range(3)]
        assert [one["jobId"] is None for one in told] == [False, False, True]
        assert (await status(app))["notifications"] == "shown through the desktop"
        assert desktop.on_display() == 3
        picture = desktop.screenshot(tmp_path / "storm.png")
        assert len(picture.getcolors(picture.width * picture.height) or []) > 10
    notes = desktop.history()
    assert notes == [
        (
            "28 more jobs failed",
            "30 in all; the newest: Video generation failed: Out of film 29.",
        ),
        ("Video generation failed", "Out of film 1."),
        ("Video generation failed", "Out of film 0."),
    ]


async def test_a_failure_is_told_once_however_often_the_daemon_starts(
    house: House, desktop: Session
) -> None:
    lose(house, "first", "Out of film.")
    async with at_work(house) as app:
        await app.event("notification", jobId="first")
    lose(house, "second", "Out of ideas.")
    async with at_work(house) as app:
        await app.event("notification", jobId="second")
    bodies = [body for _, body in desktop.history()]
    assert bodies == ["Out of ideas.", "Out of film."]


async def test_the_backend_s_words_are_text_in_one_line_and_no_option(
    house: House, desktop: Session
) -> None:
    lose(house, "j", "--urgency=critical\n<b>bold</b> \x1b[31m & https://h/x?sig=no")
    async with at_work(house) as app:
        await app.event("notification", jobId="j")
    [(title, body)] = desktop.history()
    assert title == "Video generation failed"
    assert body == (" --urgency=critical &lt;b&gt;bold&lt;/b&gt; [31m &amp; https://h")


async def test_a_job_that_the_person_canceled_is_no_news(
    house: House, desktop: Session
) -> None:
    async with at_work(house) as app:
        lose(house, "canceled", "", canceled=True)
        await app.event("job", jobId="canceled", state="failed")
        lose(house, "lost", "Out of film.")
        await app.event("notification", jobId="lost")
    assert [body for _, body in desktop.history()] == ["Out of film."]


@pytest.mark.parametrize("page", [True, False])
async def test_a_click_opens_the_page_that_is_served_or_else_the_folder(
    house: House, desktop: Session, tmp_path: Path, page: bool
) -> None:
    mark, bin_ = tmp_path / "opened", tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "xdg-open").write_text(
        f'#!/bin/sh\nprintf %s "$1" >{mark}.new\nmv {mark}.new {mark}\n'
    )
    (bin_ / "xdg-open").chmod(0o700)
    house.environ["PATH"] = f"{bin_}:{os.environ['PATH']}"
    house.environ.pop("INVOCATION_ID", None)
    lose(house, "j", "Out of film.")
    serve = *MATERIALIZER, "display", "--no-browser"
    opened = str(house.outputs)
    async with at_work(house) as app, AsyncExitStack() as open_:
        await app.event("notification", jobId="j")
        if page:
            serving = started(house.root, house.environ, *serve)
            display = await open_.enter_async_context(serving)
            opened, _, key = (await display.line()).partition("?")
            assert key
        assert not mark.exists()
        desktop.dunst("action")
        await until(mark.exists)
    assert mark.read_text() == opened


async def test_an_app_that_shows_notifications_is_asked_and_the_desktop_is_not(
    house: House, desktop: Session
) -> None:
    lose(house, "j", "Out of film.")
    async with at_work(house, presents=True) as app:
        shown = await app.event("notification", jobId="j", shown=False)
        await app.call("notification.shown", number=shown["number"])
        await app.event("notification", jobId="j", shown=True)
        assert (await status(app))["notifications"] == "shown through the app"
        assert desktop.history() == []
        lose(house, "silent", "Out of ideas.")
        unanswered = await app.event("notification", jobId="silent", shown=False)
        assert unanswered["number"] != shown["number"]
        await app.event("notification", jobId="silent", shown=True)
    assert [body for _, body in desktop.history()] == ["Out of ideas."]


@pytest.mark.parametrize("daemon", [True, False])
async def test_who_waited_with_stella_media_is_not_told_besides(
    house: House, desktop: Session, daemon: bool
) -> None:
    request = {**VIDEO, "prompt": "[slow:3] [fail: Out of film.]"}
    house.environ |= {
        "STELLA_MEDIA_BASE_URL": house.backend.site_url,
        "STELLA_CONVEX_URL": house.backend.convex_url,
        "STELLA_MEDIA_TOKEN_FILE": str(house.backend.token_file),
    }
    command = *MEDIA, "generate", "--wait", "--request", json.dumps(request)
    if not daemon:
        end = await house.command(*command)
        assert "Out of film." in end.err
    async with at_work(house) as app:
        if daemon:
            end = await house.command(*command)
            assert "Out of film." in end.err
        lose(house, "unwatched", "Out of ideas.")
        await app.event("notification", jobId="unwatched")
    assert [body for _, body in desktop.history()] == ["Out of ideas."]


async def test_a_snooze_holds_notes_back_over_a_restart(
    house: House, desktop: Session
) -> None:
    snooze = *MATERIALIZER, "snooze"
    async with at_work(house) as app:
        end = await house.command(*snooze, "2h")
        assert end.out.startswith("no notifications until ")
        assert (await house.command(*snooze, "soon")).code == 2
        lose(house, "j", "Out of film.")
        await app.event("job", jobId="j", state="failed")
    async with at_work(house) as app:
        assert (await status(app))["snoozedUntil"] is not None
        assert desktop.history() == []
        end = await house.command(*snooze, "off")
        assert (end.code, end.out) == (0, "notifications are shown\n")
        await app.event("notification", jobId="j", shown=True)
    assert [body for _, body in desktop.history()] == ["Out of film."]


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("all", {"Saving media is paused", "Video generation failed"}),
        ("failures", {"Video generation failed"}),
        ("off", set[str]()),
    ],
)
async def test_the_level_says_of_what_the_person_is_told_each_once(
    house: House, desktop: Session, level: str, seen: set[str]
) -> None:
    house.environ["STELLA_MATERIALIZER_NOTIFICATIONS"] = level
    async with at_work(house, "--min-free-space", "1000TiB") as app:
        for job_id in ("one", "two"):
            house.finish_picture(job_id)
        await app.event("notification", jobId=None)
        lose(house, "lost", "Out of film.")
        await app.event("notification", jobId="lost")
    titles = [title for title, _ in desktop.history()]
    assert sorted(titles) == sorted(seen)


async def test_a_refused_sign_in_is_told_on_the_desktop(
    house: House, desktop: Session
) -> None:
    head, body, _ = house.backend.token().split(".")
    token = house.root / "token"
    token.write_text(f"{head}.{body}.c2ln")
    async with house.daemon(token_file=token), App(house.state) as app:
        await app.event("notification", jobId=None, shown=True)
        assert (await status(app))["notifications"] == "shown through plyer"
        token.write_text(house.backend.token())
        await app.feed("live")
    assert [title for title, _ in desktop.history()] == ["Stella sign-in needed"]
