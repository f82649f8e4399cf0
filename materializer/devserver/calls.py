"""The mutations and actions of one client: in which order, and what came of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from materializer.convex.messages import encode_timestamp
from materializer.devserver import heard
from materializer.devserver.deployment import Deployment
from materializer.devserver.functions import ConvexError, FunctionFailed, Returned
from materializer.devserver.tokens import Identity

LIMIT = 1000


class TooMany(Exception):
    """A client has asked for more than it may; the text is the reason of the Close."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A request, and whose it was when it came."""

    request: heard.Request
    args: dict[str, Any]
    identity: Identity | None
    until: Callable[[], Awaitable[object]] | None


class Calls:
    """What one client has asked for and has not been answered.

    Mutations run one after the other in the order in which they came, actions at once.

    Attributes:
        session: makes mutations idempotent; None before the client has greeted.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.session: UUID | None = None
        self._deployment = deployment
        self._mutations: deque[Asked] = deque()
        self._actions: set[Asked] = set()

    def ask(
        self, request: heard.Request, args: dict[str, Any], identity: Identity | None
    ) -> Asked | None:
        """Take a request; return it if it may run now.

        Raises:
            TooMany: there are a thousand already.
        """
        function = self._deployment.find(request.udf_path)
        until = function.until if function else None
        asked = Asked(request, args, identity, until)
        if request.type == "Action":
            if len(self._actions) == LIMIT:
                raise TooMany("TooManyInflightActionsForSingleClient")
            self._actions.add(asked)
            return asked
        if len(self._mutations) == LIMIT:
            raise TooMany("TooManyConcurrentMutations")
        self._mutations.append(asked)
        return asked if len(self._mutations) == 1 else None

    def run(self, asked: Asked, now: int) -> dict[str, Any]:
        """Run what was asked for; return the response."""
        request, ts = asked.request, None
        owner = asked.identity.owner if asked.identity else None
        call = request.udf_path, asked.args, owner
        response: dict[str, Any] = {
            "type": f"{request.type}Response",
            "requestId": request.request_id,
        }
        try:
            if request.type == "Action":
                returned = self._deployment.act(*call)
            else:
                key = (self.session, request.request_id) if self.session else None
                returned, ts = self._deployment.mutate(now, *call, key)
        except FunctionFailed as error:
            seed = f"{self.session}|{request.request_id}"
            told = failure(error, request_id(seed))
            response |= {"success": False, "result": told.pop("errorMessage")} | told
        else:
            response |= success(returned, "result") | {"success": True}
        if request.type == "Mutation":
            response["ts"] = ts and encode_timestamp(ts)
        return response

    def done(self, asked: Asked) -> Asked | None:
        """Forget what has been answered; return what may run now."""
        if asked.request.type == "Action":
            self._actions.discard(asked)
            return None
        self._mutations.popleft()
        return self._mutations[0] if self._mutations else None


def request_id(seed: str) -> str:
    """Return the id under which an error is told."""
    return sha256(seed.encode()).hexdigest()[:16]


def success(returned: Returned, name: str) -> dict[str, Any]:
    """Return the JSON of what a function returned, its value under this name."""
    return {name: returned.value, "logLines": list(returned.log_lines)}


def failure(error: FunctionFailed, request_id: str) -> dict[str, Any]:
    """Return the JSON of a function's error."""
    told = {
        "errorMessage": f"[Request ID: {request_id}] Server Error\n{error}",
        "logLines": list(error.log_lines),
    }
    return told | ({"errorData": error.data} if isinstance(error, ConvexError) else {})
