from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer.feed import FeedStatus
from materializer.ipc import jsonlines
from materializer.ipc.client import Client
from materializer.ipc.connection import Connection, Method
from materializer.ipc.server import IpcServer
from materializer.model import Account
from materializer.presence import Events, Presence

ME = Account("https://a.test", "iss|me")
SOON = 10.0


class Station:
    """Events behind a real socket; a client subscribes by naming its topics."""

    def __init__(self) -> None:
        self.events = Events()
        self.listening: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    async def listen(self, connection: Connection, params: Any) -> None:
        topics = frozenset(params["topics"])
        task = connection.spawn(self.events.listen(connection, topics))
        self.listening.put_nowait(task)


@asynccontextmanager
async def station(state: Path) -> AsyncIterator[Station]:
    built = Station()
    async with IpcServer(state, "1") as server:
        server.offer({"listen": Method(lambda sent: sent, built.listen)})
        yield built


async def tune_in(client: Client, *topics: str) -> None:
    await client.call("listen", {"topics": topics}, SOON)


async def next_event(client: Client) -> dict[str, Any]:
    async with asyncio.timeout(SOON):
        sent = await anext(client.notifications())
    assert sent.method == "event"
    event: dict[str, Any] = sent.params
    return event


def test_nobody_is_signed_in_at_first_and_nothing_is_shown() -> None:
    presence = Presence()
    assert (presence.owner, presence.shown_owner) == (None, None)
    assert presence.feed.state == "stopped"


def test_the_last_owner_is_shown_while_nobody_is_signed_in() -> None:
    presence = Presence(last_owner="iss|me")
    assert (presence.owner, presence.shown_owner) == (None, "iss|me")


def test_whoever_is_signed_in_is_shown_and_nobody_else() -> None:
    presence = Presence(account=Account("https://a.test", "b"), last_owner="a")
    assert (presence.owner, presence.shown_owner) == ("b", "b")


async def test_it_is_known_who_is_signed_in_once_somebody_is_or_nobody_can_be() -> None:
    for then in (Presence(account=ME), Presence(feed=FeedStatus("signed_out", ""))):
        presence = Presence(feed=FeedStatus("connecting", ""))
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(presence.known())
            presence.changed()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
            presence.account, presence.feed = then.account, then.feed
            presence.changed()
        await presence.known()


def test_a_refused_account_cannot_ask_and_is_still_whose_things_are_shown() -> None:
    presence = Presence(account=ME, feed=FeedStatus("signed_out", "", refused=True))
    assert (presence.asker, presence.shown_owner) == (None, ME.owner)


async def test_what_is_done_for_an_account_ends_when_it_cannot_ask_any_more() -> None:
    presence = Presence(account=ME)

    async def wait() -> None:
        async with presence.during(ME):
            presence.changed()
            await asyncio.sleep(0)
            presence.account = None
            presence.changed()
            presence.changed()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    presence.account = ME
    async with presence.during(ME):
        presence.changed()
    presence.account = None
    presence.changed()
    assert presence._ends == {}


async def test_only_who_listens_to_a_topic_hears_of_it(tmp_path: Path) -> None:
    async with (
        station(tmp_path) as radio,
        Client(tmp_path) as jobs,
        Client(tmp_path) as both,
        Client(tmp_path) as none,
    ):
        await tune_in(jobs, "job")
        await tune_in(both, "job", "feed")
        await tune_in(none)
        before = int(time.time() * 1000)
        radio.events.emit("feed", "live", {"state": "live"})
        radio.events.emit("job", "done", {"jobId": "j"})
        heard = await next_event(jobs)
        assert before <= heard.pop("at") <= int(time.time() * 1000)
        assert heard == {"topic": "job", "type": "done", "data": {"jobId": "j"}}
        told = [(await next_event(both))["topic"] for _ in range(2)]
        assert told == ["feed", "job"]
        # What was emitted before this call would have come before its answer.
        await tune_in(none)
        assert none._wire.unasked.empty()


async def test_listening_again_replaces_the_topics(tmp_path: Path) -> None:
    async with station(tmp_path) as radio, Client(tmp_path) as client:
        await tune_in(client, "job")
        await tune_in(client, "feed")
        radio.events.emit("job", "done", {})
        radio.events.emit("feed", "live", {})
        assert (await next_event(client))["topic"] == "feed"


async def test_a_client_that_has_gone_is_forgotten(tmp_path: Path) -> None:
    async with station(tmp_path) as radio, Client(tmp_path) as staying:
        await tune_in(staying, "job")
        async with Client(tmp_path) as leaving:
            await tune_in(leaving, "job")
            assert len(radio.events._listeners) == 2
        _, left = [await radio.listening.get() for _ in range(2)]
        async with asyncio.timeout(SOON):
            await asyncio.wait([left])
        assert len(radio.events._listeners) == 1
        radio.events.emit("job", "done", {})
        assert (await next_event(staying))["topic"] == "job"


async def test_every_change_is_heard_of_and_the_state_of_now_at_once() -> None:
    presence = Presence()
    states = []
    async with asyncio.timeout(SOON):
        async for _ in presence.changes():
            states.append(presence.feed.state)
            if len(states) == 3:
                break
            presence.feed = FeedStatus("live" if len(states) == 1 else "backoff", "")
            presence.changed()
    assert states == ["stopped", "live", "backoff"]


async def test_an_event_is_put_into_words_once_for_all_who_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    notification = jsonlines.notification

    def noted(method: str, params: object) -> bytes:
        made.append(method)
        return notification(method, params)

    monkeypatch.setattr(jsonlines, "notification", noted)
    async with station(tmp_path) as radio, Client(tmp_path) as a, Client(tmp_path) as b:
        for client in (a, b):
            await client.call("listen", {"topics": ["job"]}, SOON)
            await radio.listening.get()
        radio.events.emit("job", "done", {"jobId": "j"})
        async with asyncio.timeout(SOON):
            told = [await anext(client.notifications()) for client in (a, b)]

    assert [sent.params["data"] for sent in told] == [{"jobId": "j"}] * 2
    assert made == ["event"]
