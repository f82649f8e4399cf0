"""Many long transcripts at once, for a consumer that reads."""

from __future__ import annotations

import asyncio
import sqlite3

from desk import ME, SOON, Desk, ask
from materializer.gallery import outbox
from materializer.ipc.client import Client
from materializer.ipc.connection import MAX_LIVE_BYTES

TEXT = "x" * (256 << 10)
COUNT = MAX_LIVE_BYTES // len(TEXT) * 2


def announce_all(db: sqlite3.Connection) -> None:
    for n in range(COUNT):
        payload = {"kind": "media", "asset": {"kind": "text", "text": TEXT}}
        outbox.append(db, ME.owner, "open", payload | {"createdAt": n})


async def test_a_burst_of_more_than_may_be_queued_reaches_a_consumer_that_reads(
    desk: Desk, client: Client
) -> None:
    await ask(client, "display.subscribe", consumer="app")
    await desk.gallery.write(announce_all)
    desk.announcer.wake()
    heard = []
    async with asyncio.timeout(SOON):
        async for sent in client.notifications():
            heard.append(sent.params["seq"])
            if len(heard) == COUNT:
                break
    assert heard == list(range(1, COUNT + 1))
