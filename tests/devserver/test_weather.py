from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from materializer.devserver.app import Backend
from materializer.devserver.upgrade import Pace
from materializer.devserver.weather import (
    CLEAR,
    GARBAGE,
    Blow,
    Break,
    Delay,
    Deny,
    HangUp,
    Lie,
    Mangle,
    Overhead,
    Redirect,
    Refuse,
    Sky,
    Slow,
    StorageTrouble,
    Swap,
    Trouble,
    Weather,
    parse,
)

DROP, RESET = Blow(does="drop"), Blow(does="reset")
PING = '{"type":"Ping"}'
TRANSITION = '{"type":"Transition","startVersion":{"querySet":4}}'


def over(*troubles: Trouble) -> Overhead:
    return Sky(Weather(trouble=troubles)).connect()


def test_a_clear_sky_lets_everything_through() -> None:
    above = over()
    assert above.refusal() is None
    assert above.strike(age=1e9) is None
    assert above.befall(PING, age=1e9) == (0, [PING])
    assert above.turns() == []


def test_a_trouble_waits_for_its_message_and_its_second() -> None:
    drop = Blow(does="drop", after_messages=2, after_seconds=1.5)
    above = over(drop)
    assert above.turns() == [1.5]
    assert above.strike(age=9) is None
    above.befall(PING, age=9)
    above.befall(PING, age=9)
    assert above.strike(age=1.4) is None
    assert above.strike(age=1.5) == drop
    assert above.strike(age=1.5) is None


def test_a_trouble_can_be_for_one_connection() -> None:
    sky = Sky(Weather(trouble=(Refuse(connection=2), Blow(does="drop", connection=3))))
    first, second, third = sky.connect(), sky.connect(), sky.connect()
    refused = [above.refusal() is not None for above in (first, second, third)]
    assert refused == [False, True, False]
    assert [above.strike(0) is not None for above in (first, second, third)] == [
        False,
        False,
        True,
    ]
    assert second.turns() == []


def test_without_always_a_trouble_comes_once() -> None:
    sky = Sky(Weather(trouble=(DROP, Refuse(), Delay(seconds=2), DROP)))
    first, second, third = sky.connect(), sky.connect(), sky.connect()
    assert (first.refusal(), second.refusal()) == (Refuse(), None)
    assert (first.strike(0), first.strike(0)) == (DROP, None)
    assert (second.strike(0), third.strike(0)) == (DROP, None)
    assert [second.befall(PING, 0)[0], second.befall(PING, 0)[0]] == [2, 0]


def test_with_always_it_comes_on_each_connection_or_message() -> None:
    drop = Blow(does="drop", always=True)
    refuse = Refuse(always=True)
    twice = Mangle(does="duplicate", always=True, after_messages=1)
    sky = Sky(Weather(trouble=(drop, refuse, twice)))
    for above in (sky.connect(), sky.connect()):
        assert above.refusal() == refuse
        assert (above.strike(0), above.strike(0)) == (drop, None)
        sent = [len(above.befall(PING, 0)[1]) for _ in range(3)]
        assert sent == [1, 2, 2]


def test_a_wrong_version_waits_for_a_transition() -> None:
    above = over(Mangle(does="wrong_version"))
    assert above.befall(PING, 0) == (0, [PING])
    _, [wrong] = above.befall(TRANSITION, 0)
    assert json.loads(wrong)["startVersion"] == {"querySet": 5}
    assert above.befall(TRANSITION, 0) == (0, [TRANSITION])


def test_a_weather_file_says_what_and_when() -> None:
    text = """
        [[trouble]]
        does = "close"
        code = 1011
        reason = "InternalServerError"
        connection = 1
        after_messages = 2

        [[trouble]]
        does = "refuse"
        status = 429
        body = "later"

        [[trouble]]
        does = "half_open"
        after_seconds = 3
        always = true
    """
    assert parse(text) == Weather(
        trouble=(
            HangUp(
                code=1011,
                reason="InternalServerError",
                connection=1,
                after_messages=2,
            ),
            Refuse(status=429, body="later"),
            Blow(does="half_open", after_seconds=3, always=True),
        )
    )
    assert parse("") == CLEAR


