"""A consumer that stays, acknowledges all, and removes some of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from materializer.errors import DaemonUnreachable
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import RpcError
from scripts.endurance.stage import SOON, SoakFailed

_NAME = "app"


@dataclass(slots=True)
class Consumer:
    """What the desktop app and its person see and do.

    Attributes:
        owners: whose each job is.
        after: the number behind which it begins to listen; without it, as new.
        removes: of what was shown, each so-manieth; 0 is none.
        told: the jobs that were shown, as often as they were.
        removed: those of which the person has removed what was shown first.
        withdrawn: the jobs of the updates that said so.
        owner: who is signed in, as the daemon says.
        flaws: what was told out of turn.
        news: set whenever anything of this has changed.
    """

    owners: dict[str, str]
    after: int | None = None
    removes: int = 10
    told: Counter[str] = field(default_factory=Counter)
    removed: set[str] = field(default_factory=set)
    withdrawn: Counter[str] = field(default_factory=Counter)
    owner: str | None = None
    flaws: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _newest: dict[str, int] = field(default_factory=dict)

    async def run(self, state: Path) -> None:
        """Listen until cancelled.

        Raises:
            SoakFailed: the daemon has gone, or refuses.
        """
        try:
            await self._listen(state)
        except (RpcError, DaemonUnreachable) as error:
            raise SoakFailed(f"the consumer is refused: {error}") from error
        raise SoakFailed("the daemon has hung up")

    async def _listen(self, state: Path) -> None:
        async with Client(state) as client:
            await client.call("events.subscribe", {"topics": ["auth"]}, SOON)
            self.owner = (await client.call("daemon.status", timeout=SOON))["owner"]
            after = {} if self.after is None else {"after": self.after}
            place = {"consumer": _NAME} | after
            await client.call("display.subscribe", place, SOON)
            self.news.set()
            async for sent in client.notifications():
                if sent.method == "event":
                    self.owner = sent.params["data"]["owner"]
                else:
                    await self._show(client, sent.params)
                self.news.set()

    async def _show(self, client: Client, update: dict[str, Any]) -> None:
        seq, job_id = update["seq"], update["payload"]["jobId"]
        owner = self.owners[job_id]
        if seq <= self._newest.get(owner, 0):
            self.flaws.append(f"update {seq} was told after {self._newest[owner]}")
        self._newest[owner] = seq
        await client.call("display.ack", {"consumer": _NAME, "seq": seq}, SOON)
        if update["action"] == "remove":
            self.withdrawn[job_id] += 1
            return
        if self.removes and self.told.total() % self.removes == 0:
            await self._remove(client, job_id)
        self.told[job_id] += 1

    async def _remove(self, client: Client, job_id: str) -> None:
        what = {"id": f"{job_id}_0", "deleteFile": True}
        try:
            await client.call("gallery.remove", what, SOON)
        except RpcError as error:
            status = await client.call("daemon.status", timeout=SOON)
            if status["owner"] == self.owners[job_id]:  # else it is not theirs any more
                self.flaws.append(f"{job_id} cannot be removed: {error}")
        else:
            self.removed.add(job_id)
