"""The page's connection to the daemon: an ordinary client, and it comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from materializer.errors import DaemonUnreachable
from materializer.ipc.client import Client
from materializer.ipc.endpoint import PROTOCOL
from materializer.ipc.jsonlines import Request, RpcError

log = logging.getLogger(__name__)

CONSUMER = "display page"
_PATIENCE = 10.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_MOST_WAITING = 1000

_GONE = (DaemonUnreachable, RpcError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Message:
    """What an open page is told: of the daemon, or whether there is one."""

    event: Literal["state", "update", "event"]
    data: Mapping[str, Any]


class Listener:
    """One open page's share of what is told."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)

    def tell(self, message: Message) -> None:
        """Queue a message; a page that has not read a thousand of them is let go."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Let it hear no more."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def next(self) -> Message | None:
        """Return the next message; None is the end, after which there is no other."""
        return await self._waiting.get()


class Link:
    """A connection to the daemon of a state directory, within `async with`.

    Entering raises DaemonUnreachable when there is none, and RpcError when it will not
    have us. From then on `run` keeps it.

    Args:
        page: where a click on a notification leads.
    """

    def __init__(self, state: Path, page: str) -> None:
        self._state = state
        self._page = page
        self._daemon: Client | None = None
        self._exits = AsyncExitStack()
        self._listeners: set[Listener] = set()

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self._exits.aclose()

    @property
    def connected(self) -> bool:
        """Whether a daemon answers."""
        return self._daemon is not None

    async def call(self, method: str, params: Mapping[str, object]) -> Any:
        """Call a method of the daemon; raises as `Client.call` does."""
        if self._daemon is None:
            raise DaemonUnreachable(
                "No daemon runs: start it with `stella-materializer run`."
            )
        return await self._daemon.call(method, params, _PATIENCE)

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Tell an open page of everything, first of how things stand."""
        listener = Listener()
        listener.tell(self._standing())
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def dismiss(self) -> None:
        """Let every open page hear no more."""
        for listener in self._listeners:
            listener.end()

    async def run(self) -> None:
        """Hand on what the daemon says, also the next one's, until cancelled."""
        while True:
            if self._daemon is not None:
                await self._follow(self._daemon)
            await self._leave()
            await self._return()

    async def _connect(self) -> None:
        async with AsyncExitStack() as undo:
            daemon = await undo.enter_async_context(Client(self._state))
            hello = {"client": CONSUMER, "protocol": PROTOCOL}
            await daemon.call("hello", hello, _PATIENCE)
            await daemon.call("events.subscribe", None, _PATIENCE)
            consumer = {"consumer": CONSUMER, "page": self._page}
            await daemon.call("display.subscribe", consumer, _PATIENCE)
            self._exits = undo.pop_all()
        self._daemon = daemon

    async def _leave(self) -> None:
        self._daemon = None
        await self._exits.aclose()
        self._tell(self._standing())

    async def _return(self) -> None:
        wait = _FIRST_WAIT
        while self._daemon is None:
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            try:
                await self._connect()
            except _GONE as error:
                log.info("no connection to the daemon: %s", error)
        self._tell(self._standing())

    async def _follow(self, daemon: Client) -> None:
        """Hand on what a daemon says until it goes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                shown = asyncio.Queue[int]()
                acknowledging = tasks.create_task(self._acknowledge(daemon, shown))
                async for sent in daemon.notifications():
                    await self._hand_on(daemon, sent, shown)
                acknowledging.cancel()
        except* _GONE as gone:
            log.info("the daemon has gone: %s", gone.exceptions[0])

    async def _hand_on(
        self, daemon: Client, sent: Request, shown: asyncio.Queue[int]
    ) -> None:
        params: dict[str, Any] = dict(sent.params)
        if sent.method == "event":
            self._tell(Message("event", params))
        if sent.method != "display.update":
            return
        if self._listeners:
            job = {"jobId": params["payload"]["jobId"], "limit": 500}
            page = await daemon.call("gallery.list", job, _PATIENCE)
            params["items"] = [item["id"] for item in page["items"]]
            self._tell(Message("update", params))
        shown.put_nowait(params["seq"])

    async def _acknowledge(self, daemon: Client, shown: asyncio.Queue[int]) -> None:
        """Acknowledge what the open pages were told; those to come read the gallery."""
        while True:
            seq = await shown.get()
            while not shown.empty():
                seq = shown.get_nowait()
            place = {"consumer": CONSUMER, "seq": seq}
            await daemon.call("display.ack", place, _PATIENCE)

    def _tell(self, message: Message) -> None:
        for listener in self._listeners:
            listener.tell(message)

    def _standing(self) -> Message:
        return Message("state", {"connected": self.connected})
