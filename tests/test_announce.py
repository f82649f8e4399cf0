from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from materializer.announce import Announcer
from materializer.gallery import Gallery, outbox

SOON = 10.0


class Outbox:
    """A real gallery, to which announcements are added."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    async def add(self, count: int = 1, owner: str = "a") -> None:
        for _ in range(count):
            seq = await self.gallery.read(outbox.newest) + 1
            payload = {"jobId": f"j{seq}"}
            await self.gallery.write(outbox.append, owner, "open", payload)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Outbox]:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    yield Outbox(gallery)
    await gallery.close()


class Ear:
    """Collects what it is sent, and can be waited on."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __call__(self, update: dict[str, Any]) -> None:
        self.heard.put_nowait(update)

    async def next(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(SOON):
            return [await self.heard.get() for _ in range(count)]


def owner_a() -> str:
    return "a"


async def test_what_came_before_is_replayed_and_what_comes_after_is_live(
    box: Outbox,
) -> None:
    ear = Ear()
    await box.add(2)
    announcer = Announcer(box.gallery, owner_a)
    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(2)
        await box.add()
        announcer.wake()
        heard += await ear.next(1)
        telling.cancel()
    assert subscription.cursor == 0
    assert heard == [
        {"seq": 1, "action": "open", "replay": True, "payload": {"jobId": "j1"}},
        {"seq": 2, "action": "open", "replay": True, "payload": {"jobId": "j2"}},
        {"seq": 3, "action": "open", "replay": False, "payload": {"jobId": "j3"}},
    ]


async def test_what_was_just_committed_is_told_without_a_look_at_the_rows(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = Ear(), Ear()
    await box.add(2)
    announcer = Announcer(box.gallery, owner_a)
    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("near", 2)
        telling = [tasks.create_task(subscription.run(near))]
        await box.gallery.read(outbox.newest)  # its first look is behind it
        await box.add()
        [latest] = await box.gallery.read(outbox.after, "a", 2, 9)
        read, looks = box.gallery.read, []

        async def note(do: Any, *args: Any) -> Any:
            looks.append(args)
            return await read(do, *args)

        monkeypatch.setattr(box.gallery, "read", note)
        announcer.wake("b", [latest])
        announcer.wake("a", [latest])
        assert [update["seq"] for update in await near.next(1)] == [3]
        assert looks == []
        behind = await announcer.subscribe("far", 0)
        telling.append(tasks.create_task(behind.run(far)))
        assert [update["seq"] for update in await far.next(3)] == [1, 2, 3]
        await box.add()
        announcer.wake()
        for ear in (near, far):
            assert [update["seq"] for update in await ear.next(1)] == [4]
        for task in telling:
            task.cancel()


async def test_what_is_committed_between_subscribing_and_telling_is_live(
    box: Outbox,
) -> None:
    ear = Ear()
    await box.add(1)
    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(box.gallery, owner_a).subscribe("app", 0)
        await box.add()
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(2)
        telling.cancel()
    assert [update["replay"] for update in heard] == [True, False]


async def test_a_consumer_goes_on_where_it_has_acknowledged(box: Outbox) -> None:
    await box.add(5)
    announcer = Announcer(box.gallery, owner_a)
    assert await announcer.acknowledge("app", 3) == 3
    assert (await announcer.subscribe("app", None)).cursor == 3
    assert (await announcer.subscribe("app", 1)).cursor == 1


async def test_a_new_consumer_starts_at_the_newest_and_misses_nothing_after(
    box: Outbox,
) -> None:
    ear = Ear()
    await box.add(5)
    announcer = Announcer(box.gallery, owner_a)
    assert (await announcer.subscribe("app", None)).cursor == 5
    await box.add()
    again = await announcer.subscribe("app", None)
    assert again.cursor == 5
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(again.run(ear))
        assert [update["seq"] for update in await ear.next(1)] == [6]
        telling.cancel()


async def test_many_pages_arrive_in_order_without_a_wake_up(box: Outbox) -> None:
    ear = Ear()
    await box.add(64 * 3)
    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(box.gallery, owner_a).subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(64 * 3)
        telling.cancel()
    assert [update["seq"] for update in heard] == list(range(1, 64 * 3 + 1))


async def test_wake_ups_that_coalesce_lose_nothing(box: Outbox) -> None:
    announcer = Announcer(box.gallery, owner_a)
    heard = []
    all_heard = asyncio.Event()

    async def slow(update: dict[str, Any]) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        heard.append(update["seq"])
        if len(heard) == 300:
            all_heard.set()

    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(slow))
        for n in range(300):
            await box.add()
            announcer.wake()
            if n % 7 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(SOON):
            await all_heard.wait()
        telling.cancel()
    assert heard == list(range(1, 301))


async def test_the_next_update_waits_until_the_last_one_is_taken(box: Outbox) -> None:
    taken, offered = asyncio.Semaphore(0), Ear()

    async def reluctant(update: dict[str, Any]) -> None:
        await offered(update)
        await taken.acquire()

    async with asyncio.TaskGroup() as tasks:
        await box.add(3)
        subscription = await Announcer(box.gallery, owner_a).subscribe("app", 0)
        telling = tasks.create_task(subscription.run(reluctant))
        for seq in (1, 2, 3):
            assert [update["seq"] for update in await offered.next(1)] == [seq]
            await asyncio.sleep(0)
            assert offered.heard.empty()
            taken.release()
        telling.cancel()


async def test_several_consumers_each_hear_everything(box: Outbox) -> None:
    ears = [Ear() for _ in range(3)]
    await box.add()
    announcer = Announcer(box.gallery, owner_a)
    async with asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task((await announcer.subscribe(f"c{n}", 0)).run(ear))
            for n, ear in enumerate(ears)
        ]
        for ear in ears:
            await ear.next(1)
        await box.add()
        announcer.wake()
        for ear in ears:
            assert [update["seq"] for update in await ear.next(1)] == [2]
        for task in telling:
            task.cancel()
    assert announcer._bells == set()


