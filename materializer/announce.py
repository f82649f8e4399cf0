"""The outbox to the consumers: in order, from any point, at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from materializer.gallery import Gallery, outbox
from materializer.model import DisplayUpdate

# Few, as a long transcript is a megabyte and every consumer holds a page of them.
_PAGE = 8

Send = Callable[[dict[str, Any]], Awaitable[None]]


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


class Announcer:
    """Tells consumers of display updates.

    A wake-up says only that there may be more, so that lost, early and repeated ones
    are harmless. What it brings along is told to whoever has been told all before it;
    everybody else reads the rows.

    Args:
        owner: whose updates are shown now; None is nobody's.
    """

    def __init__(self, gallery: Gallery, owner: Callable[[], str | None]) -> None:
        self._gallery = gallery
        self._owner = owner
        self._bells: set[asyncio.Event] = set()
        self._quiet = 0
        self._latest: tuple[str | None, Sequence[DisplayUpdate]] = (None, ())

    def is_quiet(self) -> bool:
        """Whether nothing is to be opened now, by the wish of a client."""
        return self._quiet > 0

    async def keep_quiet(self) -> None:
        """Open nothing until cancelled, and until everybody else's wish has ended."""
        self._quiet += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._quiet -= 1

    def wake(
        self, owner: str | None = None, latest: Sequence[DisplayUpdate] = ()
    ) -> None:
        """Look for updates: after a commit, or when the owner has changed.

        `latest` are those of `owner` that were just committed.
        """
        self._latest = owner, latest
        for bell in self._bells:
            bell.set()

    async def subscribe(self, consumer: str, after: int | None) -> Subscription:
        """Say from where on a consumer is told; run the result to tell it.

        Without `after` that is where it has acknowledged. A new consumer starts at
        the newest update, and that is remembered: what comes while it is away is its.
        """
        newest = await self._gallery.read(outbox.newest)
        owner = self._owner()
        if after is None:
            after = await self._place(consumer, owner)
        else:
            after = min(after, newest)  # beyond is what another gallery has told
        return Subscription(after, partial(self._tell, consumer, owner, after, newest))

    async def acknowledge(self, consumer: str, seq: int) -> int:
        """Record that a consumer has shown all up to `seq`; return where it is now."""
        return await self._gallery.write(
            outbox.acknowledge, consumer, self._owner(), seq
        )

    async def _place(self, consumer: str, owner: str | None) -> int:
        place = await self._gallery.read(outbox.acknowledged, consumer, owner)
        if place is not None:
            return place
        return await self._gallery.write(outbox.begin, consumer, owner)

    async def _tell(
        self, consumer: str, owner: str | None, cursor: int, newest: int, send: Send
    ) -> None:
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            while True:
                bell.clear()
                if self._owner() != owner:
                    owner = self._owner()
                    cursor = await self._place(consumer, owner)
                page = self._next(owner, cursor) or await self._gallery.read(
                    outbox.after, owner, cursor, _PAGE
                )
                for update in page:
                    if self._owner() != owner:
                        break
                    await send(self._wire(update, replay=update.seq <= newest))
                    cursor = update.seq
                else:
                    if len(page) < _PAGE:
                        await bell.wait()
        finally:
            self._bells.discard(bell)

    def _next(self, owner: str | None, cursor: int) -> Sequence[DisplayUpdate]:
        """Return the latest updates, if they are what follows on `cursor`."""
        whose, latest = self._latest
        follow = latest and whose == owner and latest[0].seq == cursor + 1
        return latest if follow else ()

    def _wire(self, update: DisplayUpdate, *, replay: bool) -> dict[str, Any]:
        held_back = update.action == "open" and self.is_quiet()
        return {
            "seq": update.seq,
            "action": "register" if held_back else update.action,
            "replay": replay,
            "payload": update.payload,
        }
