"""One life of the real daemon, between edges that are simulated.

Replaced are: the clocks and chance; threads; the feed's connection, and those to the
hosts of files; the watch on the outputs directory; the desktop's notifications; the
system's calls on files, and SQLite's commits, so that they can fail or be the last.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from convex_side import jwt
from materializer import config, notify
from materializer.announce import Announcer
from materializer.credentials import Credentials
from materializer.daemon import Daemon, Manner
from materializer.gallery import Gallery
from materializer.inventory import Inventory
from materializer.wording import Note
from simulation.cloud import URL, Cloud, Feed, Network
from simulation.database import Database
from simulation.disk import Disk
from simulation.loop import AtOnce, Late, Loop, Threads
from simulation.truth import Shown
from simulation.world import Crash, Violation, World

# It would take longer than a whole life.
_NO_GC = SimpleNamespace(collect=lambda: None, freeze=lambda: None)


class House:
    """The rooms of one life that people and consumers touch.

    Attributes:
        places_found: how often a consumer was set back to what it has acknowledged, as
            it is when it comes and when somebody else signs in.
    """

    def __init__(
        self, credentials: Credentials, gallery: Gallery, daemon: Daemon
    ) -> None:
        self.credentials = credentials
        self.gallery = gallery
        self.announcer: Announcer = daemon._methods._announcer
        self.inventory: Inventory = daemon._inventory
        self.places_found = 0
        self._presence = daemon._presence
        place = self.announcer._place

        async def find_place(consumer: str, owner: str | None) -> int:
            self.places_found += 1
            return await place(consumer, owner)

        self.announcer._place = find_place  # type: ignore[method-assign]  # to count
        # A set's order is that of addresses, which no seed chooses.
        self.announcer._bells = _InOrder()  # type: ignore[assignment]  # is like one

    @property
    def owner(self) -> str | None:
        """Whose updates are told now."""
        return self._presence.shown_owner

    def sign_in(self, owner: str | None) -> None:
        """Let somebody else, or nobody, be signed in."""
        if owner is None:
            self.credentials.clear()
        else:
            self.credentials.set(jwt(owner.rpartition("|")[2]))


class _InOrder(dict[Any, None]):
    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


class Street:
    """Where the houses of one history stand, one after the other.

    Attributes:
        changed: names in the outputs directory that somebody else has changed.
        notes: what the person was shown.
    """

    def __init__(self, world: World, cloud: Cloud, disk: Disk, state: Path) -> None:
        self.world = world
        self.cloud = cloud
        self.disk = disk
        self.settings = _settings(state)
        self.changed = asyncio.Queue[str]()
        self.notes: list[Shown] = []
        self.slips: list[str] = []
        self.database = Database(world, self.settings.paths.gallery_db)

    def live(self, people: Callable[[House], list[Coroutine[Any, Any, None]]]) -> bool:
        """Run the daemon until somebody stops it; return false when it died.

        Raises:
            Violation: it ended in another way.
        """
        world = self.world
        world.dead = False
        self.changed = asyncio.Queue()
        with self._edges():
            loop = Loop(world)
            loop.set_exception_handler(self._slipped)
            main = loop.create_task(self._main(people))
            world.on_death = loop.stop
            main.add_done_callback(lambda _: loop.stop())
            loop.run_forever()
            alive = not world.dead
            world.dead = True
            _bury(loop)
            self.database.end()
        if alive and (error := main.exception()) is not None:
            raise _innermost(error)
        if self.slips:
            raise Violation(self.slips[0])
        return alive

    async def _main(
        self, people: Callable[[House], list[Coroutine[Any, Any, None]]]
    ) -> None:
        paths = self.settings.paths
        credentials = Credentials(value=None)
        gallery = Gallery.open(paths.gallery_db, paths.outputs, mend=True)
        stop = asyncio.Event()
        rooms = Daemon.open(self.settings, Manner(), credentials, gallery, stop)
        async with rooms as daemon:

            async def visit() -> None:
                async with asyncio.TaskGroup() as group:
                    first, *others = people(House(credentials, gallery, daemon))
                    with_us = [group.create_task(other) for other in others]
                    await first
                    for task in with_us:
                        task.cancel()
                stop.set()

            await daemon.run(visit())
        await gallery.close()

    def _slipped(self, loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.world.dead and not isinstance(error, Crash):
            self.slips.append(repr(error or context))

    @contextmanager
    def _edges(self) -> Iterator[None]:
        world, cloud, inside = self.world, self.cloud, "materializer."
        ears = _Ears(self)
        logging.getLogger("materializer").addHandler(ears)
        with ExitStack() as edges:
            into = edges.enter_context
            into(patch.object(time, "time", world.wall))
            into(patch.object(time, "time_ns", lambda: int(world.wall() * 1e9)))
            into(patch.object(time, "monotonic", lambda: world.now))
            into(patch.object(random, "random", world.chance.random))
            connecting = self.database.connecting(sqlite3.connect)
            into(patch.object(sqlite3, "connect", connecting))
            for name, ours in (
                ("gallery.database.ThreadPoolExecutor", Threads),
                ("place.group.ThreadPoolExecutor", Threads),
                ("fetch.download.ThreadPoolExecutor", Threads),
                ("fetch.partial._SYNCERS", AtOnce()),
                ("fetch.partial._SYNC_EVERY", 1500),
                ("fetch.partial._boot", lambda: str(world.boot)),
                ("fetch.body.SMALL", 600),
                ("fetch.body._BUFFER", 4096),
                ("fetch.body.threading", SimpleNamespace(Thread=Late)),
                ("fetch.network.Network", partial(Network, cloud)),
                ("subscriber.Feed", partial(Feed, cloud)),
                ("daemon.Notifier", lambda: _Desktop(self)),
                ("daemon.gc", _NO_GC),
                ("watch.entries", self._entries),
            ):
                into(patch(inside + name, ours))
            into(self.disk.installed())
            try:
                yield
            finally:
                logging.getLogger("materializer").removeHandler(ears)

    async def _entries(self, path: Path) -> AsyncIterator[frozenset[str] | None]:
        yield None
        while True:
            yield frozenset({await self.changed.get()})


class _Desktop:
    def __init__(self, street: Street) -> None:
        self._street = street

    async def show(self, note: Note, click: object = None) -> notify.Shown:
        await asyncio.sleep(self._street.world.chance.random())
        world = self._street.world
        world.effect(f"show {note.title}")
        self._street.notes.append(Shown(note.title, note.body))
        return notify.Shown(True, "desktop")


class _Ears(logging.Handler):
    """Hears of what the program takes for a slip of its own."""

    def __init__(self, street: Street) -> None:
        super().__init__(logging.ERROR)
        self._street = street

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not self._street.world.dead:
            self._street.slips.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@lru_cache(maxsize=4)
def _settings(state: Path) -> config.Settings:
    flags = {
        "state_dir": str(state),
        "convex_url": URL,
        "min_free_space": "0",
        "thumbnails": "no",
        "first_run_lookback": "999h",
    }
    return config.load(flags, {"STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1"})


def _bury(loop: Loop) -> None:
    """End what a dead process has left; none of it has an effect any more."""
    loop.set_exception_handler(lambda loop, context: None)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    for _ in range(10_000):
        if all(task.done() for task in left):
            break
        loop.call_later(1, loop.stop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
    for task in left:
        if not task.cancelled():
            task.exception()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
