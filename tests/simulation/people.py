"""Who is outside the daemon: consumers that acknowledge, and the person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from simulation.cloud import Cloud
from simulation.house import House
from simulation.world import Crash, Violation, World


class Consumer:
    """A program that shows updates and acknowledges what it has shown.

    It outlives the daemon, and crashes at times of its own. What it is told must be in
    order, new beyond what it has acknowledged, the same for ever under one number, and
    there.

    Attributes:
        begun: by owner, the number after which everything is its.
        shown: what it was told, by number.
    """

    def __init__(
        self,
        name: str,
        world: World,
        cloud: Cloud,
        require_there: Callable[[dict[str, Any]], None],
    ) -> None:
        self.name = name
        self._world = world
        self._cloud = cloud
        self._require_there = require_there
        self.begun: dict[str, int] = {}
        self.shown: dict[int, dict[str, Any]] = {}
        self.acked: dict[str, int] = {}
        self._last = 0, 0

    async def attend(self, house: House) -> None:
        """Be connected, again and again, until the daemon ends."""
        world = self._world
        while True:
            with suppress(TimeoutError, OSError):  # which a client is told of
                async with asyncio.timeout(self._patience()):
                    await self._listen(house)
            world.troubles["consumer crash"] += 1
            await asyncio.sleep(world.chance.random() ** 3 * 1000)

    def _patience(self) -> float | None:
        if not self._world.rough:
            return None
        return self._world.chance.random() ** 6 * 10_000

    async def _listen(self, house: House) -> None:
        self._last = 0, 0
        place = await house.announcer.subscribe(self.name, None)

        async def send(sent: dict[str, Any]) -> None:
            await self._hear(house, sent)

        self._note_beginning(house, place.cursor)
        await place.run(send)

    def _note_beginning(self, house: House, cursor: int) -> None:
        owner = house.owner
        if owner is not None and owner not in self.begun:
            self.begun[owner] = cursor

    async def _hear(self, house: House, sent: dict[str, Any]) -> None:
        self._world.effect(f"{self.name} hears {sent['seq']}")
        seq, payload = sent["seq"], sent["payload"]
        owner = self._cloud.jobs[payload["jobId"]].owner
        if house.owner != owner:
            raise Violation(f"{self.name}: {seq} is for {owner} alone")
        places_found, last = self._last
        if seq <= last and places_found == house.places_found:
            raise Violation(f"{self.name}: {seq} comes after {last}")
        if seq <= self.acked.get(owner, 0):
            raise Violation(f"{self.name}: {seq} comes again, acknowledged before")
        if self.shown.setdefault(seq, payload) != payload:
            raise Violation(f"{self.name}: {seq} is another update than before")
        self._last = house.places_found, seq
        if sent["action"] != "remove":
            self._require_there(payload)
        if self._world.maybe(0.3):
            return  # what comes next is acknowledged for this one too
        await asyncio.sleep(self._world.chance.random() ** 5 * 30)
        now = await house.announcer.acknowledge(self.name, seq)
        self.acked[owner] = max(self.acked.get(owner, 0), min(now, seq))


async def live_long(world: World, seconds: float) -> None:
    """Let time pass, and die at its end if that is how it ends."""
    await asyncio.sleep(seconds)
    if world.rough and world.chance.random() < 0.7:
        world.die()
        raise Crash
