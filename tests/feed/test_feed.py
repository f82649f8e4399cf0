from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from convex_server import FAILED, SUCCEEDED, Deployment, Talk, deployed
from convex_side import auth_error, jwt
from materializer.convex import backoff, session
from materializer.convex.events import Effect, Event, Moment
from materializer.convex.token import Token
from materializer.credentials import Credentials
from materializer.errors import SettingsInvalid
from materializer.feed import Feed, FeedStatus, TokenSource
from materializer.feed import feed as room
from materializer.model import Snapshot

ADA = "https://site.test|ada"


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    async with deployed() as deployment:
        yield deployment


class Running:
    """A feed at work, and what it told."""

    def __init__(self, url: str, tokens: TokenSource) -> None:
        self.statuses: list[FeedStatus] = []
        self.asleep = 0.0
        self._changed = asyncio.Event()
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.feed = Feed(
            url,
            tokens,
            "0.1.0",
            on_snapshot=self._snapshots.put_nowait,
            on_status=self._note,
            wall=lambda: time.time() + self.asleep,
            chance=lambda: 0.0,
        )
        self.feed.want(1, 2)

    def _note(self, status: FeedStatus) -> None:
        self.statuses.append(status)
        self._changed.set()

    async def snapshot(self) -> Snapshot:
        async with asyncio.timeout(15):
            return await self._snapshots.get()

    async def until(self, condition: Callable[[FeedStatus], bool]) -> FeedStatus:
        async with asyncio.timeout(15):
            while not condition(self.feed.status):
                self._changed.clear()
                await self._changed.wait()
        return self.feed.status

    async def nothing_comes(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await self._snapshots.get()


@asynccontextmanager
async def running(
    deployment: Deployment, tokens: TokenSource | None = None
) -> AsyncIterator[Running]:
    """Run a feed; without a source of tokens, signed in as ada."""
    work = Running(deployment.url, tokens or Credentials(value=jwt()))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work.feed.run())
        yield work
        task.cancel()


