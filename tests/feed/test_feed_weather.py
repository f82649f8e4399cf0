"""The feed against the embedded backend, in every kind of weather."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from home import finish
from materializer.convex import backoff, session
from materializer.convex.token import Token
from materializer.credentials import Credentials
from materializer.devserver.app import Backend
from materializer.devserver.upgrade import Pace
from materializer.devserver.weather import (
    CLEAR,
    Blow,
    Delay,
    HangUp,
    Mangle,
    Refuse,
    Trouble,
    Weather,
)
from materializer.feed import Feed, FeedStatus, TokenSource
from materializer.model import Snapshot

SOON = 15.0
FULL = "TooManyConcurrentRequests"


class Watched:
    """A feed at work: what it says, and at which time of the event loop."""

    def __init__(self, backend: Backend, tokens: TokenSource) -> None:
        self.told: list[tuple[float, FeedStatus]] = []
        self._news = asyncio.Event()
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.feed = Feed(
            backend.convex_url,
            tokens,
            "1",
            on_snapshot=self._snapshots.put_nowait,
            on_status=self._note,
            chance=lambda: 0.0,
        )
        self.feed.want(0, 0)

    def _note(self, status: FeedStatus) -> None:
        self.told.append((asyncio.get_running_loop().time(), status))
        self._news.set()

    async def until(self, condition: Callable[[FeedStatus], bool]) -> FeedStatus:
        async with asyncio.timeout(SOON):
            while not condition(self.feed.status):
                self._news.clear()
                await self._news.wait()
        return self.feed.status

    async def shows(self, *job_ids: str) -> Snapshot:
        """Return the first snapshot with these jobs, and with each just once."""
        async with asyncio.timeout(SOON):
            while True:
                snapshot = await self._snapshots.get()
                assert snapshot.succeeded is not None
                seen = sorted(job.job_id for job in snapshot.succeeded)
                assert len(seen) == len(set(seen))
                if seen == sorted(job_ids):
                    return snapshot

    def errors(self) -> list[str]:
        """Return what went wrong so far, each spell of trouble once."""
        said = (status.last_error for _, status in self.told)
        return [error for error, _ in itertools.groupby(said) if error]


@asynccontextmanager
async def watched(
    backend: Backend, tokens: TokenSource | None = None
) -> AsyncIterator[Watched]:
    work = Watched(backend, tokens or Credentials(value=backend.token()))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(work.feed.run())
        yield work
        running.cancel()


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    """A backend that pings often enough for an impatient feed."""
    async with Backend(tmp_path, pace=Pace(frame_ping_every=0.1)) as backend:
        yield backend


def make(backend: Backend, *troubles: Trouble) -> None:
    backend.weather = Weather(trouble=troubles)


@pytest.mark.parametrize(
    ("trouble", "say", "reconnects"),
    [
        (Blow(does="drop", after_messages=2), "closed with code 1006", 1),
        (Blow(does="reset", after_messages=1), "closed with code 1006", 1),
        (HangUp(code=1011, reason="InternalServerError"), "InternalServerError", 1),
        (HangUp(code=1013, reason=FULL, after_messages=2), FULL, 1),
        (HangUp(code=1001, after_seconds=0.1), "closed with code 1001", 1),
        (Refuse(body='{"code":"Busy","message":"come back"}'), "Busy: come back", 0),
        (Refuse(status=502, body="<html>"), "the server refused with HTTP 502", 0),
        (Blow(does="garbage"), "the server sent something that is no JSON", 1),
        (
            Mangle(does="wrong_version", after_messages=1),
            "the server sent a Transition that does not follow",
            1,
        ),
        (
            Mangle(does="duplicate", after_messages=1),
            "the server sent a Transition that does not follow",
            1,
        ),
    ],
    ids=[
        "drop",
        "reset",
        "close",
        "close as busy",
        "close after a while",
        "refuse with words",
        "refuse with a page",
        "garbage",
        "wrong version",
        "duplicate",
    ],
)
async def test_after_the_trouble_every_job_is_there_once(
    backend: Backend, trouble: Trouble, say: str, reconnects: int
) -> None:
    finish(backend, "before")
    make(backend, trouble)
    async with watched(backend) as work:
        status = await work.until(lambda s: s.state == "backoff")
        assert (status.last_error, status.connected_at) == (say, None)
        finish(backend, "meanwhile")
        back = await work.shows("before", "meanwhile")
        assert back.backlog
        finish(backend, "after")
        await work.shows("before", "meanwhile", "after")
        status = work.feed.status
        assert (status.state, status.last_error) == ("live", None)
        assert status.reconnects == reconnects
        assert work.errors() == [say]


async def test_slow_messages_are_waited_for(backend: Backend) -> None:
    make(backend, Delay(seconds=0.3, always=True))
    async with watched(backend) as work:
        finish(backend, "a")
        await work.until(lambda s: s.state == "authenticating")
        await work.shows("a")
        finish(backend, "b")
        await work.shows("a", "b")
        assert (work.feed.status.state, work.feed.status.reconnects) == ("live", 0)
        assert work.errors() == []


async def test_a_half_open_connection_is_noticed_by_its_silence(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE", 0.5)
    make(backend, Blow(does="half_open", after_messages=2))
    finish(backend, "before")
    async with watched(backend) as work:
        await work.shows("before")
        assert work.feed.status.state == "live"
        finish(backend, "unheard")
        status = await work.until(lambda s: s.state == "backoff")
        assert status.last_error == "the server was silent for 0.5 s"
        await work.shows("before", "unheard")
        assert work.feed.status.reconnects == 1


async def test_a_server_that_never_says_a_word_is_left_again_and_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE", 0.3)
    make(backend, Blow(does="half_open", always=True))
    finish(backend, "a")
    async with watched(backend) as work:
        await work.until(lambda s: s.reconnects == 2)
        assert {status.state for _, status in work.told} == {
            "connecting",
            "authenticating",
            "backoff",
        }
        backend.weather = CLEAR
        await work.shows("a")


class FreshTokens:
    """Gives another token each time a fresh one is asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._forced = 0

    async def current(self, *, force: bool) -> Token | None:
        self._forced += force
        return Token.read(self._backend.token(lifetime=300 + self._forced))

    async def changes(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield


async def test_an_expired_token_is_replaced_by_a_fresh_one(backend: Backend) -> None:
    make(backend, Blow(does="expire", after_messages=2))
    finish(backend, "before")
    async with watched(backend, FreshTokens(backend)) as work:
        status = await work.until(lambda s: s.state == "backoff")
        assert status.last_error == "Convex token identity expired"
        finish(backend, "meanwhile")
        await work.shows("before", "meanwhile")
        assert (work.feed.status.state, work.feed.status.last_error) == ("live", None)


async def test_without_a_fresh_one_it_is_signed_out_until_there_is_one(
    backend: Backend,
) -> None:
    make(backend, Blow(does="expire", after_messages=2))
    tokens = Credentials(value=backend.token())
    async with watched(backend, tokens) as work:
        status = await work.until(lambda s: s.state == "signed_out")
        assert status.last_error == "Convex token identity expired"
        finish(backend, "meanwhile")
        tokens.set(backend.token(lifetime=600))
        await work.shows("meanwhile")
        assert work.feed.status.last_error is None


@pytest.mark.parametrize(
    "trouble",
    [
        HangUp(code=1011, reason="InternalServerError", always=True),
        Refuse(status=500, always=True),
    ],
    ids=["accept and close", "refuse"],
)
async def test_a_server_that_will_not_have_it_sees_few_attempts(
    backend: Backend, trouble: Trouble
) -> None:
    make(backend, trouble)
    finish(backend, "a")
    async with watched(backend) as work:
        tries: list[float] = []
        while len(tries) < 3:
            await work.until(lambda s: s.state == "backoff")
            await work.until(lambda s: s.state == "connecting")
            tries = [at for at, status in work.told if status.state == "connecting"]
        backend.weather = CLEAR
        await work.shows("a")
    planned = [backoff.delay("InternalServerError", n, 0.0) for n in range(5)]
    for (before, after), least in zip(itertools.pairwise(tries), planned, strict=False):
        assert after - before >= least
    # The sixth attempt, however lucky, comes when ten seconds have passed.
    assert sum(planned) > 10


async def test_one_storm_after_another_costs_no_job(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE", 0.5)
    make(
        backend,
        Refuse(connection=1),
        HangUp(connection=2, code=1013, reason=FULL, after_messages=1),
        Blow(does="drop", connection=3, after_messages=2),
        Blow(does="garbage", connection=4, after_messages=2),
        Mangle(does="duplicate", connection=5, after_messages=1),
        Blow(does="half_open", connection=6, after_messages=2),
        Blow(does="reset", connection=7, after_messages=2),
    )
    jobs: list[str] = []
    async with watched(backend) as work:
        for number in range(7):
            await work.until(lambda s: s.state == "backoff")
            jobs.append(f"job{number}")
            finish(backend, jobs[-1])
            await work.until(lambda s: s.state != "backoff")
        await work.shows(*jobs)
        assert (work.feed.status.state, work.feed.status.reconnects) == ("live", 6)
    assert work.errors() == [
        "the server refused with HTTP 503",
        FULL,
        "closed with code 1006",
        "the server sent something that is no JSON",
        "the server sent a Transition that does not follow",
        "the server was silent for 0.5 s",
        "closed with code 1006",
    ]
