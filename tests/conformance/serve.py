"""The embedded backend in a process of its own, driven through stdin.

Prints `{url, token}`, then makes each line, `[method, arguments]`, a change of the
deployment at the present time. Leaves at the end of stdin. Arguments of the command:
the state directory and the port.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from materializer.devserver.app import Backend


async def main() -> None:
    async with Backend(Path(sys.argv[1]), int(sys.argv[2])) as backend:
        ready = {"url": backend.convex_url, "token": backend.token()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            method, arguments = json.loads(line)
            if method == "submit":
                arguments["owner"] = backend.owner()
            getattr(backend.deployment, method)(time.time_ns(), **arguments)


asyncio.run(main())