class FreshTokens:
    """Gives another token each time a fresh one is asked for."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    async def current(self, *, force: bool) -> Token | None:
        self.asked.append(force)
        return Token.read(jwt(mark=f"{sum(self.asked)}"))

    async def changes(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield


def row(job_id: str, status: str = "succeeded") -> dict[str, Any]:
    return {"jobId": job_id, "status": status, "completedAt": 1.0, "createdAt": 0.0}


def ids(snapshot: Snapshot) -> list[str]:
    assert snapshot.succeeded is not None
    return [job.job_id for job in snapshot.succeeded]


async def test_the_backlog_comes_first_and_then_what_is_new(
    deployment: Deployment,
) -> None:
    deployment.answers[SUCCEEDED] = [row("a")]
    async with running(deployment) as work:
        first = await work.snapshot()
        assert (first.owner, ids(first), first.backlog) == (ADA, ["a"], True)
        await deployment.talks[0].push(SUCCEEDED, [row("b"), row("a")])
        second = await work.snapshot()
        assert (ids(second), second.backlog) == (["b", "a"], False)
        status = work.feed.status
        assert (status.state, status.reconnects, status.last_error) == ("live", 0, None)
        assert status.connected_at is not None
        assert status.connected_at > 1_700_000_000_000
    states = [status.state for status in work.statuses]
    assert states == ["connecting", "authenticating", "live", "stopped"]


async def test_it_says_who_it_is_and_what_it_wants(deployment: Deployment) -> None:
    async with running(deployment) as work:
        await work.snapshot()
    [request] = deployment.requests
    assert request.path == "/api/sync"
    assert request.headers["Convex-Client"] == "stella-0.1.0"
    connect, authenticate, modify = deployment.talks[0].heard
    assert connect["type"] == "Connect"
    assert authenticate["value"] == jwt()
    assert [(m["udfPath"], m["args"]) for m in modify["modifications"]] == [
        (SUCCEEDED, [{"since": 1.0, "limit": 200.0}]),
        (FAILED, [{"since": 2.0, "limit": 200.0}]),
    ]


async def test_other_queries_can_be_wanted_while_it_runs(
    deployment: Deployment,
) -> None:
    async with running(deployment) as work:
        await work.snapshot()
        deployment.answers["media_jobs:getByJobId"] = row("extra")
        work.feed.want(1, 2, ["extra"])
        snapshot = await work.snapshot()
        asked = [job.job_id for job in snapshot.asked]
        assert (asked, snapshot.backlog) == (["extra"], False)


async def test_a_dropped_connection_comes_back_with_the_backlog(
    deployment: Deployment,
) -> None:
    async with running(deployment) as work:
        await work.snapshot()
        deployment.answers[SUCCEEDED] = [row("meanwhile")]
        deployment.talks[0].socket.transport.abort()
        snapshot = await work.snapshot()
        assert (ids(snapshot), snapshot.backlog) == (["meanwhile"], True)
        assert work.feed.status.reconnects == 1
    connect = deployment.talks[1].heard[0]
    assert connect["lastCloseReason"] == "closed with code 1006"
    assert connect["connectionCount"] == 1


async def test_a_refused_upgrade_is_told_in_the_deployments_words(
    deployment: Deployment,
) -> None:
    body = b'{"code":"Overloaded","message":"come back later"}'
    for content in (body, b"<html>"):
        length = {"Content-Length": str(len(content))}
        deployment.refusals.append(
            Response(503, "No", Headers(length | {"Connection": "close"}), content)
        )
    async with running(deployment) as work:
        await work.until(lambda s: s.last_error == "Overloaded: come back later")
        assert work.feed.status.state == "backoff"
        await work.until(lambda s: s.last_error == "the server refused with HTTP 503")
        await work.snapshot()
        assert (work.feed.status.last_error, work.feed.status.reconnects) == (None, 0)


async def test_no_redirect_takes_the_token_elsewhere(deployment: Deployment) -> None:
    async with deployed() as elsewhere:
        location = {"Location": elsewhere.url.replace("http", "ws")}
        deployment.refusals.append(Response(307, "There", Headers(location), b""))
        async with running(deployment) as work:
            await work.until(lambda s: s.last_error is not None)
            assert "307" in (work.feed.status.last_error or "")
            await work.snapshot()
        assert elsewhere.requests == []


async def test_garbage_is_told_and_the_feed_recovers(deployment: Deployment) -> None:
    async def babble(talk: Talk) -> None:
        await talk.hear()
        await talk.socket.send("<html>")
        await talk.socket.wait_closed()

    deployment.scripts.append(babble)
    async with running(deployment) as work:
        await work.until(lambda s: s.state == "backoff")
        assert (
            work.feed.status.last_error == "the server sent something that is no JSON"
        )
        assert (await work.snapshot()).backlog


async def test_a_refused_token_is_replaced_by_a_fresh_one(
    deployment: Deployment,
) -> None:
    async def refuse(talk: Talk) -> None:
        while (await talk.hear())["type"] != "Authenticate":
            pass
        await talk.socket.send(auth_error(0, error="expired"))
        await talk.socket.close()

    deployment.scripts.append(refuse)
    tokens = FreshTokens()
    async with running(deployment, tokens) as work:
        assert (await work.snapshot()).owner == ADA
    assert tokens.asked == [False, True]
    sent = [talk.heard[1]["value"] for talk in deployment.talks]
    assert sent == [jwt(mark="0"), jwt(mark="1")]


async def test_the_same_refused_token_is_not_sent_again(
    deployment: Deployment,
) -> None:
    async def refuse(talk: Talk) -> None:
        while (await talk.hear())["type"] != "Authenticate":
            pass
        await talk.socket.send(auth_error(0, error="bad signature"))
        await talk.socket.close()

    deployment.scripts.append(refuse)
    known = Credentials(value=jwt())
    async with running(deployment, known) as work:
        status = await work.until(lambda s: s.state == "signed_out")
        assert (status.last_error, status.refused) == ("bad signature", True)
        await work.nothing_comes()
        assert len(deployment.talks) == 1
        async with asyncio.timeout(1):
            known.set(jwt(mark="new"))
            await work.until(lambda s: s.state == "live")
        assert (await work.snapshot()).backlog
        assert not work.feed.status.refused
        assert deployment.talks[1].heard[1]["value"] == jwt(mark="new")


async def test_a_server_that_accepts_and_closes_sees_few_attempts(
    deployment: Deployment,
) -> None:
    async def close(talk: Talk) -> None:
        await talk.socket.close()

    deployment.scripts.extend([close] * 100)
    async with running(deployment):
        loop = asyncio.get_running_loop()
        start = loop.time()
        await deployment.until(lambda: len(deployment.requests) == 3)
        # The least that chance can make of 1 s and 2 s.
        assert loop.time() - start >= 1.5


async def test_nobody_signed_in_means_no_connection(deployment: Deployment) -> None:
    known = Credentials()
    async with running(deployment, known) as work:
        await work.until(lambda s: s.state == "signed_out")
        await work.nothing_comes()
        assert deployment.requests == []
        known.set(jwt("bob"))
        assert (await work.snapshot()).owner == "https://site.test|bob"


async def test_signing_out_reaches_the_server_and_ends_the_connection(
    deployment: Deployment,
) -> None:
    known = Credentials()
    known.set(jwt())
    async with running(deployment, known) as work:
        await work.snapshot()
        known.clear()
        [talk] = deployment.talks
        await deployment.until(lambda: talk.socket.state.name == "CLOSED")
        assert talk.heard[-1]["tokenType"] == "None"
        assert work.feed.status.state == "signed_out"
        assert work.feed.status.connected_at is None
        await work.nothing_comes()


async def test_a_connection_that_is_slow_to_close_is_heard_no_more(
    deployment: Deployment,
) -> None:
    known = Credentials()
    known.set(jwt())
    async with running(deployment, known) as work:
        await work.snapshot()
        old = work.feed._line
        assert old is not None
        assert old.task is not None
        deployment.talks[0].socket.transport.pause_reading()
        known.clear()
        await work.until(lambda s: s.state == "signed_out")
        known.set(jwt())
        await work.snapshot()
        await asyncio.wait([old.task])
        assert (work.feed.status.state, work.feed.status.reconnects) == ("live", 1)
        deployment.talks[0].socket.transport.abort()


async def test_pings_keep_a_quiet_connection_and_silence_ends_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE", 0.5)
    async with running(deployment) as work:
        await work.snapshot()
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() < start + 1:
            await (await deployment.talks[0].socket.ping())
            await asyncio.sleep(0.05)
        assert work.feed.status.state == "live"
        status = await work.until(lambda s: s.state == "backoff")
        assert "silent" in (status.last_error or "")


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system be one that does not tell of a sleep."""
    monkeypatch.setattr("materializer.feed.jumps._timer", lambda: None)


