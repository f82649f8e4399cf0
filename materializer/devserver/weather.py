"""Weather: what the sync socket and the storage do to their clients, and when.

Pure and without chance: counts of connections, messages and requests and the age of
the connection go in, what happens comes out. Connections to the feed and requests for
stored files are counted from 1, each from the moment at which the weather sets in,
refused ones included.
"""

from __future__ import annotations

import json
import tomllib
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

GARBAGE = "<html>Bad Gateway</html>"
_MAX_REASON = 123  # bytes, of a Close frame


def _failing(status: int) -> int:
    if HTTPStatus(status) < HTTPStatus.BAD_REQUEST:
        raise ValueError("what is refused has a status of 400 or more")
    return status


def _sendable(code: int) -> int:
    if code in {1004, 1005, 1006} or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError("no Close frame may carry this code")
    return code


def _short(reason: str) -> str:
    if len(reason.encode()) > _MAX_REASON:
        raise ValueError(f"a Close frame has room for {_MAX_REASON} bytes")
    return reason


class _Trouble(BaseModel):
    """One trouble.

    Attributes:
        always: each time that its conditions are met, and not just the first.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    always: bool = False


class _OfFeed(_Trouble):
    """A trouble of the feed.

    Attributes:
        connection: only on this one; without it, on any.
    """

    connection: Annotated[int, Field(ge=1)] | None = None


class Refuse(_OfFeed):
    """The upgrade is answered with this instead."""

    does: Literal["refuse"] = "refuse"
    status: Annotated[int, AfterValidator(_failing)] = 503
    body: str = ""


class _Later(_OfFeed):
    """A trouble of a connection that stands.

    Attributes:
        after_messages: that the server has sent on it.
        after_seconds: for which it has stood.
    """

    after_messages: Annotated[int, Field(ge=0)] = 0
    after_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Blow(_Later):
    """What befalls the connection, at most once each.

    drop ends it without a Close frame and reset without so much as a FIN, garbage is
    a message that is none, expire ends the token, and half_open keeps the connection
    but neither hears nor says anything any more.
    """

    does: Literal["drop", "reset", "garbage", "expire", "half_open"]


class HangUp(_Later):
    """The connection is closed, with a code and a reason."""

    does: Literal["close"] = "close"
    code: Annotated[int, AfterValidator(_sendable)] = 1000
    reason: Annotated[str, AfterValidator(_short)] = ""


class Delay(_Later):
    """The next message comes later, and so do those behind it."""

    does: Literal["delay"] = "delay"
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class Mangle(_Later):
    """The next message comes twice, or the next Transition does not follow."""

    does: Literal["duplicate", "wrong_version"]


Trouble = Annotated[
    Refuse | Blow | HangUp | Delay | Mangle, Field(discriminator="does")
]


class _OfFile(_Trouble):
    """A trouble of a request for a stored file whose link is good.

    Attributes:
        request: only of this one; without it, of any.
    """

    request: Annotated[int, Field(ge=1)] | None = None


class Break(_OfFile):
    """The body does not come to its end.

    cut ends the connection, reset does so without a FIN, and stall says nothing more.

    Attributes:
        after_bytes: so many of the body are sent; without it, half of them.
        framing: how a client could know the end. But with `length` there is neither a
            length nor a digest.
    """

    does: Literal["cut", "reset", "stall"]
    after_bytes: Annotated[int, Field(ge=0)] | None = None
    framing: Literal["length", "chunked", "close"] = "length"


class Slow(_OfFile):
    """The body comes at so many bytes a second."""

    does: Literal["slow"] = "slow"
    rate: Annotated[int, Field(ge=1)] = 1024


class Deny(_OfFile):
    """The request is answered with this instead.

    Attributes:
        retry_after: seconds, for a header of that name.
        as_date: it tells the time at which they have passed.
    """

    does: Literal["refuse"] = "refuse"
    status: Annotated[int, AfterValidator(_failing)] = 503
    body: str = ""
    retry_after: Annotated[int, Field(ge=0)] | None = None
    as_date: bool = False


class Redirect(_OfFile):
    """The file is said to be elsewhere: at a URL, or a path of the backend."""

    does: Literal["redirect"] = "redirect"
    to: Annotated[str, Field(pattern="^[!-~]+$")]
    status: Literal[301, 302, 303, 307, 308] = 302


class Lie(_OfFile):
    """So many bytes more than come are announced, or fewer where it is negative."""

    does: Literal["lie_length"] = "lie_length"
    by: int = 1


class Swap(_OfFile):
    """Something else comes.

    page is a page to sign in at, endless has no length and goes on with zeros, encode
    is gzip that nobody asked for, and wrong_digest has the digest of something else.
    From changed on, the file is another one of the same length. no_ranges sends the
    whole for a part, and bad_range calls the whole a part that begins at 0.
    """

    does: Literal[
        "page", "endless", "encode", "wrong_digest", "changed", "no_ranges", "bad_range"
    ]


StorageTrouble = Annotated[
    Break | Slow | Deny | Redirect | Lie | Swap, Field(discriminator="does")
]


class Weather(BaseModel):
    """All troubles to come, of the feed and of the storage. A clear sky has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trouble: tuple[Trouble, ...] = ()
    storage: tuple[StorageTrouble, ...] = ()


