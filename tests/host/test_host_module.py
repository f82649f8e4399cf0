"""The host module in Node, against the real server and what is no daemon of ours."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from desk import desk_at
from host.app import NAME, SOON, running
from materializer.announce import Announcer
from materializer.gallery import Gallery, outbox
from materializer.ipc import endpoint
from materializer.ipc.connection import Connection, Method
from materializer.ipc.contract import DisplayAck, DisplaySubscribe, Hello, reader
from materializer.ipc.endpoint import Endpoint
from materializer.ipc.server import IpcServer
from materializer.wording import Note
from process.house import until

STUCK = 1.0


class Daemon:
    """As much of one as the host module sees, over a real gallery."""

    def __init__(self, gallery: Gallery, state: Path) -> None:
        self.gallery = gallery
        self.state = state
        self.announcer = Announcer(gallery, lambda: "owner")
        self.acknowledged: asyncio.Queue[int] = asyncio.Queue()
        self.told = 0
        self.paused = asyncio.Event()

    @asynccontextmanager
    async def listening(self, protocol: int = 1) -> AsyncIterator[None]:
        async with IpcServer(self.state, "1") as server:
            server.offer(self.methods(protocol))
            yield

    async def add(self, prompt: str, action: Any = "open") -> None:
        asset = {"kind": "image", "filePaths": ["/out/j_0.png"]}
        payload = {"kind": "media", "asset": asset, "prompt": prompt, "later": [None]}
        await self.gallery.write(outbox.append, "owner", action, payload)
        self.announcer.wake()

    async def knows(self, seq: int = 0) -> None:
        """Let the app be one that was here before."""
        await self.announcer.acknowledge(NAME, seq)

    async def ack(self) -> int:
        async with asyncio.timeout(SOON):
            return await self.acknowledged.get()

    def methods(self, protocol: int) -> dict[str, Method[Any]]:
        async def hello(_: Connection, __: Hello) -> dict[str, Any]:
            return {"server": "stella-materializer", "protocol": protocol}

        return {
            "hello": Method(reader(Hello), hello),
            "display.subscribe": Method(reader(DisplaySubscribe), self._subscribe),
            "display.ack": Method(reader(DisplayAck), self._ack),
        }

    async def _subscribe(
        self, connection: Connection, params: DisplaySubscribe
    ) -> dict[str, int]:
        async def send(update: dict[str, Any]) -> None:
            connection.notify("display.update", update)
            try:
                async with asyncio.timeout(STUCK):
                    await connection.drain()
            except TimeoutError:
                self.paused.set()
                await connection.drain()
            self.told += 1

        subscription = await self.announcer.subscribe(params.consumer, params.after)
        connection.spawn(subscription.run(send))
        return {"cursor": subscription.cursor}

    async def _ack(self, _: Connection, params: DisplayAck) -> dict[str, int]:
        cursor = await self.announcer.acknowledge(params.consumer, params.seq)
        self.acknowledged.put_nowait(cursor)
        return {"cursor": cursor}


@pytest.fixture
async def daemon(tmp_path: Path, state: Path) -> AsyncIterator[Daemon]:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    yield Daemon(gallery, state)
    await gallery.close()


@asynccontextmanager
async def stranger(
    state: Path,
    answer: Callable[[StreamReader, StreamWriter], Awaitable[None]],
    protocol: int = 1,
) -> AsyncIterator[Endpoint]:
    """Let something that is no daemon of ours listen where one would."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await answer(reader, writer)
        writer.close()
        await writer.wait_closed()

    path = state / "materializer" / "stranger.sock"
    told = Endpoint(str(path), os.getpid(), "9", 0, protocol=protocol)
    endpoint.publish(state, told)
    async with await asyncio.start_unix_server(serve, path):
        yield told


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def started_by(script: str) -> list[str]:
    return [sys.executable, "-c", script]


async def test_an_app_sees_what_it_missed_and_what_comes_each_once(
    built: Path, daemon: Daemon
) -> None:
    for prompt in ("seen", "line\nbreak \u2028 ü", "third"):
        await daemon.add(prompt)
    await daemon.knows(1)
    async with daemon.listening(), running(built, daemon.state) as app:
        assert [await daemon.ack(), await daemon.ack()] == [2, 3]
        await daemon.add("live", "register")
        assert await daemon.ack() == 4
        await app.disposed()
    rows = await daemon.gallery.read(outbox.after, "owner", 1, 9)
    assert app.sent() == [
        [row.seq, "display:update", row.payload, row.action] for row in rows
    ]
    assert [row.payload["prompt"] for row in rows] == [
        "line\nbreak \u2028 ü",
        "third",
        "live",
    ]


