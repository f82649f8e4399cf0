"""The official Python client, iterated either way.

Arguments: `async` or `sync`, the deployment's URL, a token. The second way holds the
interpreter's lock while it waits, so that nothing else runs in the process.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from convex import ConvexClient, QuerySubscription
from scripts.benchmarks.stage import PATH
from scripts.benchmarks.tally import Tally


def note(tally: Tally, rows: Any) -> None:
    """Note a value with rows, and tell of the phase after its last."""
    if rows and tally.note(rows[0]["jobId"], rows[0]["profile"], len(rows)):
        tally.tell(
            (
                row["jobId"],
                row["status"],
                int(row["completedAt"]),
                row["request"]["prompt"],
                row["output"]["images"][0]["url"],
            )
            for row in rows
        )


async def follow(subscription: QuerySubscription) -> None:
    """Note every value that the asyncio loop is handed."""
    tally = Tally()
    async for rows in subscription:
        note(tally, rows)


def follow_blocking(subscription: QuerySubscription) -> None:
    """Note every value that the thread is handed."""
    tally = Tally()
    for rows in subscription:
        note(tally, rows)


def main() -> None:
    """Follow until killed."""
    way, url, token = sys.argv[1:]
    client = ConvexClient(url)
    client.set_auth(token)
    subscription = client.subscribe(PATH, {"since": 0, "limit": 200})
    if way == "async":
        asyncio.run(follow(subscription))
    else:
        follow_blocking(subscription)


main()