CLEAR = Weather()


def parse(text: str) -> Weather:
    """Read a weather file, TOML with one table for each trouble.

    `[[trouble]]` is one of the feed, `[[storage]]` one of a request for a stored file.

    Raises:
        ValueError: it is none; the words say where and why, on one line.
    """
    try:
        return Weather.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}") from error


class Sky:
    """The weather as it goes on: counts what comes, and knows what is over."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._left = list(weather.trouble)
        self._connections = 0
        self._left_of_storage = list(weather.storage)
        self._requests = 0

    def connect(self) -> Overhead:
        """Return the sky over the next connection."""
        self._connections += 1
        return Overhead(self._left, self._connections)

    def request(self, start: int | None) -> StorageTrouble | None:
        """Count a request for a stored file; return the first trouble that is its own.

        Args:
            start: where the part begins that it asks for; None for the whole.
        """
        self._requests += 1
        for trouble in self._left_of_storage:
            if trouble.request in {None, self._requests} and _fits(trouble, start):
                if not trouble.always:
                    self._left_of_storage.remove(trouble)
                return trouble
        return None


class Overhead:
    """The sky over one connection; `age` is that of the connection, in seconds."""

    def __init__(self, left: list[Trouble], number: int) -> None:
        self._left = left
        self._number = number
        self._said = 0
        self._struck: list[Trouble] = []

    def refusal(self) -> Refuse | None:
        """Return the answer to the upgrade, where it is not to be let through."""
        for trouble in self._mine():
            if isinstance(trouble, Refuse):
                self._strikes(trouble)
                return trouble
        return None

    def strike(self, age: float) -> Blow | HangUp | None:
        """Return a trouble that begins now; to be asked until there is none."""
        for trouble in self._mine():
            if (
                isinstance(trouble, Blow | HangUp)
                and self._ripe(trouble, age)
                and trouble not in self._struck
            ):
                self._struck.append(trouble)
                self._strikes(trouble)
                return trouble
        return None

    def befall(self, text: str, age: float) -> tuple[float, list[str]]:
        """Count a message; return after how many seconds what is sent instead."""
        wait, texts = 0.0, [text]
        for trouble in self._mine():
            if not isinstance(trouble, Delay | Mangle) or not self._ripe(trouble, age):
                continue
            if isinstance(trouble, Delay):
                wait += trouble.seconds
            elif trouble.does == "duplicate":
                texts = texts * 2
            elif (wrong := _wrong_version(text)) is not None:
                texts = [wrong] * len(texts)
            else:
                continue
            self._strikes(trouble)
        self._said += 1
        return wait, texts

    def turns(self) -> list[float]:
        """Return the ages at which to ask `strike`, besides after each message."""
        return sorted(
            trouble.after_seconds
            for trouble in self._mine()
            if isinstance(trouble, Blow | HangUp)
        )

    def _mine(self) -> list[Trouble]:
        return [t for t in self._left if t.connection in {None, self._number}]

    def _ripe(self, trouble: _Later, age: float) -> bool:
        return self._said >= trouble.after_messages and age >= trouble.after_seconds

    def _strikes(self, trouble: Trouble) -> None:
        if not trouble.always:
            self._left.remove(trouble)


def _fits(trouble: StorageTrouble, start: int | None) -> bool:
    match trouble.does:
        case "no_ranges":
            return start is not None
        case "bad_range":
            return bool(start)
        case "encode" | "wrong_digest":
            return start is None
        case _:
            return True


def _wrong_version(text: str) -> str | None:
    message = json.loads(text)
    if message["type"] != "Transition":
        return None
    message["startVersion"]["querySet"] += 1
    return json.dumps(message)
