"""One local client: its requests in, our answers and notifications out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from materializer.ipc import jsonlines
from materializer.ipc.jsonlines import (
    INTERNAL_ERROR,
    SHUTTING_DOWN,
    Decoder,
    Request,
    RpcError,
)

log = logging.getLogger(__name__)

MAX_LIVE_BYTES = 8 << 20
_CHUNK = 64 << 10
# One client's unfinished calls; it is not read further until one has ended.
_MAX_CALLS = 64
# How long a client may stop reading when as much is queued for it as may be.
_PATIENCE = 5.0
# How long the calls of a client that has said its last, and our last lines, may take.
_FAREWELL = 1.0

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Method(Generic[P]):
    """One entry of the method table.

    Attributes:
        read: turns the JSON that came as parameters into what `run` takes; raises
            RpcError when it cannot.
        run: does it and returns the result as JSON; raises RpcError to refuse.
    """

    read: Callable[[object], P]
    run: Callable[[Connection, P], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Outgoing:
    line: bytes
    live: bool


class Connection:
    """A client that is connected. Made by the server, given to the methods.

    Calls start in the order in which they came and run side by side. When the client
    goes, they are cancelled, and so is everything that `spawn` started.

    Args:
        perform: does what a request asks for.
        ready: set when every method can be performed; a client that has said its last
            before has all its time from then on.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        perform: Callable[[Connection, Request], Awaitable[object]],
        ready: asyncio.Event,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._perform = perform
        self._ready = ready
        self._outgoing: asyncio.Queue[_Outgoing | asyncio.Event] = asyncio.Queue()
        self._live_bytes = 0
        self._slots = asyncio.Semaphore(_MAX_CALLS)
        self._calls: set[asyncio.Task[None]] = set()
        self._tasks = asyncio.TaskGroup()
        self._reading: asyncio.Task[None] | None = None
        self._ending = False
        # The queue is ours alone, so that what it holds can be counted exactly.
        writer.transport.set_write_buffer_limits(high=0)

    def notify(self, method: str, params: object) -> None:
        """Queue a live notification; never waits.

        A client for which 8 MiB of them are queued is disconnected.
        """
        self.tell(jsonlines.notification(method, params))

    def tell(self, line: bytes) -> None:
        """Queue a live notification that was made for many, as `notify` does."""
        if self._writer.transport.is_closing():
            return
        if self._live_bytes >= MAX_LIVE_BYTES:
            log.warning("disconnecting a client that does not read")
            self._writer.transport.abort()
            return
        self._live_bytes += len(line)
        self._outgoing.put_nowait(_Outgoing(line, live=True))

    @property
    def is_lost(self) -> bool:
        """Whether nothing reaches the client any more, as a write has shown."""
        return self._writer.transport.is_closing()

    async def drain(self) -> None:
        """Wait until everything queued before is with the operating system, or lost."""
        passed = asyncio.Event()
        self._outgoing.put_nowait(passed)
        await passed.wait()

    async def give_way(self) -> None:
        """Let others have their turn, and the client read where much is queued for it.

        That takes no longer than a moment: one that does not read at all meets its end
        at the next `notify`.
        """
        if self._live_bytes < MAX_LIVE_BYTES:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self.drain()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as this client is connected.

        An exception of it ends the connection. Call it from a method: the answer of
        that method is queued before `work` starts, if the method then returns at once.
        """
        return self._tasks.create_task(work)

    def finish(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something, as `spawn` does, that a client who goes does not cut short."""
        task = self.spawn(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    def end(self) -> None:
        """Take no more requests; refuse those that run, flush, and close."""
        self._ending = True
        if self._reading is not None:
            self._reading.cancel()

    async def serve(self) -> None:
        """Talk to the client until it goes, misbehaves or `end` is called."""
        try:
            async with self._tasks as tasks:
                tasks.create_task(self._write_lines())
                self._reading = tasks.create_task(self._read_requests())
                if self._ending:
                    self._reading.cancel()
                await asyncio.wait({self._reading})
                await self._say_farewell()
                _end_group()
        except* _Ended:
            pass
        finally:
            self._writer.transport.abort()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _read_requests(self) -> None:
        decoder = Decoder()
        with suppress(OSError):  # gone is gone, however it went
            while data := await self._reader.read(_CHUNK):
                for message in decoder.feed(data):
                    if isinstance(message, Request):
                        await self._start(message)
                        continue
                    self._put(jsonlines.refusal(None, message.rpc_code, str(message)))
                    if message.fatal:
                        return
                await self.drain()

    async def _start(self, request: Request) -> None:
        await self._slots.acquire()
        self.finish(self._call(request))

    async def _call(self, request: Request) -> None:
        try:
            line = await self._answer(request)
            if request.wants_answer:
                self._put(line)
                await self.drain()
        finally:
            self._slots.release()

    async def _answer(self, request: Request) -> bytes:
        try:
            return jsonlines.answer(request.id, await self._perform(self, request))
        except RpcError as error:
            return jsonlines.refusal(request.id, error.rpc_code, str(error))
        except asyncio.CancelledError:
            if self._ending and request.wants_answer:
                say = "the daemon is shutting down"
                self._put(jsonlines.refusal(request.id, SHUTTING_DOWN, say))
            raise
        except Exception:  # a fault in one method ends that call only
            log.exception("%r failed", request.method)
            say = "internal error; the daemon's log says more"
            return jsonlines.refusal(request.id, INTERNAL_ERROR, say)

    async def _write_lines(self) -> None:
        while True:
            await self._write([await self._outgoing.get(), *self._queued()])

    def _queued(self) -> Iterator[_Outgoing | asyncio.Event]:
        """Take what waits besides, as much as is written at once."""
        size = 0
        while size < _CHUNK and not self._outgoing.empty():
            item = self._outgoing.get_nowait()
            size += len(item.line) if isinstance(item, _Outgoing) else 0
            yield item

    async def _write(self, items: Sequence[_Outgoing | asyncio.Event]) -> None:
        lines = b"".join(it.line for it in items if isinstance(it, _Outgoing))
        if lines and not self._writer.transport.is_closing():
            with suppress(OSError):  # the reading side sees the same end
                self._writer.write(lines)
                await self._writer.drain()
        for item in items:
            if isinstance(item, asyncio.Event):
                item.set()
            elif item.live:
                self._live_bytes -= len(item.line)

    def _put(self, line: bytes) -> None:
        self._outgoing.put_nowait(_Outgoing(line, live=False))

    async def _say_farewell(self) -> None:
        """Let a client that has only stopped sending have its answers."""
        if self._writer.transport.is_closing():
            return
        if self._calls and not self._ending:
            await self._ready.wait()
            await asyncio.wait(self._calls, timeout=_FAREWELL)
        if self._calls:
            for call in self._calls:
                call.cancel()
            await asyncio.wait(self._calls, timeout=_FAREWELL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self.drain()


class _Ended(Exception):
    pass


def _end_group() -> NoReturn:
    # The only way to end a TaskGroup whose tasks have no end of their own.
    raise _Ended
