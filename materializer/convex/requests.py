"""Convex sync requests: what a client says, built as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from materializer.convex.messages import encode_timestamp
from materializer.convex.values import encode


def connect(
    session_id: str,
    connection_count: int,
    last_close_reason: str | None,
    max_observed: int | None,
    client_ts: int,
) -> str:
    """Build the first message of every connection; `client_ts` is wall-clock ms."""
    message: dict[str, Any] = {
        "type": "Connect",
        "sessionId": session_id,
        "connectionCount": connection_count,
        "lastCloseReason": last_close_reason,
        "clientTs": client_ts,
    }
    if max_observed is not None:
        message["maxObservedTimestamp"] = encode_timestamp(max_observed)
    return _text(message)


def authenticate(base_version: int, token: str | None) -> str:
    """Build the change of identity to a user's token, or to nobody."""
    message = {"type": "Authenticate", "baseVersion": base_version}
    if token is None:
        return _text(message | {"tokenType": "None"})
    return _text(message | {"tokenType": "User", "value": token})


def modify_query_set(base_version: int, modifications: Sequence[object]) -> str:
    """Build one step of the query set from `add`s and `remove`s."""
    return _text(
        {
            "type": "ModifyQuerySet",
            "baseVersion": base_version,
            "newVersion": base_version + 1,
            "modifications": modifications,
        }
    )


def add(
    query_id: int, path: str, args: Mapping[str, object], journal: str | None
) -> dict[str, Any]:
    """Build the subscription to one query.

    Raises:
        ValueError: the arguments are no Convex values.
    """
    modification = {
        "type": "Add",
        "queryId": query_id,
        "udfPath": path,
        "args": [encode(args)],
    }
    return modification if journal is None else modification | {"journal": journal}


def remove(query_id: int) -> dict[str, Any]:
    """Build the end of one subscription."""
    return {"type": "Remove", "queryId": query_id}


def call(
    request_id: int, path: str, args: Mapping[str, object], *, mutation: bool
) -> str:
    """Build a mutation, or else an action.

    Raises:
        ValueError: the arguments are no Convex values.
    """
    return _text(
        {
            "type": "Mutation" if mutation else "Action",
            "requestId": request_id,
            "udfPath": path,
            "args": [encode(args)],
        }
    )


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), allow_nan=False)