async def test_what_was_removed_does_not_go_where_it_would_be_shown(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("a lamp", "remove")
    async with daemon.listening(), running(built, daemon.state) as app:
        [_, channel, payload, action] = await app.hears("sent")
    assert (channel, action) == ("display:removed", "remove")
    assert payload["prompt"] == "a lamp"


async def test_an_update_is_acknowledged_when_it_is_shown_and_not_before(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("first")
    await daemon.add("second")
    async with daemon.listening(), running(built, daemon.state, hold=True) as app:
        assert await app.hears("held") == [1]
        # An acknowledgement would have come before this, which goes the same way.
        app.tell("ask", "display.ack", {"consumer": "another", "seq": 0})
        assert await app.hears("answer") == [{"cursor": 0}]
        assert [await daemon.ack(), daemon.acknowledged.qsize()] == [0, 0]
        app.tell("show")
        assert await app.hears("held") == [2]
        assert await daemon.ack() == 1
        await app.killed()
    assert [seq for seq, *_ in app.sent()] == [1]


async def test_what_an_app_failed_to_show_comes_again(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("first")
    async with daemon.listening(), running(built, daemon.state, hold=True) as app:
        assert await app.hears("held") == [1]
        app.tell("fail", "no window")
        assert await app.away() == "no window"
        assert await app.hears("held") == [1]
        app.tell("show")
        assert await daemon.ack() == 1
        await app.disposed()
    assert [seq for seq, *_ in app.sent()] == [1]


async def test_what_is_being_shown_when_the_daemon_goes_is_not_shown_again(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("first")
    await daemon.add("second")
    async with running(built, daemon.state, hold=True) as app:
        async with daemon.listening():
            assert await app.hears("held") == [1]
        app.tell("ask", "daemon.status")
        assert await app.hears("refused") == [None, "the daemon has gone"]
        async with daemon.listening():
            app.tell("show")
            assert await app.hears("held") == [2]
            words = [word for word, *_ in app.heard]
            assert words.index("sent") < words.index("away"), "it came back too early"
            assert await daemon.ack() == 1
            app.tell("show")
            assert await daemon.ack() == 2
            await app.disposed()
    assert [seq for seq, *_ in app.sent()] == [1, 2]


async def test_coming_back_again_and_again_leaves_nothing_behind(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    async with running(built, daemon.state) as app:
        for seq in range(1, 9):
            await daemon.add("next")
            async with daemon.listening():
                assert await daemon.ack() == seq
        await app.disposed()  # Node would have warned of more than ten listeners


async def test_a_new_gallery_that_counts_from_one_again_is_shown(
    built: Path, daemon: Daemon, tmp_path: Path
) -> None:
    await daemon.knows()
    await daemon.add("old")
    async with running(built, daemon.state) as app:
        async with daemon.listening():
            assert await daemon.ack() == 1
        gallery = Gallery.open(tmp_path / "another.db", tmp_path)
        another = Daemon(gallery, daemon.state)
        await another.knows()
        await another.add("new")
        async with another.listening():
            assert await another.ack() == 1
        await gallery.close()
        await app.disposed()
    assert [payload["prompt"] for _, _, payload, _ in app.sent()] == ["old", "new"]


async def test_an_app_that_shows_slowly_holds_the_daemon_up_and_loses_nothing(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    count, large = 800, "x" * 10_000
    for _ in range(count):
        await daemon.add(large)
    async with daemon.listening(), running(built, daemon.state, hold=True) as app:
        assert await app.hears("held") == [1]
        async with asyncio.timeout(SOON):
            await daemon.paused.wait()
        assert daemon.told < count / 2
        # Requests have a line of their own.
        app.tell("ask", "display.ack", {"consumer": "another", "seq": 0})
        assert await app.hears("answer") == [{"cursor": 0}]
        assert await daemon.ack() == 0
        app.tell("hurry")
        for seq in range(1, count + 1):
            assert (await app.hears("sent"))[0] == seq
        await app.disposed()


async def test_requests_say_why_they_cannot_be_answered(
    built: Path, daemon: Daemon
) -> None:
    async with running(built, daemon.state) as app:
        why = await app.away()
        app.tell("ask", "daemon.status")
        assert await app.hears("refused") == [None, f"no daemon is attached: {why}"]
        assert "endpoint.json" in why
        async with daemon.listening():
            await app.hears("attached")
            app.tell("ask", "daemon.status")
            assert await app.hears("refused") == [-32601, "there is no such method"]


@pytest.mark.parametrize("where", ["endpoint", "hello"])
async def test_a_daemon_of_another_protocol_is_refused_in_words(
    built: Path, daemon: Daemon, where: str
) -> None:
    words = "the daemon speaks protocol 2, this app 1: update the older of the two"
    endings: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear_out(reader: StreamReader, _: StreamWriter) -> None:
        endings.put_nowait(await reader.read())

    there = (
        stranger(daemon.state, hear_out, protocol=2)
        if where == "endpoint"
        else daemon.listening(protocol=2)
    )
    forbidden = started_by("print('a second daemon')")
    async with there, running(built, daemon.state, command=forbidden) as app:
        for _ in range(2):
            assert await app.away() == words
        if where == "endpoint":
            assert await endings.get() == b"", "it was spoken to"
        await app.disposed()


@pytest.mark.parametrize("line", [b"}{\n", b"5\n", b"null\n", b"\xff\n"])
async def test_a_malformed_line_ends_the_connection_and_another_is_made(
    built: Path, daemon: Daemon, line: bytes
) -> None:
    calls: asyncio.Queue[bytes] = asyncio.Queue()

    async def babble(reader: StreamReader, writer: StreamWriter) -> None:
        calls.put_nowait(await reader.readline())
        writer.write(line)
        calls.put_nowait(await reader.read())

    await daemon.knows()
    await daemon.add("first")
    async with running(built, daemon.state) as app:
        async with stranger(daemon.state, babble), asyncio.timeout(SOON):
            for _ in range(2):
                say = "the daemon sent a line that is no JSON object"
                assert await app.away() == say
                assert json.loads(await calls.get())["method"] == "hello"
                assert await calls.get() == b"", "it goes on talking"
        async with daemon.listening():
            assert await daemon.ack() == 1
            await app.disposed()


async def test_an_endpoint_that_others_can_write_is_not_used(
    built: Path, daemon: Daemon
) -> None:
    async with daemon.listening():
        file = endpoint.endpoint_file(daemon.state)
        file.chmod(0o666)
        async with running(built, daemon.state) as app:
            why = await app.away()
            await app.disposed()
    assert why == (f"no daemon answers: {file} is not trusted: others can write it")


async def test_it_waits_longer_each_time_until_there_was_a_good_connection(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("first")
    async with running(built, daemon.state) as app:
        waits = [(await app.hears("away"))[1] for _ in range(4)]
        async with daemon.listening():
            assert await daemon.ack() == 1
        again = (await app.hears("away"))[1]
    for times, wait in zip((1, 2, 4, 8), waits, strict=True):
        assert 50 * times <= wait <= 100 * times
    assert 50 <= again <= 100


async def test_a_program_that_is_not_there_is_named(built: Path, state: Path) -> None:
    state.mkdir()
    command = ["stella-nowhere", "run"]
    async with running(built, state, command=command) as app:
        for _ in range(2):
            why = await app.away()
            assert why == (
                "the daemon cannot be started with stella-nowhere:"
                " there is no such program"
            )
        await app.disposed()


async def test_the_last_words_of_a_daemon_that_does_not_start_are_told(
    built: Path, state: Path
) -> None:
    state.mkdir()
    command = started_by("import sys; sys.exit('first\\nthe disk is gone')")
    async with running(built, state, command=command) as app:
        say = "the daemon ended (exit 1): the disk is gone"
        assert await app.away() == say
        await app.disposed()


async def test_what_prints_no_ready_line_is_ended(built: Path, state: Path) -> None:
    state.mkdir()
    pid_file = state / "pid"
    command = started_by(
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid()));"
        " print(5, flush=True); time.sleep(99)"
    )
    async with running(built, state, command=command) as app:
        say = "the daemon sent a line that is no JSON object"
        assert await app.away() == say
        pid = int(pid_file.read_text())
        await until(lambda: has_ended(pid))
        await app.disposed()


async def test_only_one_daemon_is_started_however_often_it_hangs_up(
    built: Path, state: Path
) -> None:
    hung_up = 0

    async def hang_up(_: StreamReader, __: StreamWriter) -> None:
        nonlocal hung_up
        hung_up += 1

    starts = state.with_name("starts")
    async with stranger(state, hang_up) as there:
        endpoint.withdraw(state)
        ready = json.dumps({"ready": True, "endpoint": there.wire()})
        command = started_by(
            f"import sys; open({str(starts)!r}, 'a').write('started ');"
            f"print({ready!r}, flush=True); sys.stdin.read()"
        )
        async with running(built, state, command=command) as app:
            for _ in range(4):
                await app.away()
            await app.disposed()
    assert starts.read_text() == "started "
    assert hung_up == 1


async def test_disposing_does_not_wait_for_an_update_that_is_never_shown(
    built: Path, daemon: Daemon
) -> None:
    await daemon.knows()
    await daemon.add("first")
    async with daemon.listening(), running(built, daemon.state, hold=True) as app:
        assert await app.hears("held") == [1]
        await app.disposed()
    assert daemon.acknowledged.empty()


async def test_an_app_that_shows_notes_is_asked_to_and_its_word_counts(
    built: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_at(state) as (desk, _), running(built, state, notes=True) as app:
        await until(lambda: bool(desk.audience._presenters))
        assert await desk.audience.show(Note("Lost", "Out of film."), "j")
        note = {"title": "Lost", "body": "Out of film.", "jobId": "j"}
        assert await app.hears("note") == [note]
        monkeypatch.setattr("materializer.audience.PATIENCE", 0.5)
        assert not await desk.audience.show(Note("no", ""), None), "it rejected that"
        await app.disposed()
        await until(lambda: not desk.audience._presenters)
