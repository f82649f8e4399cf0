"""The other end of a download, which says whatever bytes it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from materializer.delivery import _check
from materializer.errors import FetchError, OutputDamaged
from materializer.fetch import Fetched, Fetcher, Guard, Order, Rules
from materializer.fetch.cut import Cut
from materializer.fetch.direct import DirectTransport
from materializer.fetch.guard import special_range

PUBLIC = "93.184.216.34"
LIMIT = 4096
SECRET = "s3cret-path"
BETWEEN = b"\n=====\n"


class Script:
    """A stream from which the given bytes come, in pieces; then it ends."""

    def __init__(self, said: bytes, piece: int) -> None:
        self._left = said
        self._piece = piece

    def recv_into(self, view: memoryview) -> int:
        count = min(len(view), len(self._left), self._piece)
        view[:count], self._left = self._left[:count], self._left[count:]
        return count

    def sendall(self, data: bytes) -> None:
        head, _, rest = data.partition(b"\r\n\r\n")
        assert not rest, "a request without a body was given one"
        lines = head.split(b"\r\n")
        assert lines[0].count(b" ") == 2, "the request line was split"
        assert all(b":" in line for line in lines[1:]), "a header was torn"
        assert b"\n" not in head.replace(b"\r\n", b""), "a line was smuggled in"

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def idle(self) -> bool:
        return not self._left

    def abort(self) -> None:
        self._left = b""

    def close(self) -> None:
        self._left = b""


@contextmanager
def resolved() -> Iterator[None]:
    """Let every name have one public address; nothing is looked up."""
    with patch("materializer.fetch.guard._resolve", lambda _host, _port: (PUBLIC,)):
        yield


def fetched(data: bytes, scratch: Path) -> Fetched | None:
    """Download once, from a source that says `data`; return what came of it.

    Its first byte is the size of the pieces; what is said on one connection and what
    on the next is parted by BETWEEN.
    """
    piece = (data[0] if data else 0) * 8 + 1
    said = iter(data[1:].split(BETWEEN))

    def connect(_: DirectTransport, place: Any, _timeout: float) -> Script:
        assert special_range(place.address) is None, "it went to a private address"
        return Script(next(said, b""), piece)

    part = scratch / "job_0.part"
    order = Order(f"http://files.test/{SECRET}", part, LIMIT, check=_check)
    fetcher = Fetcher(Guard(), Rules(idle_timeout=5), user_agent="fuzz")
    try:
        with (
            resolved(),
            patch.object(DirectTransport, "_connect", connect),
            patch("materializer.fetch.download._proxy", lambda *_: None),
        ):
            got: Fetched | FetchError = fetcher._fetch(order, lambda *_: None, Cut())
    except FetchError as error:
        got = error
    finally:
        fetcher._workers.shutdown()
        if "_network" in fetcher.__dict__:
            fetcher._network.close()
    body = part.read_bytes() if part.exists() else b""
    if isinstance(got, FetchError):
        assert SECRET not in str(got)
        assert not (body and isinstance(got, OutputDamaged))
        return None
    assert 0 < got.size == len(body) <= LIMIT
    assert got.sha256 == hashlib.sha256(body).hexdigest()
    return got
