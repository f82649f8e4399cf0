"""What a local client may say about notices to the person."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from materializer.audience import Audience
from materializer.gallery import Gallery, wishes
from materializer.ipc import contract
from materializer.ipc.connection import Connection


class NoticeMethods:
    """The methods `notification.*`."""

    def __init__(self, gallery: Gallery, audience: Audience) -> None:
        self._gallery = gallery
        self._audience = audience

    def table(self) -> dict[str, Callable[[Connection, Any], Awaitable[object]]]:
        """Return what runs each method."""
        return {
            "notification.shown": self._shown,
            "notification.snooze": self._snooze,
        }

    async def _shown(
        self, connection: Connection, params: contract.NotificationShown
    ) -> dict[str, Any]:
        self._audience.shown(connection, params.number)
        return {}

    async def _snooze(
        self, _: Connection, params: contract.NotificationSnooze
    ) -> dict[str, Any]:
        await self._gallery.write(wishes.snooze, _now() + params.for_ms)
        self._audience.on_change()
        until = await self._gallery.read(wishes.snoozed_until)
        return {"snoozedUntil": still(until)}


def still(until: int) -> int | None:
    """Return until when nothing is shown, in ms; None when that is over."""
    return until if until > _now() else None


def _now() -> int:
    return time.time_ns() // 1_000_000
