from __future__ import annotations

import time

import pytest

from desk import Desk, ask, refusal
from materializer.gallery import wishes
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import INVALID_PARAMS


async def test_a_snooze_is_told_kept_and_ended(desk: Desk, client: Client) -> None:
    changes: list[None] = []
    desk.audience.on_change = lambda: changes.append(None)
    before = time.time_ns() // 1_000_000
    until = (await ask(client, "notification.snooze", forMs=3_600_000))["snoozedUntil"]
    assert 0 <= until - 3_600_000 - before < 60_000
    assert (await ask(client, "daemon.status"))["snoozedUntil"] == until
    assert await desk.gallery.read(wishes.snoozed_until) == until
    assert len(changes) == 1
    ended = {"snoozedUntil": None}
    assert await ask(client, "notification.snooze", forMs=0) == ended
    assert (await ask(client, "daemon.status"))["snoozedUntil"] is None
    assert len(changes) == 2


@pytest.mark.parametrize("span", [-1, "1h", 2**60, None])
async def test_a_snooze_without_an_end_is_refused(client: Client, span: object) -> None:
    code, say = await refusal(client, "notification.snooze", forMs=span)
    assert code == INVALID_PARAMS
    assert say.startswith("forMs")


async def test_to_have_shown_what_nobody_asked_for_changes_nothing(
    client: Client,
) -> None:
    assert await ask(client, "notification.shown", number=1) == {}
