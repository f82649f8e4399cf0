"""`hello`: the one method that is answered before there are others.

A client learns at once who answers, while the daemon is still loading what the rest
needs. So its parameters are read by hand; `contract` describes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from materializer import __version__
from materializer.ipc.connection import Connection, Method
from materializer.ipc.endpoint import PROTOCOL
from materializer.ipc.jsonlines import INVALID_PARAMS, RpcError

_LONGEST_NAME = 200


def greeting(state: Path, owner: Callable[[], str | None]) -> Method[None]:
    """Make the method of the daemon of a state directory.

    Args:
        state: absolute.
        owner: tells who is signed in.
    """

    async def answer(_: Connection, __: None) -> dict[str, Any]:
        return {
            "server": "stella-materializer",
            "version": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "stateDir": str(state),
            "owner": owner(),
        }

    return Method(_read, answer)


def _read(sent: object) -> None:
    told = sent if isinstance(sent, Mapping) else {}
    client, protocol = told.get("client"), told.get("protocol")
    if not isinstance(client, str) or not 1 <= len(client) <= _LONGEST_NAME:
        raise RpcError(INVALID_PARAMS, "client: a name of 1 to 200 characters")
    if protocol != PROTOCOL:
        raise RpcError(INVALID_PARAMS, f"protocol: this daemon speaks {PROTOCOL}")
