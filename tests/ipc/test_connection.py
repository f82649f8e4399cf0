import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer.ipc.client import Client
from materializer.ipc.connection import MAX_LIVE_BYTES, Connection, Method
from materializer.ipc.jsonlines import (
    CONFLICT,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RpcError,
)
from materializer.ipc.server import IpcServer

SOON = 10.0
Handler = Callable[[Connection, Any], Any]


@asynccontextmanager
async def serving(state: Path, **handlers: Handler) -> AsyncIterator[IpcServer]:
    async with IpcServer(state, "9.9") as server:
        server.offer({name: Method(as_it_came, do) for name, do in handlers.items()})
        yield server


class RawClient:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *lines: bytes) -> None:
        self.writer.write(b"".join(line + b"\n" for line in lines))

    async def receive(self) -> Any:
        async with asyncio.timeout(SOON):
            return json.loads(await self.reader.readline())

    async def ended(self) -> bool:
        """Whether the server closes, after what it may have still to say."""
        async with asyncio.timeout(SOON):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
            return True


@asynccontextmanager
async def raw(server: IpcServer) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_unix_connection(
        server.endpoint.path, limit=1 << 24
    )
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


def as_it_came(sent: object) -> Any:
    return sent


async def echo(_: Connection, params: Any) -> Any:
    return params


async def test_the_result_of_a_method_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, echo=echo) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"echo","params":{"a":[1]}}')
        assert await client.receive() == {
            "jsonrpc": "2.0",
            "id": 1,
            "result": {"a": [1]},
        }


async def test_a_notification_is_carried_out_and_not_answered(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def hear(_: Connection, __: Any) -> None:
        heard.set()

    async with serving(tmp_path, hear=hear, echo=echo) as server, raw(server) as client:
        client.send(b'{"method":"hear"}', b'{"method":"unknown"}')
        async with asyncio.timeout(SOON):
            await heard.wait()
        client.send(b'{"id":2,"method":"echo"}')
        assert (await client.receive())["id"] == 2


async def test_garbage_is_refused_and_the_client_may_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path, echo=echo) as server, raw(server) as client:
        client.send(b"\x00\xffgarbage", b"[" * 100_000, b'[{"id":1}]', b'{"id":4}')
        codes = [(await client.receive())["error"]["code"] for _ in range(4)]
        assert codes == [PARSE_ERROR, PARSE_ERROR, INVALID_REQUEST, INVALID_REQUEST]
        client.send(b'{"id":5,"method":"echo","params":5}')
        assert (await client.receive())["result"] == 5


async def test_a_line_that_is_too_long_is_refused_and_ends_the_connection(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, echo=echo) as server, raw(server) as client:
        client.send(b"x" * (1 << 21))
        assert (await client.receive())["error"]["code"] == INVALID_REQUEST
        assert await client.ended()
        async with raw(server) as other:
            other.send(b'{"id":1,"method":"echo"}')
            assert (await other.receive())["id"] == 1


async def test_refusals_carry_their_code_and_words(tmp_path: Path) -> None:
    def picky(sent: object) -> Any:
        raise RpcError(INVALID_PARAMS, f"limit: not {sent}")

    async def conflict(_: Connection, __: Any) -> None:
        raise RpcError(CONFLICT, "there is another")

    async with (
        serving(tmp_path, conflict=conflict) as server,
        Client(tmp_path) as client,
    ):
        server.offer(
            {"picky": Method(picky, echo), "conflict": Method(as_it_came, conflict)}
        )
        for method, code, words in (
            ("picky", INVALID_PARAMS, "limit: not {}"),
            ("conflict", CONFLICT, "there is another"),
            ("unknown", METHOD_NOT_FOUND, "there is no such method"),
        ):
            with pytest.raises(RpcError, match=words) as refusal:
                await client.call(method, timeout=SOON)
            assert refusal.value.rpc_code == code


async def test_a_fault_in_a_method_is_logged_and_told_without_its_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Connection, __: Any) -> None:
        raise ZeroDivisionError("a secret")

    async def odd(_: Connection, __: Any) -> object:
        return object()

    async with (
        serving(tmp_path, broken=broken, odd=odd, echo=echo),
        Client(tmp_path) as client,
    ):
        for method in ("broken", "odd"):
            with pytest.raises(RpcError, match="internal error") as refusal:
                await client.call(method, timeout=SOON)
            assert refusal.value.rpc_code == INTERNAL_ERROR
            assert "secret" not in str(refusal.value)
        assert await client.call("echo", {"still": "here"}, SOON) == {"still": "here"}
    assert [record.getMessage() for record in caplog.records] == [
        "'broken' failed",
        "'odd' failed",
    ]


