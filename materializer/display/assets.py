"""The page itself: the files of `static/`, which come with the program."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from materializer.display.media import has_already

_STATIC = Path(__file__).with_name("static")
# Not from `mimetypes`, which asks the system, and some systems call scripts text.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class Assets:
    """Serves what lay in `static/` at the start, by name."""

    def __init__(self) -> None:
        self._files = {
            path.relative_to(_STATIC).as_posix(): path
            for path in _STATIC.rglob("*")
            if path.is_file()
        }
        self.routes = [
            Route("/", self._index),
            Route("/static/{name:path}", self._asset),
        ]

    async def _index(self, request: Request) -> Response:
        return await self._serve(request, "index.html")

    async def _asset(self, request: Request) -> Response:
        return await self._serve(request, request.path_params["name"])

    async def _serve(self, request: Request, name: str) -> Response:
        path = self._files.get(name)
        if path is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        content = await asyncio.to_thread(path.read_bytes)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if has_already(request, etag):
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = _TYPES.get(path.suffix, "application/octet-stream")
        return Response(content, headers=headers)
