"""The server half of Convex sync: one conversation, without its socket.

Pure: texts and the time go in, texts and at most one `Close` come out. Each message
is answered at once; a change of the deployment is told when `refresh` is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from materializer.convex import values
from materializer.convex.messages import Version, decode_timestamp, encode_timestamp
from materializer.devserver import heard
from materializer.devserver.deployment import NS_IN_MS, Deployment, FunctionFailed
from materializer.devserver.tokens import Identity
from materializer.errors import SignInNeeded

NS_IN_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a conversation. Without a code the Close frame is empty."""

    code: int | None = None
    reason: str = ""


Reply = str | Close


class _Over(Exception):
    """The conversation ends: with a last message or none, and a Close."""

    def __init__(self, last: dict[str, Any] | None, close: Close) -> None:
        super().__init__(close.reason)
        self.replies: list[Reply] = [*([_text(last)] if last else []), close]


class Conversation:
    """What one client has asked for, and what it has been told.

    Times are nanoseconds since 1970. After a `Close` there are no more replies.
    """

    def __init__(
        self, deployment: Deployment, verify: Callable[[str, float], Identity]
    ) -> None:
        self._deployment = deployment
        self._verify = verify
        self._told = Version()
        self._query_set = 0
        self._identity_version = 0
        self._identity: Identity | None = None
        self._queries: dict[int, tuple[str, dict[str, Any]]] = {}
        self._results: dict[int, str] = {}
        self._removed: set[int] = set()
        self._skew: int | None = None
        self._over = False

    def receive(self, text: str | bytes, now: int) -> list[Reply]:
        """Take a message of the client."""
        return self._unless_over(lambda: self._receive(text, now))

    def refresh(self, now: int) -> list[Reply]:
        """Run every query again after a change, and tell what differs."""
        return self._unless_over(lambda: self._refresh(now))

    def _unless_over(self, step: Callable[[], list[Reply]]) -> list[Reply]:
        if self._over:
            return []
        try:
            return step()
        except _Over as over:
            self._over = True
            return over.replies

    def _receive(self, text: str | bytes, now: int) -> list[Reply]:
        match _parse(text):
            case heard.Connect() as connect:
                self._connect(connect, now)
                return []
            case heard.ModifyQuerySet() as change:
                self._modify(change)
            case heard.Authenticate() as authenticate:
                self._authenticate(authenticate, now)
            case heard.Request() as request:
                return [_no_function(request), self._answer(now)]
            case heard.Event():
                return []
        return [self._answer(now)]

    def _connect(self, connect: heard.Connect, now: int) -> None:
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
        if change.base_version != self._query_set:
            raise _fatal(
                f"Base version {change.base_version} passed up doesn't match the "
                f"current version {self._query_set}"
            )
        if change.new_version <= change.base_version:
            raise _broken()
        for modification in change.modifications:
            self._modify_one(modification)
        self._query_set = change.new_version

    def _modify_one(self, modification: heard.Add | heard.Remove) -> None:
        query_id = modification.query_id
        if isinstance(modification, heard.Remove):
            if query_id not in self._queries:
                raise _broken()
            del self._queries[query_id]
            self._results.pop(query_id, None)
            self._removed.add(query_id)
            return
        if query_id in self._queries:
            raise _broken()
        self._queries[query_id] = (modification.udf_path, _decoded(modification.args))
        self._removed.discard(query_id)

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

    def _refresh(self, now: int) -> list[Reply]:
        if not self._queries:
            return []
        self._check_expiry(now)
        changes = self._changes()
        return [self._transition(changes, now)] if changes else []

    def _answer(self, now: int) -> str:
        self._check_expiry(now)
        return self._transition(self._changes(), now)

    def _check_expiry(self, now: int) -> None:
        if self._identity and self._identity.expires_at * NS_IN_S <= now:
            raise self._refused("Convex token identity expired", attempted=False)

    def _changes(self) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = [
            {"type": "QueryRemoved", "queryId": query_id} for query_id in self._removed
        ]
        self._removed.clear()
        owner = self._identity.owner if self._identity else None
        for query_id, (path, args) in self._queries.items():
            result = _result(self._deployment, path, args, owner)
            if self._results.get(query_id) != (text := _text(result)):
                self._results[query_id] = text
                changes.append({"queryId": query_id, "logLines": []} | result)
        return sorted(changes, key=lambda change: change["queryId"])

    def _transition(self, changes: list[dict[str, Any]], now: int) -> str:
        start = self._told
        self._told = Version(
            self._query_set, self._identity_version, self._deployment.ts
        )
        return _text(
            {
                "type": "Transition",
                "startVersion": _version(start),
                "endVersion": _version(self._told),
                "modifications": changes,
                "clientClockSkew": self._skew,
                "serverTs": now,
            }
        )

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


def _result(
    deployment: Deployment, path: str, args: dict[str, Any], owner: str | None
) -> dict[str, Any]:
    try:
        value = deployment.run(path, args, owner)
    except FunctionFailed as error:
        return {"type": "QueryFailed", "errorMessage": str(error), "journal": None}
    return {"type": "QueryUpdated", "value": value, "journal": None}


def _no_function(request: heard.Request) -> str:
    response = {
        "type": f"{request.type}Response",
        "requestId": request.request_id,
        "success": False,
        "result": f"Could not find public function for '{request.udf_path}'.",
        "logLines": [],
    }
    return _text(response | ({"ts": None} if request.type == "Mutation" else {}))


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


def _text(message: dict[str, Any]) -> str:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), allow_nan=False)
