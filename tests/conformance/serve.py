"""The embedded backend in a process of its own, driven through stdin.

Prints `{url, token}`, then makes each line, `[method, arguments]`, a change of the
deployment at the present time; and knows some more. Leaves at the end of stdin.
Arguments of the command: the state directory, the port, and a pace as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from bank import Bank
from materializer.devserver.app import Backend
from materializer.devserver.upgrade import Pace, SyncSocket


class Counting(Backend):
    """Counts the connections to its feed."""

    connections = 0

    def _upgrade(self, **given: object) -> SyncSocket:
        self.connections += 1
        return super()._upgrade(**given)


def say(told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def main() -> None:
    state, port, pace = sys.argv[1:]
    bank = Bank()
    async with Counting(
        Path(state), int(port), pace=Pace(**json.loads(pace))
    ) as backend:
        backend.deployment.functions |= bank.functions
        say({"url": backend.convex_url, "token": backend.token()})
        while line := await asyncio.to_thread(sys.stdin.readline):
            method, arguments = json.loads(line)
            match method:
                case "open":
                    bank.open.set()
                case "connections":
                    say(["connections", backend.connections])
                case "token":
                    say(["token", backend.token(**arguments)])
                case "submit":
                    owner = backend.owner()
                    backend.deployment.submit(time.time_ns(), owner=owner, **arguments)
                case _:
                    getattr(backend.deployment, method)(time.time_ns(), **arguments)


asyncio.run(main())
