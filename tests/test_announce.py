import asyncio
from typing import Any

from materializer.announce import Announcer
from materializer.model import DisplayUpdate

SOON = 10.0


class Outbox:
    """The gallery's part in it, in memory."""

    def __init__(self, count: int = 0) -> None:
        self.rows: list[tuple[str, DisplayUpdate]] = []
        self.cursors: dict[str, int] = {}
        self.last_owner = "a"
        self.reads = 0
        for _ in range(count):
            self.add()

    def add(self, owner: str = "a") -> None:
        seq = len(self.rows) + 1
        self.rows.append((owner, DisplayUpdate(seq, "open", {"jobId": f"j{seq}"})))

    async def updates_after(
        self, owner: str | None, after: int, limit: int
    ) -> list[DisplayUpdate]:
        self.reads += 1
        await asyncio.sleep(0)
        wanted = owner or self.last_owner
        rows = [row for of, row in self.rows if of == wanted and row.seq > after]
        return rows[:limit]

    async def newest_seq(self) -> int:
        return len(self.rows)

    async def acknowledged(self, consumer: str) -> int | None:
        return self.cursors.get(consumer)

    async def acknowledge(self, consumer: str, seq: int) -> int:
        self.cursors[consumer] = max(seq, self.cursors.get(consumer, 0))
        return self.cursors[consumer]


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


async def test_what_came_before_is_replayed_and_what_comes_after_is_live() -> None:
    outbox, ear = Outbox(2), Ear()
    announcer = Announcer(outbox, owner_a)
    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(2)
        outbox.add()
        announcer.wake()
        heard += await ear.next(1)
        telling.cancel()
    assert subscription.cursor == 0
    assert heard == [
        {"seq": 1, "action": "open", "replay": True, "payload": {"jobId": "j1"}},
        {"seq": 2, "action": "open", "replay": True, "payload": {"jobId": "j2"}},
        {"seq": 3, "action": "open", "replay": False, "payload": {"jobId": "j3"}},
    ]


async def test_what_is_committed_between_subscribing_and_telling_is_live() -> None:
    outbox, ear = Outbox(1), Ear()
    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(outbox, owner_a).subscribe("app", 0)
        outbox.add()
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(2)
        telling.cancel()
    assert [update["replay"] for update in heard] == [True, False]


async def test_a_consumer_goes_on_where_it_has_acknowledged() -> None:
    outbox = Outbox(5)
    await outbox.acknowledge("app", 3)
    announcer = Announcer(outbox, owner_a)
    assert (await announcer.subscribe("app", None)).cursor == 3
    assert (await announcer.subscribe("app", 1)).cursor == 1


async def test_a_new_consumer_starts_at_the_newest_and_misses_nothing_after() -> None:
    outbox, ear = Outbox(5), Ear()
    announcer = Announcer(outbox, owner_a)
    assert (await announcer.subscribe("app", None)).cursor == 5
    outbox.add()
    again = await announcer.subscribe("app", None)
    assert again.cursor == 5
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(again.run(ear))
        assert [update["seq"] for update in await ear.next(1)] == [6]
        telling.cancel()


async def test_many_pages_arrive_in_order_without_a_wake_up() -> None:
    outbox, ear = Outbox(64 * 3), Ear()
    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(outbox, owner_a).subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        heard = await ear.next(64 * 3)
        telling.cancel()
    assert [update["seq"] for update in heard] == list(range(1, 64 * 3 + 1))


async def test_wake_ups_that_coalesce_lose_nothing() -> None:
    outbox = Outbox()
    announcer = Announcer(outbox, owner_a)
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
            outbox.add()
            announcer.wake()
            if n % 7 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(SOON):
            await all_heard.wait()
        telling.cancel()
    assert heard == list(range(1, 301))


async def test_the_next_update_waits_until_the_last_one_is_taken() -> None:
    taken, offered = asyncio.Semaphore(0), Ear()

    async def reluctant(update: dict[str, Any]) -> None:
        await offered(update)
        await taken.acquire()

    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(Outbox(3), owner_a).subscribe("app", 0)
        telling = tasks.create_task(subscription.run(reluctant))
        for seq in (1, 2, 3):
            assert [update["seq"] for update in await offered.next(1)] == [seq]
            await asyncio.sleep(0)
            assert offered.heard.empty()
            taken.release()
        telling.cancel()


async def test_several_consumers_each_hear_everything() -> None:
    outbox, ears = Outbox(1), [Ear() for _ in range(3)]
    announcer = Announcer(outbox, owner_a)
    async with asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task((await announcer.subscribe(f"c{n}", 0)).run(ear))
            for n, ear in enumerate(ears)
        ]
        for ear in ears:
            await ear.next(1)
        outbox.add()
        announcer.wake()
        for ear in ears:
            assert [update["seq"] for update in await ear.next(1)] == [2]
        for task in telling:
            task.cancel()


async def test_updates_of_another_owner_are_not_told_once_it_has_changed() -> None:
    outbox, ear = Outbox(2), Ear()
    outbox.add("b")
    owner = "a"
    announcer = Announcer(outbox, lambda: owner)

    async def switch(update: dict[str, Any]) -> None:
        nonlocal owner
        owner = "b"
        await ear(update)

    async with asyncio.TaskGroup() as tasks:
        subscription = await announcer.subscribe("app", 0)
        telling = tasks.create_task(subscription.run(switch))
        assert [update["seq"] for update in await ear.next(2)] == [1, 3]
        outbox.add("a")
        outbox.add("b")
        announcer.wake()
        assert [update["seq"] for update in await ear.next(1)] == [5]
        telling.cancel()


async def test_idle_means_idle() -> None:
    outbox, ear = Outbox(1), Ear()
    async with asyncio.TaskGroup() as tasks:
        subscription = await Announcer(outbox, owner_a).subscribe("app", 0)
        telling = tasks.create_task(subscription.run(ear))
        await ear.next(1)
        await asyncio.sleep(0.05)
        telling.cancel()
    assert outbox.reads == 1