def test_a_weather_file_is_for_the_storage_too() -> None:
    text = """
        [[storage]]
        does = "cut"
        after_bytes = 1000
        framing = "chunked"
        request = 2

        [[trouble]]
        does = "refuse"

        [[storage]]
        does = "refuse"
        status = 429
        body = "later"
        retry_after = 2
        as_date = true

        [[storage]]
        does = "slow"
        rate = 5000
        always = true

        [[storage]]
        does = "redirect"
        to = "/elsewhere?a=b"
        status = 308

        [[storage]]
        does = "lie_length"
        by = -3

        [[storage]]
        does = "wrong_digest"
    """
    assert parse(text) == Weather(
        trouble=(Refuse(),),
        storage=(
            Break(does="cut", after_bytes=1000, framing="chunked", request=2),
            Deny(status=429, body="later", retry_after=2, as_date=True),
            Slow(rate=5000, always=True),
            Redirect(to="/elsewhere?a=b", status=308),
            Lie(by=-3),
            Swap(does="wrong_digest"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("[[trouble]", "Expected"),
        ("troubles = 1", "troubles: Extra inputs"),
        ("[[trouble]]\ndoes='rain'", "trouble.0: Input tag 'rain'"),
        ("[[trouble]]\ndoes='drop'\ncode=1000", "trouble.0.drop.code: Extra"),
        ("[[trouble]]\ndoes='refuse'\nafter_messages=1", "after_messages: Extra"),
        ("[[trouble]]\ndoes='refuse'\nstatus=200", "400 or more"),
        ("[[trouble]]\ndoes='refuse'\nstatus=499", "status: Value error, 499"),
        ("[[trouble]]\ndoes='close'\ncode=1005", "no Close frame may carry"),
        ("[[trouble]]\ndoes='close'\ncode=2000", "no Close frame may carry"),
        ("[[trouble]]\ndoes='close'\nreason='" + "é" * 62 + "'", "123 bytes"),
        ("[[trouble]]\ndoes='drop'\nconnection=0", "greater than or equal to 1"),
        ("[[trouble]]\ndoes='drop'\nconnection='1'", "valid integer"),
        ("[[trouble]]\ndoes='delay'\nseconds=inf", "finite"),
        ("[[trouble]]\ndoes='cut'", "trouble.0: Input tag 'cut'"),
        ("[[storage]]\ndoes='half_open'", "storage.0: Input tag 'half_open'"),
        ("[[storage]]\ndoes='cut'\nconnection=1", "storage.0.cut.connection: Extra"),
        ("[[storage]]\ndoes='cut'\nrequest=0", "greater than or equal to 1"),
        ("[[storage]]\ndoes='cut'\nafter_bytes=-1", "greater than or equal to 0"),
        ("[[storage]]\ndoes='cut'\nframing='none'", "cut.framing: Input should be"),
        ("[[storage]]\ndoes='slow'\nrate=0", "slow.rate: Input should be"),
        ("[[storage]]\ndoes='refuse'\nstatus=302", "400 or more"),
        ("[[storage]]\ndoes='refuse'\nretry_after=1.5", "valid integer"),
        ("[[storage]]\ndoes='redirect'", "redirect.to: Field required"),
        ('[[storage]]\ndoes="redirect"\nto="/a\\r\\nb"', "redirect.to: String"),
        ("[[storage]]\ndoes='redirect'\nto='/'\nstatus=304", "redirect.status:"),
    ],
)
def test_a_weather_file_that_is_none_is_told_on_one_line(text: str, say: str) -> None:
    with pytest.raises(ValueError, match=say) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def storage(*troubles: StorageTrouble) -> Sky:
    return Sky(Weather(storage=troubles))


def test_each_request_for_a_file_meets_the_first_trouble_that_is_left() -> None:
    page, cut = Swap(does="page"), Break(does="cut")
    sky = storage(page, cut)
    assert [sky.request(None) for _ in range(3)] == [page, cut, None]


def test_a_trouble_can_be_for_one_request() -> None:
    page, always = Swap(does="page", request=2), Slow(request=3, always=True)
    sky = storage(page, always)
    assert [sky.request(None) for _ in range(4)] == [None, page, always, None]


def test_with_always_every_request_meets_it() -> None:
    page = Swap(does="page", always=True)
    sky = storage(page, Break(does="cut"))
    assert [sky.request(None) for _ in range(3)] == [page] * 3


@pytest.mark.parametrize(
    ("trouble", "starts"),
    [
        (Swap(does="no_ranges"), [0, 5]),
        (Swap(does="bad_range"), [5]),
        (Swap(does="encode"), [None]),
        (Swap(does="wrong_digest"), [None]),
        (Swap(does="changed"), [None, 0, 5]),
        (Break(does="cut"), [None, 0, 5]),
    ],
)
def test_a_trouble_waits_for_a_request_that_it_is_about(
    trouble: StorageTrouble, starts: list[int | None]
) -> None:
    for start in (None, 0, 5):
        met = storage(trouble).request(start)
        assert met == (trouble if start in starts else None)


def test_the_storage_has_its_own_weather() -> None:
    sky = Sky(Weather(trouble=(Refuse(connection=1),), storage=(Deny(request=1),)))
    assert sky.request(None) == Deny(request=1)
    assert sky.connect().refusal() == Refuse(connection=1)


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[ClientConnection]:
    url = backend.convex_url.replace("http", "ws", 1) + "/api/sync"
    async with connect(url, ping_interval=None, close_timeout=0.5) as feed:
        yield feed


async def ask(feed: ClientConnection, version: int = 0) -> None:
    """Ask for something that is answered with one Transition."""
    versions = {"baseVersion": version, "newVersion": version + 1}
    message = {"type": "ModifyQuerySet", "modifications": []} | versions
    await feed.send(json.dumps(message))


async def hear(feed: ClientConnection) -> Any:
    return json.loads(await feed.recv())


async def end(feed: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        await feed.recv()
    return caught.value


def make(backend: Backend, *troubles: Trouble) -> None:
    backend.weather = Weather(trouble=troubles)


async def test_drop_ends_the_stream_without_a_close(backend: Backend) -> None:
    make(backend, DROP)
    async with opened(backend) as feed:
        ended = await end(feed)
    assert ended.rcvd is None
    assert isinstance(ended.__cause__, EOFError)


async def test_reset_ends_it_without_a_word(backend: Backend) -> None:
    make(backend, RESET)
    async with opened(backend) as feed:
        ended = await end(feed)
    assert isinstance(ended.__cause__, ConnectionResetError)


async def test_close_comes_with_its_code_after_its_messages(backend: Backend) -> None:
    make(backend, HangUp(code=1013, reason="ExecuteFullError", after_messages=1))
    async with opened(backend) as feed:
        await ask(feed)
        assert (await hear(feed))["type"] == "Transition"
        ended = await end(feed)
        assert ended.rcvd is not None
        assert (ended.rcvd.code, ended.rcvd.reason) == (1013, "ExecuteFullError")


async def test_a_second_can_pass_first(backend: Backend) -> None:
    make(backend, HangUp(after_seconds=0.2))
    start = asyncio.get_running_loop().time()
    async with opened(backend) as feed:
        await ask(feed)
        await hear(feed)
        await end(feed)
        assert feed.loop.time() - start > 0.2


async def test_delay_holds_a_message_back(backend: Backend) -> None:
    make(backend, Delay(seconds=0.3))
    async with opened(backend) as feed:
        start = feed.loop.time()
        await ask(feed)
        await ask(feed, 1)
        assert (await hear(feed))["endVersion"]["querySet"] == 1
        assert feed.loop.time() - start >= 0.3
        assert (await hear(feed))["endVersion"]["querySet"] == 2


async def test_an_upgrade_is_refused_with_status_and_body(backend: Backend) -> None:
    make(backend, Refuse(status=429, body="slow down"))
    with pytest.raises(InvalidStatus) as caught:
        async with opened(backend):
            pass
    assert caught.value.response.status_code == 429
    assert caught.value.response.body == b"slow down"
    async with opened(backend) as feed:
        await ask(feed)
        assert (await hear(feed))["type"] == "Transition"


async def test_what_is_no_sync_socket_has_no_weather(backend: Backend) -> None:
    make(backend, Refuse(connection=1))
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        assert (await client.get("/version")).status_code == 200
    with pytest.raises(InvalidStatus):
        async with opened(backend):
            pass


async def test_garbage_is_a_message_that_is_none(backend: Backend) -> None:
    make(backend, Blow(does="garbage"))
    async with opened(backend) as feed:
        assert await feed.recv() == GARBAGE
        await ask(feed)
        assert (await hear(feed))["type"] == "Transition"


async def test_a_duplicate_and_a_wrong_version_are_told(backend: Backend) -> None:
    twice, wrong = Mangle(does="duplicate"), Mangle(does="wrong_version")
    make(backend, twice, wrong)
    async with opened(backend) as feed:
        await ask(feed)
        first = await hear(feed)
        assert first == await hear(feed)
        assert first["startVersion"]["querySet"] == 1


async def test_a_token_can_expire_at_any_moment(backend: Backend) -> None:
    make(backend, Blow(does="expire", after_messages=2))
    async with opened(backend) as feed:
        say = {"type": "Authenticate", "baseVersion": 0, "tokenType": "User"}
        await feed.send(json.dumps(say | {"value": backend.token()}))
        assert (await hear(feed))["endVersion"]["identity"] == 1
        query = {"type": "Add", "queryId": 0, "udfPath": "media_jobs:getByJobId"}
        change = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1}
        added = [query | {"args": [{"jobId": "a"}]}]
        await feed.send(json.dumps(change | {"modifications": added}))
        assert (await hear(feed))["type"] == "Transition"
        error = await hear(feed)
        assert error["type"] == "AuthError"
        assert (error["authUpdateAttempted"], error["baseVersion"]) == (False, 1)
        ended = await end(feed)
        assert ended.rcvd is not None
        assert ended.rcvd.code == 1005


async def test_a_half_open_connection_answers_nothing_and_stays(tmp_path: Path) -> None:
    weather = Weather(trouble=(Blow(does="half_open", after_messages=1),))
    pace = Pace(ping_after=0.05)
    async with (
        Backend(tmp_path, weather=weather, pace=pace) as backend,
        opened(backend) as feed,
    ):
        await ask(feed)
        assert (await hear(feed))["type"] == "Transition"
        await ask(feed, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(feed.recv(), 0.3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(await feed.ping(), 0.1)
        assert feed.state.name == "OPEN"
        start = feed.loop.time()
        await feed.close()
        assert feed.loop.time() - start > 0.4  # nothing comes, not even a FIN


async def test_a_backend_starts_under_its_weather(tmp_path: Path) -> None:
    weather = Weather(trouble=(Refuse(always=True),))
    async with Backend(tmp_path, weather=weather) as backend:
        assert backend.weather == weather
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                async with opened(backend):
                    pass
        backend.weather = CLEAR
        async with opened(backend) as feed:
            await ask(feed)
            assert (await hear(feed))["type"] == "Transition"


async def test_a_half_open_connection_that_is_left_leaves_nothing_behind(
    backend: Backend,
) -> None:
    at_rest = len(backend._tasks)
    make(backend, Blow(does="half_open"))
    async with opened(backend) as feed:
        serving = [task for task in backend._tasks if "SyncSocket.serve" in repr(task)]
        feed.transport.abort()
        await asyncio.wait(serving, timeout=5)
    assert len(backend._tasks) == at_rest
