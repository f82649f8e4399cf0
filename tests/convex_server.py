"""A deployment on loopback, for tests: a real websockets server with a script."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from convex_side import Numbers, transition

SUCCEEDED = "media_jobs:listSucceededSince"
FAILED = "media_jobs:listFailedSince"


class Talk:
    """One connection, seen from the server.

    Attributes:
        socket: the connection itself.
        heard: the client's messages.
        queries: the paths of the queries asked for, by id.
    """

    def __init__(self, deployment: Deployment, socket: ServerConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self.queries: dict[int, str] = {}
        self._deployment = deployment
        self._version: Numbers = (0, 0, 0)

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.socket.recv())
        self.heard.append(message)
        await self._deployment.notice()
        return message

    async def obey(self) -> None:
        """Answer everything as a deployment does, until the client leaves."""
        while True:
            message = await self.hear()
            if message["type"] == "Authenticate":
                await self._step(identity=1)
            elif message["type"] == "ModifyQuerySet":
                added = [m for m in message["modifications"] if m["type"] == "Add"]
                self.queries |= {m["queryId"]: m["udfPath"] for m in added}
                await self._step(query_set=1, ids=[m["queryId"] for m in added])

    async def push(self, path: str, answer: Any) -> None:
        """Let the answer of a query change."""
        self._deployment.answers[path] = answer
        await self._step(ids=[i for i, known in self.queries.items() if known == path])

    async def _step(
        self, query_set: int = 0, identity: int = 0, ids: list[int] | None = None
    ) -> None:
        start = self._version
        ts = self._deployment.tick()
        self._version = (start[0] + query_set, start[1] + identity, ts)
        answers = self._deployment.answers
        results = {f"q{i}": answers[self.queries[i]] for i in ids or []}
        await self.socket.send(transition(start, self._version, **results))


Script = Callable[[Talk], Awaitable[None]]


class Deployment:
    """The server's memory and mood.

    Attributes:
        url: where it is.
        answers: of the queries, by path; an exception fails the query.
        scripts: for the connections to come; without one, it obeys.
        refusals: of the upgrades to come; without one, it accepts.
        requests: the upgrades that were asked for.
        talks: the connections so far.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Any] = {SUCCEEDED: [], FAILED: []}
        self.scripts: list[Script] = []
        self.refusals: list[Response] = []
        self.requests: list[Request] = []
        self.talks: list[Talk] = []
        self._noticed = asyncio.Condition()
        self._ticks = itertools.count(1)

    def tick(self) -> int:
        return next(self._ticks)

    async def notice(self) -> None:
        async with self._noticed:
            self._noticed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the client did makes this true."""
        async with asyncio.timeout(15), self._noticed:
            await self._noticed.wait_for(condition)

    async def admit(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        await self.notice()
        return self.refusals.pop(0) if self.refusals else None

    async def handle(self, socket: ServerConnection) -> None:
        talk = Talk(self, socket)
        self.talks.append(talk)
        script = self.scripts.pop(0) if self.scripts else Talk.obey
        with suppress(ConnectionClosed):
            await script(talk)
        await socket.wait_closed()
        await self.notice()


@asynccontextmanager
async def deployed(tls: ssl.SSLContext | None = None) -> AsyncIterator[Deployment]:
    """Serve a deployment on a free port of the loopback."""
    deployment = Deployment()
    async with serve(
        deployment.handle,
        "127.0.0.1",
        0,
        process_request=deployment.admit,
        ssl=tls,
        close_timeout=0.2,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        scheme = "https" if tls else "http"
        deployment.url = f"{scheme}://localhost:{port}"
        yield deployment
