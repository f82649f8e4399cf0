"""A scripted sync client: says exactly what it is told, and checks all versions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from materializer.convex.messages import decode_timestamp
from materializer.devserver.app import Backend

SESSION = "010b0c3a-4155-4f66-ac7a-c4d1f258ccb2"
ZERO = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}


class Scripted:
    """One connection.

    Attributes:
        told: the version that the last Transition led to.
        pings: how many messages said only that the server is there.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: dict[str, Any] = ZERO
        self.pings = 0
        self._query_set = self._identity = self._request = 0

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind} | fields))

    async def greet(self, session: str = SESSION, **fields: Any) -> None:
        await self.say("Connect", sessionId=session, connectionCount=0, **fields)

    async def modify(self, *modifications: dict[str, Any]) -> None:
        base, self._query_set = self._query_set, self._query_set + 1
        versions = {"baseVersion": base, "newVersion": base + 1}
        await self.say("ModifyQuerySet", **versions, modifications=modifications)

    async def authenticate(self, token: str | None) -> None:
        base, self._identity = self._identity, self._identity + 1
        user = {"tokenType": "User", "value": token} if token else {"tokenType": "None"}
        await self.say("Authenticate", baseVersion=base, **user)

    async def ask(self, kind: str, path: str, **args: Any) -> int:
        """Ask for a mutation or action; return the id of the request."""
        number, self._request = self._request, self._request + 1
        await self.say(kind, requestId=number, udfPath=path, args=[args])
        return number

    async def hear(self) -> dict[str, Any]:
        """Return the next message but for Pings; Transitions must be a chain."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.recv())
            if message["type"] != "Ping":
                break
            self.pings += 1
        if message["type"] == "Transition":
            self._follow(message)
        return message

    async def changes(self) -> list[dict[str, Any]]:
        """Return the modifications of the next message, a Transition."""
        message = await self.hear()
        assert message["type"] == "Transition", message
        ids = [change["queryId"] for change in message["modifications"]]
        assert ids == sorted(set(ids))
        modifications: list[dict[str, Any]] = message["modifications"]
        return modifications

    async def change(self) -> Any:
        """Return the value or the words of the only modification."""
        (change,) = await self.changes()
        return change.get("value", change.get("errorMessage"))

    async def closed(self) -> tuple[int, str]:
        """Return code and reason of the Close that comes next."""
        with pytest.raises(ConnectionClosed) as caught:
            await self.socket.recv()
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason

    @property
    def ts(self) -> int:
        return decode_timestamp(self.told["ts"])

    def _follow(self, transition: dict[str, Any]) -> None:
        start, end = transition["startVersion"], transition["endVersion"]
        assert start == self.told
        for part in ("querySet", "identity"):
            assert end[part] >= start[part]
        assert decode_timestamp(end["ts"]) >= decode_timestamp(start["ts"])
        assert isinstance(transition["serverTs"], int)
        self.told = end


@asynccontextmanager
async def scripted(
    backend: Backend, path: str = "/api/sync", **headers: str
) -> AsyncIterator[Scripted]:
    """Connect; everything within the block must be over in ten seconds."""
    url = backend.convex_url.replace("http", "ws", 1) + path
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with (
        connect(url, additional_headers=named, max_size=None) as socket,
        asyncio.timeout(10),
    ):
        yield Scripted(socket)


def add(query_id: int, path: str, **args: Any) -> dict[str, Any]:
    return {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args]}


def remove(query_id: int) -> dict[str, Any]:
    return {"type": "Remove", "queryId": query_id}
