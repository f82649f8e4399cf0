"""The outbox to the consumers: in order, from any point, at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from materializer.model import DisplayUpdate

_PAGE = 64

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Outbox(Protocol):
    """What is to be announced, as rows that stay until the end of time."""

    async def updates_after(
        self, owner: str | None, after: int, limit: int
    ) -> list[DisplayUpdate]:
        """Return the next updates of an owner with `seq > after`, in order.

        Without an owner, which is signed out, those of the last one.
        """

    async def newest_seq(self) -> int:
        """Return the newest `seq` of all, or 0."""

    async def acknowledged(self, consumer: str) -> int | None:
        """Return up to where a consumer has acknowledged; None for a new one."""

    async def acknowledge(self, consumer: str, seq: int) -> int:
        """Move a consumer's cursor forward, never back; return where it is."""


class Announcer:
    """Tells consumers of display updates.

    It reads rows, never messages: a wake-up says only that there may be more, so that
    lost, early and repeated ones are harmless.

    Args:
        outbox: where the updates are.
        owner: who is signed in now, or None.
    """

    def __init__(self, outbox: Outbox, owner: Callable[[], str | None]) -> None:
        self._outbox = outbox
        self._owner = owner
        self._bells: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Look for updates: after a commit, or when the owner has changed."""
        for bell in self._bells:
            bell.set()

    async def subscribe(self, consumer: str, after: int | None) -> Subscription:
        """Say from where on a consumer is told; run the result to tell it.

        Without `after` that is where it has acknowledged. A new consumer starts at
        the newest update, and that is remembered: what comes while it is away is its.
        """
        newest = await self._outbox.newest_seq()
        if after is None:
            after = await self._outbox.acknowledged(consumer)
        if after is None:
            after = await self._outbox.acknowledge(consumer, newest)
        return Subscription(after, partial(self._tell, after, newest))

    async def _tell(self, cursor: int, newest: int, send: Send) -> None:
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            while True:
                bell.clear()
                owner = self._owner()
                page = await self._outbox.updates_after(owner, cursor, _PAGE)
                for update in page:
                    if self._owner() != owner:
                        break
                    await send(_wire(update, replay=update.seq <= newest))
                    cursor = update.seq
                else:
                    if len(page) < _PAGE:
                        await bell.wait()
        finally:
            self._bells.discard(bell)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A consumer's place in the outbox.

    Attributes:
        cursor: it is told of every update with a greater `seq`.
        run: sends the parameters of one `display.update` after the other and never
            ends. It goes on when `send` has returned, so the reader sets the pace.
    """

    cursor: int
    run: Callable[[Send], Coroutine[Any, Any, None]]


def _wire(update: DisplayUpdate, *, replay: bool) -> dict[str, Any]:
    return {
        "seq": update.seq,
        "action": update.action,
        "replay": replay,
        "payload": update.payload,
    }
