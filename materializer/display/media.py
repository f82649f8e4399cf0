"""The files of the gallery over HTTP: by name, in parts, and never as programs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from materializer.errors import DiskTrouble
from materializer.place.directory import Directory

log = logging.getLogger(__name__)

_CHUNK = 256 << 10
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# What a browser shows without running anything that is in it.
_INERT = re.compile(r"(?:image|video|audio|model)/(?!.*(?:xml|html))[a-z0-9.+-]{1,100}")
_SVG = "image/svg+xml"
_TEXTS = {"text/plain", "application/json"}
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


class Shelf:
    """A directory that lies `within` another one, and whose files are served."""

    def __init__(self, directory: Path, within: Path) -> None:
        self._directory = directory
        self._within = within

    async def serve(
        self, request: Request, name: str, etag: str, headers: Mapping[str, str]
    ) -> Response | None:
        """Answer GET or HEAD with a file or its wanted part; None where there is none.

        Args:
            request: may name a range, and what the browser has already.
            name: of the file; a link is none.
            etag: another one for another content.
            headers: what it is, and how it is to be taken.
        """
        file = await asyncio.to_thread(self._open, name)
        if file is None:
            return None
        size = os.fstat(file.fileno()).st_size
        status, part, told = answer(request, etag, size)
        told = {**headers, **told}
        if request.method == "HEAD" or not part:
            file.close()
            return Response(status_code=status, headers=told)
        return _Bytes(file, part, status, told)

    def _open(self, name: str) -> BinaryIO | None:
        try:
            directory = Directory.open(self._directory, self._within)
            return os.fdopen(directory.open_file(name, os.O_RDONLY), "rb", buffering=0)
        except (OSError, ValueError, DiskTrouble) as error:
            log.info("a file is not served: %s", error)
            return None


def answer(request: Request, etag: str, size: int) -> tuple[int, range, dict[str, str]]:
    """Decide what is sent of `size` bytes: the status, which bytes, and the headers."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if has_already(request, etag):
        return 304, range(0), headers
    part = None
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        part = _part(request.headers.get("range", ""), size)
    if part is None:
        return 200, range(size), headers | {"Content-Length": str(size)}
    if not part:
        return 416, part, headers | {"Content-Range": f"bytes */{size}"}
    headers["Content-Range"] = f"bytes {part[0]}-{part[-1]}/{size}"
    return 206, part, headers | {"Content-Length": str(len(part))}


def has_already(request: Request, etag: str) -> bool:
    """Whether the browser says that it has this content."""
    known = request.headers.get("if-none-match", "").split(",")
    return bool({etag, "*"} & {tag.strip().removeprefix("W/") for tag in known})


def headers_of(item: Mapping[str, Any], *, download: bool) -> dict[str, str]:
    """Say what an item's file is, and see that nothing in it can run.

    A type that came from far away counts only where it is harmless.
    """
    said = str(item["mimeType"]).partition(";")[0].strip().lower()
    headers = {"Content-Type": said}
    if not _INERT.fullmatch(said):
        headers["Content-Security-Policy"] = _SANDBOX
        if item["kind"] == "text" or said in _TEXTS:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        elif said != _SVG:
            headers["Content-Type"] = "application/octet-stream"
            download = True
    if download:
        name = quote(str(item["fileName"]), safe="")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return headers


def _part(wanted: str, size: int) -> range | None:
    """Return which bytes are wanted: None is all of them, for want of a clear range."""
    match = _RANGE.fullmatch(wanted.strip().lower())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


class _Bytes(StreamingResponse):
    """Sends a part of a file as fast as it is taken, and closes the file."""

    def __init__(
        self, file: BinaryIO, part: range, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(self._chunks(part), status, headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)

    async def _chunks(self, part: range) -> AsyncIterator[bytes]:
        self._file.seek(part.start)
        left = len(part)
        while left:
            chunk = await asyncio.to_thread(self._file.read, min(left, _CHUNK))
            if not chunk:
                raise OSError("the file has become shorter while it was sent")
            left -= len(chunk)
            yield chunk
