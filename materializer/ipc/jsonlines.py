"""Bytes to JSON-RPC envelopes and back, one object a line.

Pure: the same bytes give the same envelopes however they were cut on their way.
Lines that go out are ASCII, so that nothing in them can end a line early.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from materializer.errors import MaterializerError, PeerMisspoke

MAX_REQUEST_LINE = 1 << 20

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_FOUND = -32001
NOT_SIGNED_IN = -32002
CONFLICT = -32003
SHUTTING_DOWN = -32004

RequestId = str | int | float | None


class RpcError(MaterializerError):
    """A request is answered with an error: raised by a method, and by a call to one.

    Attributes:
        rpc_code: one of the codes of this module.
    """

    code = "rpc"

    def __init__(self, rpc_code: int, say: str) -> None:
        super().__init__(say)
        self.rpc_code = rpc_code


@dataclass(frozen=True, slots=True)
class Request:
    """A call, or a notification, which wants no answer.

    `params` is whatever JSON the peer sent, or None; the method judges it.
    """

    method: str
    params: Any = None
    id: RequestId = None
    wants_answer: bool = False


class Lines:
    """Cuts a stream of bytes into lines, without their ends."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def unfinished(self) -> int:
        """How many bytes wait for the end of their line."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytearray]:
        """Return the lines that these bytes complete."""
        if b"\n" not in data:
            self._rest += data
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class Decoder:
    """Reads requests. After a fatal fault it takes nothing more."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._lost = False

    def feed(self, data: bytes) -> list[Request | PeerMisspoke]:
        """Return what these bytes complete: requests, and lines that are none."""
        found: list[Request | PeerMisspoke] = []
        if self._lost:
            return found
        for line in self._lines.feed(data):
            if len(line) > MAX_REQUEST_LINE:
                return [*found, self._lose()]
            if not line.isspace() and line:
                found.append(_request(line))
        if self._lines.unfinished > MAX_REQUEST_LINE:
            found.append(self._lose())
        return found

    def _lose(self) -> PeerMisspoke:
        self._lost = True
        self._lines = Lines()
        return PeerMisspoke(
            f"a request line is longer than {MAX_REQUEST_LINE} bytes",
            rpc_code=INVALID_REQUEST,
            fatal=True,
        )


def call(request_id: int, method: str, params: object) -> bytes:
    """Encode a request that wants an answer."""
    return _line(id=request_id, method=method, params=params)


def notification(method: str, params: object) -> bytes:
    """Encode a request that wants none."""
    return _line(method=method, params=params)


def answer(request_id: RequestId, result: object) -> bytes:
    """Encode a result.

    Raises:
        TypeError, ValueError: the result is no JSON.
    """
    return _line(id=request_id, result=result)


def refusal(request_id: RequestId, rpc_code: int, say: str) -> bytes:
    """Encode an error; the id is None where the request's is not known."""
    return _line(id=request_id, error={"code": rpc_code, "message": say})


def parse(line: bytes | bytearray) -> object:
    """Read one line as JSON, in UTF-8.

    Raises:
        ValueError: it is none, or is nested too deeply to be read.
    """
    try:
        return json.loads(line.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _request(line: bytearray) -> Request | PeerMisspoke:
    try:
        message = parse(line)
    except ValueError:
        return PeerMisspoke("the line is no JSON", rpc_code=PARSE_ERROR)
    if isinstance(message, list):
        return PeerMisspoke("batches are not taken", rpc_code=INVALID_REQUEST)
    if not isinstance(message, dict):
        return PeerMisspoke("a request is an object", rpc_code=INVALID_REQUEST)
    method, request_id = message.get("method"), message.get("id")
    if (
        not isinstance(method, str)
        or not _is_id(request_id)
        or message.get("jsonrpc", "2.0") != "2.0"
    ):
        return PeerMisspoke("the object is no request", rpc_code=INVALID_REQUEST)
    return Request(method, message.get("params"), request_id, "id" in message)


def _is_id(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | None) and not isinstance(value, bool)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _line(**members: object) -> bytes:
    envelope = {"jsonrpc": "2.0", **members}
    return json.dumps(envelope, allow_nan=False, separators=(",", ":")).encode() + b"\n"
