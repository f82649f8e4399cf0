"""What the page asks: each question is a method of the daemon, answered as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ExceptionHandler, Receive, Scope, Send

from materializer import opener
from materializer.config import Paths
from materializer.display.door import EVENTS
from materializer.display.link import Link
from materializer.display.media import Shelf, headers_of
from materializer.errors import DaemonUnreachable, MaterializerError
from materializer.ipc.jsonlines import (
    CONFLICT,
    INVALID_PARAMS,
    NOT_FOUND,
    NOT_SIGNED_IN,
    SHUTTING_DOWN,
    RpcError,
)

_HEARTBEAT = 15.0
_COME_BACK = 1000  # ms; when a browser that was cut off asks again
_LONGEST_BODY = 64 << 10
_STATUSES = {
    INVALID_PARAMS: 400,
    NOT_FOUND: 404,
    NOT_SIGNED_IN: 409,
    CONFLICT: 409,
    SHUTTING_DOWN: 503,
}


class Api:
    """Everything behind `/api`, `/media` and `/thumbnail`."""

    def __init__(self, link: Link, paths: Paths) -> None:
        self._link = link
        self._outputs = Shelf(paths.outputs, paths.state)
        self._thumbnails = Shelf(paths.thumbnails, paths.state)
        self.routes = [
            Route("/api/state", self._state),
            Route("/api/gallery", self._gallery),
            Route("/api/item", self._item),
            Route("/api/jobs", self._jobs),
            Route("/api/item/remove", self._remove, methods=["POST"]),
            Route("/api/item/reveal", self._reveal, methods=["POST"]),
            Route("/api/job/retry", self._retry, methods=["POST"]),
            Route(EVENTS, self._events),
            Route("/media/{id:path}", self._media),
            Route("/thumbnail/{id:path}", self._thumbnail),
        ]

    async def _state(self, _: Request) -> Response:
        try:
            status = await self._link.call("daemon.status", {})
        except DaemonUnreachable:
            status = None
        return JSONResponse({"daemon": status, "connected": self._link.connected})

    async def _gallery(self, request: Request) -> Response:
        page = await self._link.call("gallery.list", _wanted(request))
        items = [_shown(item) for item in page["items"]]
        return JSONResponse({**page, "items": items})

    async def _item(self, request: Request) -> Response:
        return JSONResponse(_shown(await self._get(request.query_params.get("id"))))

    async def _jobs(self, request: Request) -> Response:
        return JSONResponse(await self._link.call("job.list", _wanted(request)))

    async def _remove(self, request: Request) -> Response:
        asked = await _body(request)
        return JSONResponse(await self._link.call("gallery.remove", asked))

    async def _retry(self, request: Request) -> Response:
        asked = await _body(request)
        return JSONResponse(await self._link.call("job.retry", asked))

    async def _reveal(self, request: Request) -> Response:
        asked = await _body(request)
        item = await self._get(asked.get("id"))
        await asyncio.to_thread(opener.open_on_desktop, Path(item["path"]).parent)
        return JSONResponse({})

    async def _events(self, _: Request) -> Response:
        return _EventStream(self._link)

    async def _media(self, request: Request) -> Response:
        item = await self._get(request.path_params["id"])
        headers = headers_of(item, download=request.query_params.get("download") == "1")
        name, etag = item["fileName"], f'"{item["sha256"]}"'
        served = await self._outputs.serve(request, name, etag, headers)
        if served is None:
            raise HTTPException(404, "The file is not there.")
        return served

    async def _thumbnail(self, request: Request) -> Response:
        item = await self._get(request.path_params["id"])
        name, etag = Path(item.get("thumbnailPath", "")).name, f'"{item["sha256"]}"'
        headers = {"Content-Type": "image/webp"}
        served = await self._thumbnails.serve(request, name, etag, headers)
        if served is None:
            raise HTTPException(404, "There is no thumbnail.")
        return served

    async def _get(self, item_id: object) -> dict[str, Any]:
        item: dict[str, Any] = await self._link.call("gallery.get", {"id": item_id})
        return item


async def refuse(_: Request, error: Exception) -> Response:
    """Say in words why a question has no answer."""
    match error:
        case HTTPException():
            return JSONResponse({"error": error.detail}, error.status_code)
        case RpcError():
            status = _STATUSES.get(error.rpc_code, 502)
        case DaemonUnreachable():
            status = 503
        case TimeoutError():
            return JSONResponse({"error": "The daemon does not answer."}, 504)
        case _:
            status = 500
    return JSONResponse({"error": str(error)}, status)


REFUSALS: Mapping[Any, ExceptionHandler] = dict.fromkeys(
    (HTTPException, MaterializerError, TimeoutError), refuse
)


class _EventStream(StreamingResponse):
    """Everything that the page is told while it is open, as server-sent events."""

    def __init__(self, link: Link) -> None:
        super().__init__(self._lines(), media_type="text/event-stream")
        self._link = link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._link.listen() as self._listener:
            await super().__call__(scope, receive, send)

    async def _lines(self) -> AsyncIterator[str]:
        yield f"retry: {_COME_BACK}\n\n"
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    message = await self._listener.next()
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if message is None:
                return
            data = json.dumps(message.data, ensure_ascii=False)
            yield f"event: {message.event}\ndata: {data}\n\n"


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    name = quote(item["id"], safe="")
    return item | {
        "url": None if item["missing"] else f"/media/{name}",
        "thumbnailUrl": f"/thumbnail/{name}" if "thumbnailPath" in item else None,
    }


def _wanted(request: Request) -> dict[str, object]:
    """Return the filters of a list; what is left empty does not narrow it."""
    wanted: dict[str, object] = {k: v for k, v in request.query_params.items() if v}
    if "limit" in wanted:
        try:
            wanted["limit"] = int(str(wanted["limit"]))
        except ValueError as error:
            raise HTTPException(400, "limit: it should be a number") from error
    return wanted


async def _body(request: Request) -> dict[str, object]:
    """Return the JSON object that was sent; the daemon judges what is in it."""
    type_ = request.headers.get("content-type", "").partition(";")[0]
    if type_.strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON.")
    sent = bytearray()
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > _LONGEST_BODY:
            raise HTTPException(413, "That is too much.")
    try:
        asked = json.loads(sent)
    except ValueError as error:
        raise HTTPException(400, "Send JSON.") from error
    if not isinstance(asked, dict):
        raise HTTPException(400, "Send a JSON object.")
    return asked