@pytest.mark.skipif("sys.platform != 'linux'", reason="Linux alone tells of a sleep")
async def test_a_sleep_that_the_system_tells_of_is_noticed_without_a_look(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "GLANCE", 0.0)  # a look would notice it at once
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    monkeypatch.setattr("materializer.feed.jumps._timer", lambda: bell)
    async with running(deployment) as work:
        await work.snapshot()
        work.asleep = 3600
        await work.nothing_comes()
        assert len(deployment.requests) == 1
        os.eventfd_write(bell, 1)
        await deployment.until(lambda: len(deployment.requests) == 2)
        await work.until(lambda s: s.state == "live")
    assert deployment.talks[1].heard[0]["lastCloseReason"] == "WokeUp"


@pytest.mark.usefixtures("untold")
async def test_a_sleep_of_the_computer_is_noticed_within_two_seconds(
    deployment: Deployment,
) -> None:
    async with running(deployment) as work:
        await work.snapshot()
        # Now the timer has the longest way to go, as it stood still in sleep.
        work.asleep = 3600
        loop = asyncio.get_running_loop()
        woke = loop.time()
        await deployment.until(lambda: len(deployment.requests) == 2)
        assert loop.time() - woke < 2
        await work.until(lambda s: s.state == "live")
    assert deployment.talks[1].heard[0]["lastCloseReason"] == "WokeUp"


