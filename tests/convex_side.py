"""The deployment's side of a conversation, for tests: tokens and messages."""

from __future__ import annotations

import base64
import json
from typing import Any

from materializer.convex.messages import encode_timestamp

Numbers = tuple[int, int, int]


def jwt(sub: str = "ada", *, mark: str = "a", **claims: Any) -> str:
    """Return a token; another `mark` makes another token with the same claims."""
    payload = {"iss": "https://site.test", "sub": sub} | claims
    parts = ({"alg": "none"}, payload, {"signature": mark})
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in parts
    )


def transition(start: Numbers, end: Numbers, **results: Any) -> str:
    """Return a Transition; `q0="x"` updates query 0, an exception fails it."""
    changes = []
    for name, value in results.items():
        change: dict[str, Any] = {"queryId": int(name[1:]), "logLines": []}
        if isinstance(value, Exception):
            change |= {"type": "QueryFailed", "errorMessage": str(value)}
        else:
            change |= {"type": "QueryUpdated", "value": value}
        changes.append(change | {"journal": None})
    return json.dumps(
        {
            "type": "Transition",
            "startVersion": version(start),
            "endVersion": version(end),
            "modifications": changes,
        }
    )


def version(numbers: Numbers) -> dict[str, Any]:
    """Return a version's JSON."""
    query_set, identity, ts = numbers
    return {
        "querySet": query_set,
        "identity": identity,
        "ts": encode_timestamp(ts),
    }


def auth_error(base: int, *, attempted: bool = True, error: str = "no good") -> str:
    """Return an AuthError."""
    return json.dumps(
        {
            "type": "AuthError",
            "error": error,
            "baseVersion": base,
            "authUpdateAttempted": attempted,
        }
    )