async def test_a_long_call_does_not_hold_up_the_others(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def long(_: Connection, __: Any) -> str:
        await release.wait()
        return "at last"

    async with serving(tmp_path, long=long, echo=echo) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"long"}', b'{"id":2,"method":"echo"}')
        assert (await client.receive())["id"] == 2
        release.set()
        assert (await client.receive())["result"] == "at last"


async def test_calls_are_started_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    seen: list[int] = []

    async def see(_: Connection, params: Any) -> None:
        seen.append(params)

    async with serving(tmp_path, see=see) as server, raw(server) as client:
        lines = [b'{"id":%d,"method":"see","params":%d}' % (n, n) for n in range(200)]
        client.send(*lines)
        for _ in lines:
            await client.receive()
    assert seen == list(range(200))


async def test_a_client_cannot_have_more_than_64_calls_at_once(tmp_path: Path) -> None:
    release = asyncio.Event()
    full = asyncio.Event()
    running = peak = 0

    async def long(_: Connection, __: Any) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        if running == 64:
            full.set()
        await release.wait()
        running -= 1

    async with serving(tmp_path, long=long) as server, raw(server) as client:
        client.send(*(b'{"id":%d,"method":"long"}' % n for n in range(100)))
        async with asyncio.timeout(SOON):
            await full.wait()
        release.set()
        answered = {(await client.receive())["id"] for _ in range(100)}
    assert answered == set(range(100))
    assert peak == 64


async def test_the_calls_of_a_client_that_goes_are_cancelled_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def long(_: Connection, __: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(tmp_path, long=long) as server:
        async with raw(server) as client:
            client.send(b'{"id":1,"method":"long"}')
            async with asyncio.timeout(SOON):
                await started.wait()
        async with asyncio.timeout(SOON):
            await cancelled.wait()
    assert caplog.records == []


async def test_a_client_that_only_stops_sending_still_gets_its_answers(
    tmp_path: Path,
) -> None:
    async def slow(_: Connection, __: Any) -> str:
        await asyncio.sleep(0.05)
        return "done"

    async with serving(tmp_path, slow=slow) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"slow"}')
        client.writer.write_eof()
        assert (await client.receive())["result"] == "done"
        assert await client.ended()


async def test_what_a_method_spawns_comes_after_its_answer_and_ends_with_the_client(
    tmp_path: Path,
) -> None:
    ended = asyncio.Event()

    async def pump(connection: Connection) -> None:
        try:
            connection.notify("news", {"n": 1})
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def subscribe(connection: Connection, _: Any) -> dict[str, int]:
        connection.spawn(pump(connection))
        return {"cursor": 0}

    async with serving(tmp_path, subscribe=subscribe) as server:
        async with raw(server) as client:
            client.send(b'{"id":1,"method":"subscribe"}')
            assert (await client.receive())["result"] == {"cursor": 0}
            assert await client.receive() == {
                "jsonrpc": "2.0",
                "method": "news",
                "params": {"n": 1},
            }
        async with asyncio.timeout(SOON):
            await ended.wait()


async def test_what_is_to_be_finished_is_not_cut_short_by_a_client_that_goes(
    tmp_path: Path,
) -> None:
    here: list[Connection] = []
    gone, finished = asyncio.Event(), asyncio.Event()

    async def last(connection: Connection) -> None:
        await connection.drain()
        await gone.wait()
        assert not connection.is_lost
        finished.set()

    async def bye(connection: Connection, _: Any) -> str:
        here.append(connection)
        connection.finish(last(connection))
        return "bye"

    async with serving(tmp_path, bye=bye) as server, asyncio.timeout(SOON):
        async with raw(server) as client:
            client.send(b'{"id": 1, "method": "bye"}')
            assert (await client.receive())["result"] == "bye"
        reading = here[0]._reading
        assert reading is not None
        await asyncio.wait([reading])
        for _ in range(20):  # turns of the loop, in which the connection could end
            await asyncio.sleep(0)
        gone.set()
        await finished.wait()


async def test_a_fault_in_spawned_work_ends_that_client_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def pump() -> None:
        raise ZeroDivisionError

    async def subscribe(connection: Connection, _: Any) -> None:
        connection.spawn(pump())

    async with (
        serving(tmp_path, subscribe=subscribe, echo=echo) as server,
        raw(server) as one,
        raw(server) as other,
    ):
        one.send(b'{"id":1,"method":"subscribe"}')
        assert await one.ended()
        other.send(b'{"id":1,"method":"echo","params":1}')
        assert (await other.receive())["result"] == 1
    [record] = caplog.records
    assert record.getMessage() == "a client is disconnected: its work failed"