@pytest.mark.usefixtures("untold")
async def test_a_wait_that_the_sleep_has_frozen_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "GLANCE", 0.05)
    waits = {"WokeUp": 0.0}
    monkeypatch.setattr(
        backoff, "delay", lambda reason, *_, **__: waits.get(reason, 99)
    )
    async with deployed() as deployment:
        deployment.refusals.append(Response(503, "Busy", Headers(), b""))
        async with running(deployment) as work:
            await work.until(lambda s: s.state == "backoff")
            work.asleep = 3600
            await work.until(lambda s: s.state == "live")


@pytest.mark.usefixtures("untold")
async def test_nothing_is_looked_at_while_nobody_is_signed_in(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "GLANCE", 0.01)
    async with running(deployment, Credentials()) as work:
        await work.until(lambda s: s.state == "signed_out")
        looks: list[Event] = []

        def look(event: Event, _: Moment) -> list[Effect]:
            looks.append(event)
            return []

        monkeypatch.setattr(work.feed._session, "receive", look)
        await work.nothing_comes()
        assert looks == []


class Answers:
    """A source of tokens of which each question waits for its own answer."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.answers: list[asyncio.Future[Token | None]] = []
        self.changed = asyncio.Event()
        self._noticed = asyncio.Event()

    async def current(self, *, force: bool) -> Token | None:
        self.asked.append(force)
        self.answers.append(asyncio.get_running_loop().create_future())
        self._noticed.set()
        return await self.answers[-1]

    async def changes(self) -> AsyncIterator[None]:
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield

    async def question(self, number: int) -> asyncio.Future[Token | None]:
        async with asyncio.timeout(15):
            while len(self.answers) < number:
                self._noticed.clear()
                await self._noticed.wait()
        return self.answers[number - 1]


async def test_the_answer_to_an_earlier_question_does_not_undo_a_later_one(
    deployment: Deployment,
) -> None:
    """C67: whoever signs out while a token is being fetched stays signed out."""
    tokens = Answers()
    async with running(deployment, tokens) as work:
        early = [await tokens.question(1)]
        tokens.changed.set()
        early.append(await tokens.question(2))
        tokens.changed.set()
        (await tokens.question(3)).set_result(None)
        await work.until(lambda s: s.state == "signed_out")
        for answer in early:
            answer.set_result(Token.read(jwt()))
        await work.nothing_comes()
        assert deployment.requests == []


async def test_a_source_that_hangs_is_told_and_asked_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C79."""
    monkeypatch.setattr(room, "QUESTION_SECONDS", 0.05)
    monkeypatch.setattr("materializer.convex.identity.SELDOM", 0.05)
    tokens = Answers()
    async with running(deployment, tokens) as work:
        status = await work.until(lambda s: s.state == "signed_out")
        assert status.last_error == "the token's source does not answer"
        assert not status.refused
        monkeypatch.setattr(room, "QUESTION_SECONDS", 15)
        asked = len(tokens.answers)
        (await tokens.question(asked + 1)).set_result(Token.read(jwt()))
        await work.snapshot()


async def test_a_source_that_fails_while_live_does_not_end_the_connection(
    deployment: Deployment,
) -> None:
    """C79."""
    tokens = Answers()
    async with running(deployment, tokens) as work:
        (await tokens.question(1)).set_result(Token.read(jwt()))
        await work.snapshot()
        tokens.changed.set()
        failure = SettingsInvalid("the command failed")
        (await tokens.question(2)).set_exception(failure)
        await work.until(lambda s: s.last_error == "the command failed")
        await deployment.talks[0].push(SUCCEEDED, [row("a")])
        assert ids(await work.snapshot()) == ["a"]
    assert len(deployment.talks) == 1