async def test_updates_of_another_owner_are_not_told_once_it_has_changed(
    box: Outbox,
) -> None:
    ear = Ear()
    await box.add(2)
    await box.add(owner="b")
    owner = "a"
    announcer = Announcer(box.gallery, lambda: owner)

    async def switch(update: dict[str, Any]) -> None:
        nonlocal owner
        owner = "b"
        await ear(update)

    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(switch))
        assert [update["seq"] for update in await ear.next(1)] == [1]
        while await box.gallery.read(outbox.acknowledged, "app", "b") is None:  # noqa: ASYNC110 -- rows tell nobody
            await asyncio.sleep(0)
        await box.add(owner="a")
        await box.add(owner="b")
        announcer.wake()
        assert [update["seq"] for update in await ear.next(1)] == [5]
        telling.cancel()


async def test_going_back_to_an_account_tells_what_it_has_not_acknowledged(
    box: Outbox,
) -> None:
    owner, ear = "a", Ear()
    announcer = Announcer(box.gallery, lambda: owner)
    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        await box.add()
        announcer.wake()
        await ear.next(1)
        owner = "b"
        await announcer.subscribe("app", None)
        await box.add(owner="a")
        await box.add(owner="b")
        announcer.wake()
        assert [update["seq"] for update in await ear.next(1)] == [3]
        await announcer.acknowledge("app", 3)
        owner = "a"
        await announcer.acknowledge("app", 1)
        announcer.wake()
        assert [update["seq"] for update in await ear.next(1)] == [2]
        telling.cancel()


async def test_idle_means_idle(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = box.gallery.read

    async def counting(*args: Any) -> Any:
        reads.append(args[0])
        return await read(*args)

    ear = Ear()
    await box.add()
    announcer = Announcer(box.gallery, owner_a)
    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        monkeypatch.setattr(box.gallery, "read", counting)
        telling = tasks.create_task(subscription.run(ear))
        await ear.next(1)
        monkeypatch.undo()
        await box.add()
        monkeypatch.setattr(box.gallery, "read", counting)
        announcer.wake()
        await ear.next(1)
        await asyncio.sleep(0.05)
        telling.cancel()
    assert reads == [outbox.after, outbox.after]


async def test_a_place_beyond_the_newest_update_is_the_newest(box: Outbox) -> None:
    await box.add(2)
    announcer = Announcer(box.gallery, owner_a)
    assert (await announcer.subscribe("app", 99)).cursor == 2
    assert await announcer.acknowledge("app", 99) == 2


async def test_while_anybody_wants_quiet_nothing_opens_and_the_rest_is_as_it_was(
    box: Outbox,
) -> None:
    ear = Ear()
    announcer = Announcer(box.gallery, owner_a)
    await box.add(3)
    await box.gallery.write(outbox.append, "a", "remove", {"jobId": "j4"})
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(announcer.keep_quiet())
        other = tasks.create_task(announcer.keep_quiet())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.wait([one])
        assert announcer.is_quiet()
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        actions = [update["action"] for update in await ear.next(4)]
        assert actions == ["register"] * 3 + ["remove"]
        other.cancel()
        await asyncio.wait([other])
        assert not announcer.is_quiet()
        await box.add()
        announcer.wake()
        assert [update["action"] for update in await ear.next(1)] == ["open"]
        telling.cancel()
