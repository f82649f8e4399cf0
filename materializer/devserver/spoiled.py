"""Turns the honest answer to a request for a stored file into a troubled one."""

from __future__ import annotations

import gzip
import math
from email.utils import formatdate
from http import HTTPStatus
from typing import assert_never

from starlette.responses import Response
from starlette.types import ASGIApp

from materializer.devserver.verbatim import Then, Verbatim
from materializer.devserver.weather import (
    Break,
    Deny,
    Lie,
    Redirect,
    Slow,
    StorageTrouble,
    Swap,
)

PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head>"
    b"<body><form method=post><input name=user></form></body></html>\n"
)
_ANOTHER_DIGEST = "sha-256=" + "A" * 43 + "="
_ENDS: dict[str, Then] = {"cut": "close", "reset": "reset", "stall": "hold"}


def spoiled(trouble: StorageTrouble, honest: Response, now: float) -> ASGIApp:
    """Return what is answered in place of `honest`.

    Args:
        trouble: what befalls it. Where it is that something else is to be sent than was
            asked for (`changed`, `no_ranges`, `bad_range`), `honest` is that already.
        honest: the answer, with its whole body and its length.
        now: seconds since 1970.
    """
    body, headers = bytes(honest.body), dict(honest.headers)
    match trouble:
        case Break():
            return _broken(trouble, honest)
        case Slow(rate=rate):
            return Verbatim(_head(honest, headers), body, rate=rate)
        case Deny():
            return _denial(trouble, now)
        case Redirect(to=to, status=status):
            return Response(b"", status, {"Location": to})
        case Lie(by=by):
            headers["content-length"] = str(max(0, len(body) + by))
            return Verbatim(_head(honest, headers), body)
        case Swap():
            return _swapped(trouble, honest)
        case _:
            assert_never(trouble)


def _broken(trouble: Break, honest: Response) -> Verbatim:
    body, headers = bytes(honest.body), dict(honest.headers)
    after = len(body) // 2 if trouble.after_bytes is None else trouble.after_bytes
    sent = body[:after]
    if trouble.framing != "length":
        headers = _unannounced(honest)
    if trouble.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
        # One chunk, without its end; a chunk of no bytes would be the end of all.
        sent = b"%x\r\n" % max(1, len(body)) + sent
    return Verbatim(_head(honest, headers), sent, then=_ENDS[trouble.does])


def _denial(trouble: Deny, now: float) -> Response:
    headers = {}
    if trouble.retry_after is not None:
        when = formatdate(math.ceil(now + trouble.retry_after), usegmt=True)
        headers["Retry-After"] = when if trouble.as_date else str(trouble.retry_after)
    return Response(trouble.body, trouble.status, headers, "text/plain")


def _swapped(trouble: Swap, honest: Response) -> ASGIApp:
    body = bytes(honest.body)
    match trouble.does:
        case "page":
            return Response(PAGE, 200, media_type="text/html")
        case "endless":
            head = _head(honest, _unannounced(honest))
            return Verbatim(head, body, then="zeros")
        case "encode":
            headers = _unannounced(honest) | {"content-encoding": "gzip"}
            return Response(gzip.compress(body), 200, headers)
        case "wrong_digest":
            honest.headers["digest"] = _ANOTHER_DIGEST
            return honest
        case "changed" | "no_ranges" | "bad_range":
            return honest
        case _:
            assert_never(trouble.does)


def _unannounced(honest: Response) -> dict[str, str]:
    """Return the headers of a body that is sent before its end is known."""
    unknown = {"content-length", "digest"}
    return {name: v for name, v in honest.headers.items() if name not in unknown}


def _head(honest: Response, headers: dict[str, str]) -> bytes:
    phrase = HTTPStatus(honest.status_code).phrase
    lines = [f"HTTP/1.1 {honest.status_code} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")