async def test_a_new_token_is_used_without_reconnecting(deployment: Deployment) -> None:
    known = Credentials(value=jwt())
    async with running(deployment, known) as work:
        await work.snapshot()
        known.set(jwt("bob"))
        snapshot = await work.snapshot()
        assert (snapshot.owner, snapshot.backlog) == ("https://site.test|bob", True)
    [talk] = deployment.talks
    assert talk.heard[-1]["baseVersion"] == 1


async def test_an_unusable_token_source_is_told(deployment: Deployment) -> None:
    known = Credentials(value="password")
    async with running(deployment, known) as work:
        status = await work.until(lambda s: s.state == "signed_out")
        assert "no JWT" in (status.last_error or "")
        assert "password" not in (status.last_error or "")
        known.set(jwt())
        await work.snapshot()


async def test_a_failed_query_is_told_and_the_other_list_comes(
    deployment: Deployment,
) -> None:
    deployment.answers[FAILED] = ValueError("Could not find public function")
    async with running(deployment) as work:
        snapshot = await work.snapshot()
        assert (snapshot.succeeded, snapshot.failed) == ((), None)
        status = work.feed.status
        assert status.state == "live"
        assert status.last_error == (
            "the list of failed jobs cannot be had: Could not find public function"
        )


async def test_a_list_that_is_none_is_told(deployment: Deployment) -> None:
    deployment.answers[FAILED] = {"a": 1}
    async with running(deployment) as work:
        await work.snapshot()
        assert work.feed.status.last_error == (
            "the list of failed jobs cannot be had: it is none"
        )


async def test_of_answers_that_arrive_together_the_newest_is_told_as_the_backlog(
    deployment: Deployment,
) -> None:
    async with running(deployment) as work:
        await work.until(lambda s: s.state == "authenticating")
        assert work.feed._line is not None
        assert work.feed._line._socket is not None
        network = work.feed._line._socket.transport
        network.pause_reading()
        await deployment.until(lambda: len(deployment.talks[0].heard) == 3)
        for job_id in ("b", "c"):
            await deployment.talks[0].push(SUCCEEDED, [row(job_id)])
        network.resume_reading()
        snapshot = await work.snapshot()
        assert (ids(snapshot), snapshot.backlog) == (["c"], True)
        await work.nothing_comes()


async def test_a_listener_that_fails_ends_the_feed(deployment: Deployment) -> None:
    def fail(_: Snapshot) -> None:
        raise LookupError("a mistake of the listener")

    feed = Feed(deployment.url, Credentials(value=jwt()), "0", on_snapshot=fail)
    feed.want(1, 2)
    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.timeout(15):
            await feed.run()
    assert failed.group_contains(LookupError, match="of the listener")
    assert feed.status.state == "stopped"


async def test_a_deployment_out_of_reach_is_told() -> None:
    async with deployed() as deployment:
        pass
    async with running(deployment) as work:
        status = await work.until(lambda s: s.state == "backoff")
        assert (status.last_error or "").startswith("cannot connect: ")


async def test_it_ends_at_once_when_cancelled(deployment: Deployment) -> None:
    loop = asyncio.get_running_loop()
    async with running(deployment) as work:
        await work.snapshot()
        start = loop.time()
    assert loop.time() - start < 1
    assert work.feed.status.state == "stopped"
    assert deployment.talks[0].socket.close_code is not None


async def test_the_token_is_not_logged_even_at_debug(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(deployment) as work:
        await work.snapshot()
    client = [r for r in caplog.records if not r.name.startswith("websockets.server")]
    logged = "".join(record.getMessage() for record in client)
    # The library shortens what it logs: its two ends remain.
    assert "Authenticate" not in logged
    assert jwt()[-10:] not in logged
