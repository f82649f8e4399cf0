from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from materializer.place.group import GroupCommit

SOON = 10


class Log:
    """What was done, in order, from whatever thread."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.hold = threading.Event()
        self.syncing = threading.Event()
        self.fail: set[str] = set()

    def step(self, name: str) -> None:
        self.done.append(name)
        if name in self.fail:
            raise OSError(name)

    def sync(self) -> None:
        self.syncing.set()
        assert self.hold.wait(SOON)
        self.step("sync")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def group(log: Log) -> GroupCommit:
    return GroupCommit(log.sync)


async def make(group: GroupCommit, log: Log, name: str) -> BaseException | None:
    try:
        await group.make(
            lambda: log.step(f"prepare {name}"), lambda: log.step(f"put {name}")
        )
    except OSError as error:
        return error
    return None


@asynccontextmanager
async def while_syncing(
    group: GroupCommit, log: Log
) -> AsyncIterator[asyncio.TaskGroup]:
    """Let what is begun in the block wait for a sync that ends with the block."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(make(group, log, "first"))
        assert await asyncio.to_thread(log.syncing.wait, SOON)
        try:
            yield tasks
            await asyncio.sleep(0)  # each new task begins
        finally:
            log.hold.set()


async def test_a_change_is_prepared_put_and_synced_in_this_order(
    group: GroupCommit, log: Log
) -> None:
    log.hold.set()
    assert await make(group, log, "a") is None
    await group.make(None, lambda: log.step("put b"))
    assert log.done == ["prepare a", "put a", "sync", "put b", "sync"]


async def test_whoever_comes_while_a_sync_is_under_way_waits_for_the_next_one(
    group: GroupCommit, log: Log
) -> None:
    async with while_syncing(group, log) as tasks:
        late = tasks.create_task(make(group, log, "late"))
        await asyncio.sleep(0)
        assert log.done == ["prepare first", "put first"]
    assert late.done()
    assert log.done[2:] == ["sync", "prepare late", "put late", "sync"]


async def test_changes_that_wait_together_share_one_sync_in_their_order(
    group: GroupCommit, log: Log
) -> None:
    async with while_syncing(group, log) as tasks:
        for name in "cab":
            tasks.create_task(make(group, log, name))
    assert log.done[:3] == ["prepare first", "put first", "sync"]
    assert {*log.done[3:6]} == {"prepare a", "prepare b", "prepare c"}
    assert log.done[6:] == ["put c", "put a", "put b", "sync"]


async def test_changes_that_wait_together_are_prepared_side_by_side(
    group: GroupCommit, log: Log
) -> None:
    barrier = threading.Barrier(2, timeout=SOON)

    def meet() -> None:
        barrier.wait()

    async with while_syncing(group, log) as tasks:
        for name in "ab":
            put = partial(log.step, name)
            tasks.create_task(group.make(meet, put))
    assert log.done[3:] == ["a", "b", "sync"]


@pytest.mark.parametrize("where", ["prepare", "put"])
async def test_a_change_that_fails_does_so_for_its_caller_alone(
    group: GroupCommit, log: Log, where: str
) -> None:
    log.fail = {f"{where} b"}
    async with while_syncing(group, log) as tasks:
        a, b, c = (tasks.create_task(make(group, log, name)) for name in "abc")
    assert a.result() is None
    assert c.result() is None
    assert str(b.result()) == f"{where} b"
    assert log.done.count("sync") == 2
    assert ("put b" in log.done) == (where == "put")


async def test_what_failed_alone_needs_no_sync(group: GroupCommit, log: Log) -> None:
    log.hold.set()
    log.fail = {"put a"}
    assert str(await make(group, log, "a")) == "put a"
    assert log.done == ["prepare a", "put a"]


async def test_a_sync_that_fails_fails_for_all_it_was_for(
    group: GroupCommit, log: Log
) -> None:
    log.fail = {"sync", "put b"}
    async with while_syncing(group, log) as tasks:
        a, b, c = (tasks.create_task(make(group, log, name)) for name in "abc")
    assert [str(task.result()) for task in (a, b, c)] == ["sync", "put b", "sync"]
    log.fail = set()
    assert await make(group, log, "d") is None


async def test_a_change_whose_caller_has_gone_hinders_no_other(
    group: GroupCommit, log: Log
) -> None:
    async with while_syncing(group, log) as tasks:
        gone = tasks.create_task(make(group, log, "gone"))
        stays = tasks.create_task(make(group, log, "stays"))
        await asyncio.sleep(0)
        gone.cancel()
    assert stays.result() is None


async def test_nothing_of_it_runs_on_the_event_loops_thread(
    group: GroupCommit, log: Log
) -> None:
    log.hold.set()
    threads: set[int] = set()

    def note() -> None:
        threads.add(threading.get_ident())

    await group.make(note, note)
    assert threads
    assert threading.get_ident() not in threads
