from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from desk import SOON, Desk, ask
from materializer.audience import Audience
from materializer.ipc.client import Client
from materializer.wording import Note

NOTE = Note("Video generation failed", "Out of film.")


class App:
    """A client that hears events, and may show notifications."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sent = client.notifications()

    async def subscribe(self, **params: object) -> None:
        await ask(self._client, "events.subscribe", **params)

    async def asked(self) -> dict[str, Any]:
        """Return the data of the next note that it is to show."""
        async with asyncio.timeout(SOON):
            event = (await anext(self._sent)).params
        assert (event["topic"], event["type"]) == ("notification", "show")
        assert isinstance(event["at"], int)
        data = event["data"]
        assert isinstance(data, dict)
        return data

    async def say_shown(self, number: int) -> None:
        await ask(self._client, "notification.shown", number=number)


@pytest.fixture
async def app(client: Client) -> App:
    return App(client)


@asynccontextmanager
async def another(desk: Desk) -> AsyncIterator[App]:
    async with Client(desk.state) as client:
        yield App(client)


async def test_a_client_that_presents_is_asked_and_believed(
    desk: Desk, app: App
) -> None:
    await app.subscribe(topics=["job"], presents=True)
    async with asyncio.TaskGroup() as tasks:
        showing = tasks.create_task(desk.audience.show(NOTE, "j"))
        asked = await app.asked()
        number = asked.pop("number")
        assert asked == {
            "jobId": "j",
            "title": "Video generation failed",
            "body": "Out of film.",
            "shown": False,
        }
        assert not showing.done()
        await app.say_shown(number)
    assert showing.result() is True


async def test_nobody_is_asked_who_has_not_said_so(desk: Desk, app: App) -> None:
    await app.subscribe()
    assert await desk.audience.show(NOTE, None) is False
    await app.subscribe(presents=True)
    await app.subscribe(presents=False)
    await ask_until(desk.audience, presenters=0)
    assert await desk.audience.show(NOTE, None) is False


async def test_of_two_the_last_is_asked_and_nobody_twice(desk: Desk, app: App) -> None:
    await app.subscribe(presents=True)
    async with another(desk) as later:
        await later.subscribe(presents=True)
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(desk.audience.show(NOTE, None))
            number = (await later.asked())["number"]
            await app.say_shown(number)  # which was not asked
            assert not showing.done()
            await later.say_shown(number)
            await later.say_shown(number)
        assert showing.result() is True


async def test_a_client_that_does_not_answer_has_not_shown_it(
    desk: Desk, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.audience.PATIENCE", 0.05)
    await app.subscribe(presents=True)
    assert await desk.audience.show(NOTE, None) is False
    await app.say_shown((await app.asked())["number"])
    assert await desk.audience.show(NOTE, None) is False


async def test_a_client_that_goes_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.audience.PATIENCE", 99)
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as gone:
        app = await gone.enter_async_context(another(desk))
        await app.subscribe(presents=True)
        showing = tasks.create_task(desk.audience.show(NOTE, None))
        await app.asked()
        await gone.aclose()
        async with asyncio.timeout(SOON):
            assert await showing is False


async def test_who_waits_for_a_job_is_counted_until_the_last_has_left() -> None:
    audience = Audience()
    left = []
    audience.on_change = lambda: left.append(True)
    for _ in range(2):
        audience.expect(("me", "j"))
    assert audience.expects(("me", "j"))
    assert not audience.expects(("you", "j"))
    audience.leave(("me", "j"))
    assert (audience.expects(("me", "j")), left) == (True, [])
    audience.leave(("me", "j"))
    assert (audience.expects(("me", "j")), left) == (False, [True])


async def ask_until(audience: Audience, presenters: int) -> None:
    async with asyncio.timeout(SOON):
        while len(audience._presenters) != presenters:  # noqa: ASYNC110 -- no bell
            await asyncio.sleep(0)
