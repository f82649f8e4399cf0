"""The calling end: for the command line, and for tests."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

from materializer.errors import DaemonUnreachable
from materializer.ipc import jsonlines
from materializer.ipc.endpoint import discover, endpoint_file
from materializer.ipc.jsonlines import INTERNAL_ERROR, Lines, Request, RpcError


class Client:
    """A connection to the daemon of a state directory, within `async with`.

    Entering raises DaemonUnreachable when there is none.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._ids = itertools.count(1)
        self._wire = _Wire()
        self._transport: asyncio.WriteTransport | None = None

    async def __aenter__(self) -> Self:
        told = discover(endpoint_file(self._state))
        loop = asyncio.get_running_loop()
        try:
            if sys.platform == "win32":
                if not isinstance(loop, asyncio.ProactorEventLoop):
                    raise DaemonUnreachable("named pipes need the proactor event loop")
                # typeshed knows of stream protocols only.
                connect: Any = loop.create_pipe_connection
                transport, _ = await connect(lambda: self._wire, told.path)
            else:
                transport, _ = await loop.create_unix_connection(
                    lambda: self._wire, told.path
                )
        except OSError as error:
            raise DaemonUnreachable(
                "the daemon that ran here is gone: start it with"
                " `stella-materializer run`"
            ) from error
        self._transport = transport
        return self

    async def __aexit__(self, *fault: object) -> None:
        if self._transport is not None:
            self._transport.abort()
            await self._wire.lost.wait()

    async def call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call a method and return its result.

        Raises:
            RpcError: the daemon refused.
            DaemonUnreachable: it went away before it answered.
            TimeoutError: it did not answer within `timeout` seconds.
        """
        if self._transport is None or self._wire.lost.is_set():
            raise DaemonUnreachable("the daemon has closed the connection")
        call_id = next(self._ids)
        answer = self._wire.expect(call_id)
        self._transport.write(jsonlines.call(call_id, method, params or {}))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            self._wire.waiting.pop(call_id, None)

    async def notifications(self) -> AsyncIterator[Request]:
        """Yield what the daemon sends unasked, in order, until it goes away."""
        while (sent := await self._wire.unasked.get()) is not None:
            yield sent
        self._wire.unasked.put_nowait(None)


class _Wire(asyncio.Protocol):
    def __init__(self) -> None:
        self.waiting: dict[object, asyncio.Future[Any]] = {}
        self.unasked: asyncio.Queue[Request | None] = asyncio.Queue()
        self.lost = asyncio.Event()
        self._lines = Lines()

    def expect(self, call_id: int) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self.waiting[call_id] = answer
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            try:
                self._take(jsonlines.parse(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                # No daemon of ours talks like this; waiting calls learn of the end.
                self._transport.abort()
                return

    def _take(self, message: Any) -> None:
        if "method" in message:
            sent = Request(message["method"], message.get("params"))
            self.unasked.put_nowait(sent)
        elif (answer := self.waiting.get(message["id"])) and not answer.done():
            _settle(answer, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.unasked.put_nowait(None)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(
                    DaemonUnreachable("the daemon went away before it answered")
                )


def _settle(answer: asyncio.Future[Any], message: dict[str, Any]) -> None:
    error = message.get("error")
    if error is None:
        answer.set_result(message.get("result"))
        return
    code, say = error.get("code"), error.get("message")
    answer.set_exception(
        RpcError(code if isinstance(code, int) else INTERNAL_ERROR, str(say))
    )
