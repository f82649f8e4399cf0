"""A consumer that acknowledges what it is told, and writes down what that was."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from materializer.errors import MaterializerError
from materializer.ipc.client import Client

NAME = "app"
_STEP = 0.03
_SOON = 60.0


@dataclass(slots=True)
class Heard:
    """What the consumer was told, over all daemons of a trial.

    Attributes:
        updates: each (number, payload), as often as it was told.
        confirming: the newest number that the consumer has begun to acknowledge.
        acknowledged: the newest number that a daemon has confirmed.
        notices: the jobs of whose failure somebody was told, as often as that was.
        flaws: what was told out of turn.
        known: whether a daemon knows the consumer.
    """

    updates: list[tuple[int, str]] = field(default_factory=list)
    confirming: int = 0
    acknowledged: int = 0
    notices: list[str] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    known: bool = False

    def update(self, seq: int, payload: str) -> None:
        """Take note of an update."""
        if seq <= self.acknowledged:
            self.flaws.append(f"update {seq} was told again, though acknowledged")
        self.updates.append((seq, payload))

    def attached(self, cursor: int) -> None:
        """Take note of where a daemon begins; the answer before may have been lost."""
        if cursor > self.confirming:
            self.flaws.append(f"update {cursor} counts as acknowledged and was not")
        self.acknowledged = max(self.acknowledged, cursor)
        self.known = True


@asynccontextmanager
async def listening(state: Path, heard: Heard) -> AsyncIterator[None]:
    """Listen to whatever daemon serves the state directory within the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_listen(state, heard))
        try:
            yield
        finally:
            task.cancel()


async def _listen(state: Path, heard: Heard) -> None:
    while True:
        with contextlib.suppress(MaterializerError, OSError, TimeoutError):
            await _hear(state, heard)
        await asyncio.sleep(_STEP)


async def _hear(state: Path, heard: Heard) -> None:
    async with Client(state) as client:
        await client.call("events.subscribe", {"topics": ["notification"]}, _SOON)
        begun = await client.call("display.subscribe", {"consumer": NAME}, _SOON)
        heard.attached(begun["cursor"])
        last = 0
        async for sent in client.notifications():
            if sent.method == "event":
                heard.notices.append(sent.params["data"]["jobId"] or "")
                continue
            seq = sent.params["seq"]
            if seq <= last:
                heard.flaws.append(f"update {seq} was told after {last}")
            last = seq
            heard.update(seq, json.dumps(sent.params["payload"], sort_keys=True))
            heard.confirming = max(heard.confirming, seq)
            await client.call("display.ack", {"consumer": NAME, "seq": seq}, _SOON)
            heard.acknowledged = max(heard.acknowledged, seq)
