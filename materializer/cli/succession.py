"""A second daemon on one state directory steps back, or follows an older one."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from materializer import __version__
from materializer.errors import AlreadyRunning, DaemonUnreachable
from materializer.host import InstanceLock
from materializer.ipc.client import Client
from materializer.ipc.endpoint import Endpoint, discover, endpoint_file
from materializer.ipc.jsonlines import RpcError

_PATIENCE = 10.0
_PAUSE = 0.05


async def hold(lock: InstanceLock, state: Path, *, step_back: bool) -> Endpoint | None:
    """Enter the lock.

    With `step_back`, return where the daemon listens that holds it already; one of an
    older version is asked to stop, and its place is taken.

    Raises:
        AlreadyRunning: the lock is held; with `step_back`, by somebody who neither
            answers nor goes within 10 s.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + (_PATIENCE if step_back else 0)
    while True:
        try:
            lock.__enter__()
        except AlreadyRunning:
            if clock() >= give_up:
                raise
        else:
            return None
        with suppress(DaemonUnreachable, TimeoutError, RpcError):  # it stops, perhaps
            if endpoint := await _meet(state):
                return endpoint
        await asyncio.sleep(_PAUSE)


async def _meet(state: Path) -> Endpoint | None:
    """Return where the other one listens, or None when it was asked to stop."""
    endpoint = await asyncio.to_thread(discover, endpoint_file(state))
    asked = {"client": f"stella-materializer {__version__}", "protocol": 1}
    async with Client(state) as other:
        hello = await other.call("hello", asked, _PATIENCE)
        if _release(hello["version"]) >= _release(__version__):
            return endpoint
        await other.call("daemon.shutdown", timeout=_PATIENCE)
    return None


def _release(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
