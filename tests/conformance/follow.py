"""The official Python client: follows all three functions, prints what it sees.

Arguments: the deployment's URL, a token, a job id. Each line is `[name, value]`; the
first is what the HTTP client got.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from convex.http_client import ConvexHttpClient

from convex import ConvexClient


def say(name: str, value: Any) -> None:
    sys.stdout.write(json.dumps([name, value]) + "\n")
    sys.stdout.flush()


async def follow(client: Any, name: str, args: dict[str, Any]) -> None:
    async for value in client.subscribe(f"media_jobs:{name}", args):
        say(name, value)


async def main() -> None:
    url, token, job_id = sys.argv[1:]
    http = ConvexHttpClient(url)
    http.set_auth(token)
    say("http", http.query("media_jobs:getByJobId", {"jobId": job_id}))
    client = ConvexClient(url)
    client.set_auth(token)
    async with asyncio.TaskGroup() as group:
        group.create_task(follow(client, "getByJobId", {"jobId": job_id}))
        for name in ("listSucceededSince", "listFailedSince"):
            group.create_task(follow(client, name, {"since": 0, "limit": 200}))


asyncio.run(main())