async def test_a_client_that_does_not_read_is_disconnected_and_others_notice_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connections: list[Connection] = []
    line = {"text": "x" * (1 << 16)}
    # What the bound allows, and room for what the kernel and the reader may hold.
    enough = (MAX_LIVE_BYTES >> 16) + 128

    async def join(connection: Connection, _: Any) -> None:
        connections.append(connection)

    async with (
        serving(tmp_path, join=join, echo=echo) as server,
        raw(server) as slow,
        raw(server) as brisk,
    ):
        for client in (slow, brisk):
            client.send(b'{"id":1,"method":"join"}')
            await client.receive()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(enough):
            for connection in connections:
                connection.notify("news", line)
            assert (await brisk.receive())["params"] == line
        brisk.send(b'{"id":2,"method":"echo"}')
        assert (await brisk.receive())["id"] == 2
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await slow.ended()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "disconnecting a client that does not read")
    ]


async def test_a_replay_is_paced_by_the_reader_and_not_bounded(tmp_path: Path) -> None:
    line = {"text": "x" * (1 << 16)}
    count = (MAX_LIVE_BYTES >> 16) * 2
    sent = 0

    async def replay(connection: Connection) -> None:
        nonlocal sent
        for _ in range(count):
            connection.notify("news", line)
            await connection.drain()
            assert connection._writer.transport.get_write_buffer_size() == 0
            sent += 1

    async def subscribe(connection: Connection, _: Any) -> None:
        connection.spawn(replay(connection))

    async with serving(tmp_path, subscribe=subscribe) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"subscribe"}')
        await client.receive()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while sent != before:  # until the kernel takes no more
            before = sent
            await asyncio.sleep(0.05)
        assert sent < count // 2
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            assert (await client.receive())["params"] == line


async def burst(connection: Connection) -> None:
    for n in range((MAX_LIVE_BYTES >> 16) * 3):
        connection.notify("news", {"n": n, "text": "x" * (1 << 16)})
        await connection.give_way()


async def join_burst(connection: Connection, _: Any) -> None:
    connection.spawn(burst(connection))


async def test_a_client_that_reads_gets_a_burst_of_more_than_may_be_queued(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, join=join_burst) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"join"}')
        await client.receive()
        for n in range((MAX_LIVE_BYTES >> 16) * 3):
            assert (await client.receive())["params"]["n"] == n


async def test_a_client_that_stops_reading_for_a_moment_loses_nothing(
    tmp_path: Path,
) -> None:
    full = asyncio.Event()

    async def join(connection: Connection, _: Any) -> None:
        async def watched() -> None:
            for n in range((MAX_LIVE_BYTES >> 16) * 2):
                connection.notify("news", {"n": n, "text": "x" * (1 << 16)})
                if connection._live_bytes >= MAX_LIVE_BYTES:
                    full.set()
                await connection.give_way()

        connection.spawn(watched())

    async with serving(tmp_path, join=join) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"join"}')
        await client.receive()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(SOON):
            await full.wait()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for n in range((MAX_LIVE_BYTES >> 16) * 2):
            assert (await client.receive())["params"]["n"] == n


async def test_a_client_that_does_not_go_on_reading_is_disconnected_after_a_moment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.ipc.connection._PATIENCE", 0.05)
    gone = asyncio.Event()

    async def join(connection: Connection, _: Any) -> None:
        async def watched() -> None:
            try:
                await burst(connection)
            finally:
                gone.set()

        connection.spawn(watched())

    async with serving(tmp_path, join=join) as server, raw(server) as client:
        client.send(b'{"id":1,"method":"join"}')
        await client.receive()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(SOON):
            await gone.wait()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await client.ended()
    assert [record.getMessage() for record in caplog.records] == [
        "disconnecting a client that does not read"
    ]


async def test_what_waits_for_a_client_is_written_at_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    write = asyncio.StreamWriter.write

    def noted(writer: asyncio.StreamWriter, data: bytes) -> None:
        writes.append(data)
        write(writer, data)

    async def burst(connection: Connection, _: Any) -> None:
        for number in range(100):
            connection.notify("news", number)

    async with serving(tmp_path, burst=burst) as server, raw(server) as client:
        monkeypatch.setattr(asyncio.StreamWriter, "write", noted)
        client.send(b'{"id":1,"method":"burst"}')
        said = [await client.receive() for _ in range(101)]

    assert [told["params"] for told in said if "params" in told] == [*range(100)]
    assert len([data for data in writes if b"news" in data]) == 1
