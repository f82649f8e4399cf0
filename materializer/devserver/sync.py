"""The server half of Convex sync: one conversation, without its socket.

Pure: texts and the time go in, texts and at most one `Close` come out. Each message
is answered at once, but for the call of a slow function: what is `Asked` is to be
resumed when it has been waited for. A change of the deployment is told when `refresh`
is called. Journals are always null, since no query here is paginated; those that
clients send along are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from materializer.convex import values
from materializer.convex.messages import Version, decode_timestamp, encode_timestamp
from materializer.devserver import heard, pieces
from materializer.devserver.calls import Asked, Calls, TooMany
from materializer.devserver.deployment import NS_IN_MS, Deployment
from materializer.devserver.formats import text_of
from materializer.devserver.query_set import QuerySet
from materializer.devserver.tokens import Identity
from materializer.errors import SignInNeeded

NS_IN_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a conversation. Without a code the Close frame is empty."""

    code: int | None = None
    reason: str = ""


Reply = str | Close | Asked


class _Over(Exception):
    """The conversation ends: with a last message or none, and a Close."""

    def __init__(self, last: dict[str, Any] | None, close: Close) -> None:
        super().__init__(close.reason)
        self.replies: list[Reply] = [*([text_of(last)] if last else []), close]


class Conversation:
    """What one client has asked for, and what it has been told.

    Times are nanoseconds since 1970. After a `Close` there are no more replies.

    Attributes:
        takes_chunks: whether the client understands a Transition in pieces.
    """

    takes_chunks = False

    def __init__(
        self, deployment: Deployment, verify: Callable[[str, float], Identity]
    ) -> None:
        self._deployment = deployment
        self._verify = verify
        self._told = Version()
        self._identity_version = 0
        self._identity: Identity | None = None
        self._queries = QuerySet(deployment)
        self._calls = Calls(deployment)
        self._skew: int | None = None
        self._replies: list[Reply] = []
        self._over = False

    def receive(self, text: str | bytes, now: int) -> list[Reply]:
        """Take a message of the client."""
        return self._unless_over(lambda: self._receive(text, now))

    def refresh(self, now: int) -> list[Reply]:
        """Run every query again after a change, and tell what differs."""
        return self._unless_over(lambda: self._refresh(now))

    def resume(self, asked: Asked, now: int) -> list[Reply]:
        """Call a function that has been waited for."""
        return self._unless_over(lambda: self._resume(asked, now))

    def _unless_over(self, step: Callable[[], None]) -> list[Reply]:
        if self._over:
            return []
        try:
            step()
        except _Over as over:
            self._over = True
            self._replies += over.replies
        replies, self._replies = self._replies, []
        return replies

    def _receive(self, text: str | bytes, now: int) -> None:
        match _parse(text):
            case heard.Connect() as connect:
                self._connect(connect, now)
            case heard.ModifyQuerySet() as change:
                self._modify(change)
                self._answer(now)
            case heard.Authenticate() as authenticate:
                self._authenticate(authenticate, now)
                self._answer(now)
            case heard.Request() as request:
                self._ask(request, now)
            case heard.Event():
                pass

    def _ask(self, request: heard.Request, now: int) -> None:
        args = _decoded(request.args)
        try:
            asked = self._calls.ask(request, args, self._identity)
        except TooMany as error:
            raise _Over(None, Close(1013, str(error))) from error
        self._start(asked, now)

    def _resume(self, asked: Asked, now: int) -> None:
        self._start(self._call(asked, now), now)

    def _start(self, asked: Asked | None, now: int) -> None:
        while asked and not asked.until:
            asked = self._call(asked, now)
        if asked:
            self._replies.append(asked)

    def _call(self, asked: Asked, now: int) -> Asked | None:
        self._check_expiry(asked.identity, now)
        self._replies.append(text_of(self._calls.run(asked, now)))
        self._answer(now)
        return self._calls.done(asked)

    def _connect(self, connect: heard.Connect, now: int) -> None:
        self._calls.session = connect.session_id
        if connect.client_ts is not None:
            self._skew = connect.client_ts - now // NS_IN_MS
        if connect.max_observed_timestamp is None:
            return
        try:
            observed = decode_timestamp(connect.max_observed_timestamp)
        except ValueError as error:
            raise _unreadable(error) from error
        if observed > self._deployment.ts:
            raise _broken()

    def _modify(self, change: heard.ModifyQuerySet) -> None:
        if change.base_version != self._queries.version:
            raise _fatal(
                f"Base version {change.base_version} passed up doesn't match the "
                f"current version {self._queries.version}"
            )
        if change.new_version <= change.base_version:
            raise _broken()
        for modification in change.modifications:
            self._modify_one(modification)
        self._queries.version = change.new_version

    def _modify_one(self, modification: heard.Add | heard.Remove) -> None:
        query_id = modification.query_id
        try:
            if isinstance(modification, heard.Remove):
                self._queries.remove(query_id)
            else:
                args = _decoded(modification.args)
                self._queries.add(query_id, modification.udf_path, args)
        except ValueError as error:
            raise _broken() from error

    def _authenticate(self, message: heard.Authenticate, now: int) -> None:
        identity = None
        match message.token_type:
            case "Admin":
                raise self._refused("Admin keys are not taken here.", attempted=True)
            case "User":
                try:
                    identity = self._verify(message.value, now / NS_IN_S)
                except SignInNeeded as error:
                    raise self._refused(str(error), attempted=True) from error
            case "None":
                pass
        if message.base_version != self._identity_version:
            raise _broken()
        self._identity = identity
        self._identity_version += 1

    def _refresh(self, now: int) -> None:
        if not self._queries:
            return
        self._check_expiry(self._identity, now)
        if changes := self._queries.changes(self._owner()):
            self._tell(changes, now)

    def _answer(self, now: int) -> None:
        self._check_expiry(self._identity, now)
        self._tell(self._queries.changes(self._owner()), now)

    def _owner(self) -> str | None:
        return self._identity.owner if self._identity else None

    def _check_expiry(self, identity: Identity | None, now: int) -> None:
        if identity and identity.expires_at * NS_IN_S <= now:
            raise self._refused("Convex token identity expired", attempted=False)

    def _tell(self, changes: list[dict[str, Any]], now: int) -> None:
        start = self._told
        self._told = Version(
            self._queries.version, self._identity_version, self._deployment.ts
        )
        transition = text_of(
            {
                "type": "Transition",
                "startVersion": _version(start),
                "endVersion": _version(self._told),
                "modifications": changes,
                "clientClockSkew": self._skew,
                "serverTs": now,
            }
        )
        chunks = pieces.chunks(transition) if self.takes_chunks else ()
        self._replies += [text_of(chunk) for chunk in chunks] or [transition]

    def _refused(self, error: str, *, attempted: bool) -> _Over:
        message = {
            "type": "AuthError",
            "error": error,
            "baseVersion": self._told.identity,
            "authUpdateAttempted": attempted,
        }
        return _Over(message, Close())


def _parse(text: str | bytes) -> heard.Message:
    if isinstance(text, bytes):
        raise _broken()
    try:
        return heard.parse(text)
    except ValueError as error:
        raise _unreadable(error) from error


def _decoded(args: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        decoded = values.decode(args[0])
    except ValueError as error:
        raise _unreadable(error) from error
    if not isinstance(decoded, dict):
        raise _fatal("Received Invalid JSON on websocket: arguments are an object")
    return decoded


def _version(version: Version) -> dict[str, Any]:
    return {
        "querySet": version.query_set,
        "identity": version.identity,
        "ts": encode_timestamp(version.ts),
    }


def _fatal(error: str) -> _Over:
    return _Over({"type": "FatalError", "error": error}, Close())


def _unreadable(error: ValueError) -> _Over:
    return _fatal(f"Received Invalid JSON on websocket: {error}")


def _broken() -> _Over:
    return _Over(None, Close(1011, "InternalServerError"))
