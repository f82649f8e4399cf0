"""Stored objects behind links that expire, as Convex storage serves them.

Links carry their own end (`expires`, in whole seconds since 1970) and a signature
over it, so they outlive a restart, as do the objects.
"""

from __future__ import annotations

import base64
import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from materializer.devserver.memory import Memory
from materializer.devserver.spoiled import spoiled
from materializer.devserver.weather import Sky

LINK_LIFETIME = 3600.0


@dataclass(frozen=True, slots=True)
class _Stored:
    data: bytes
    mime_type: str


class Storage:
    """Keeps objects and answers `GET /api/storage/<name>?expires=..&sig=..`.

    Args:
        memory: holds the objects.
        secret: signs the links.
        clock: seconds since 1970.
        sky: gives the weather that requests with a good link are exposed to.
    """

    def __init__(
        self,
        memory: Memory,
        secret: bytes,
        clock: Callable[[], float],
        sky: Callable[[], Sky],
    ) -> None:
        self._memory = memory
        self._secret = secret
        self._clock = clock
        self._sky = sky

    @property
    def routes(self) -> list[Route]:
        """Where the objects are served."""
        return [Route("/api/storage/{name}", self._serve)]

    def keep(self, data: bytes, mime_type: str, extension: str = "") -> str:
        """Keep an object and return its name: a UUID, with `.extension` if given."""
        name = f"{uuid.uuid4()}{extension and f'.{extension}'}"
        self._memory.keep_object(name, data, mime_type)
        return name

    def link(self, name: str, lifetime: float = LINK_LIFETIME) -> str:
        """Return a path with query that is good for `lifetime` seconds from now."""
        expires = str(int(self._clock() + lifetime))
        return f"/api/storage/{name}?expires={expires}&sig={self._sign(name, expires)}"

    def _sign(self, name: str, expires: str) -> str:
        text = f"{name}\n{expires}".encode()
        return hmac.new(self._secret, text, sha256).hexdigest()

    async def _serve(self, request: Request) -> ASGIApp:
        name = request.path_params["name"]
        expires = request.query_params.get("expires", "")
        signature = request.query_params.get("sig", "").encode()
        if not hmac.compare_digest(self._sign(name, expires).encode(), signature):
            return _refuse(403, "InvalidSignature", "This link is not ours.")
        if int(expires) <= self._clock():
            return _refuse(403, "LinkExpired", "This link has expired.")
        found = await self._memory.fetch(name)
        if found is None:
            return _refuse(404, "StorageFileNotFound", "There is no such file.")
        stored = _Stored(*found)
        span = _span(request.headers.get("range"), len(stored.data))
        if request.method == "HEAD":
            return _answer(stored, span)
        trouble = self._sky().request(span and span[0])
        if trouble is None:
            return _answer(stored, span)
        if trouble.does == "changed":
            stored = _changed(stored)
            self._memory.keep_object(name, stored.data, stored.mime_type)
        elif trouble.does == "no_ranges":
            span = None
        elif trouble.does == "bad_range":
            span = 0, len(stored.data)
        return spoiled(trouble, _answer(stored, span), self._clock())


def _changed(stored: _Stored) -> _Stored:
    """Return another file of the same length: a byte in its middle is different."""
    data = bytearray(stored.data)
    if data:
        data[len(data) // 2] ^= 1
    return _Stored(bytes(data), stored.mime_type)


def _answer(stored: _Stored, span: tuple[int, int] | None) -> Response:
    size = len(stored.data)
    headers = {"Accept-Ranges": "bytes"}
    if span is None:
        digest = base64.b64encode(sha256(stored.data).digest()).decode()
        headers["Digest"] = f"sha-256={digest}"
        return Response(stored.data, 200, headers, stored.mime_type)
    first, end = span
    if first >= end:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(b"", 416, headers, stored.mime_type)
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    return Response(stored.data[first:end], 206, headers, stored.mime_type)


def _span(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open span of a Range header; an empty one cannot be served.

    None means the whole object: no header, or one that RFC 9110 lets us ignore.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "", re.ASCII)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _refuse(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
