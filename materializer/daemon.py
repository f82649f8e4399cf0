"""Builds the house top to bottom and takes it down; read it as the architecture.

    credentials ─▶ feed ─▶ pipeline (fetch, place) ─▶ gallery ─▶ announcer ─▶ clients
                                                         └─────▶ notices ─▶ the person

It expects the lock to be held and the socket to listen: those are the manners of the
process, in `cli/run.py`, and stand before this module's libraries are imported.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from materializer import delivery, watch
from materializer.announce import Announcer
from materializer.audience import Audience
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import DiskTrouble, MaterializerError, SignInNeeded
from materializer.fetch import Fetcher
from materializer.gallery import Gallery, ledger, repair
from materializer.inventory import Inventory
from materializer.ipc.connection import Method
from materializer.methods import Methods
from materializer.model import DisplayUpdate
from materializer.notices import Notices
from materializer.notify import Click, Notifier
from materializer.opener import open_on_desktop
from materializer.pipeline import Pipeline
from materializer.place import Places, disk_trouble
from materializer.presence import Events, Pages, Presence
from materializer.subscriber import Subscriber
from materializer.thumbnails.keeper import Thumbnails
from materializer.thumbnails.shelf import Shelf
from materializer.window import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manner:
    """How one run of the daemon differs from the next.

    Attributes:
        since: ms; from when on the feed is asked at first, whatever the cursor says.
        once: leave when every job that the feed shows has settled.
    """

    since: int | None = None
    once: bool = False


class Daemon:
    """The rooms of one state directory, joined. Make it with `Daemon.open`."""

    def __init__(
        self,
        settings: Settings,
        manner: Manner,
        credentials: Credentials,
        gallery: Gallery,
        fetcher: Fetcher,
        presence: Presence,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._manner = manner
        self._credentials = credentials
        self._gallery = gallery
        self._presence = presence
        self._stop = stop
        self._fault: MaterializerError | None = None
        self._shown = asyncio.Event()
        events = Events()
        places = Places(settings.paths.outputs, settings.paths.partial)
        announcer = Announcer(gallery, lambda: presence.shown_owner)
        audience, pages = Audience(), Pages()
        self._notices = Notices(
            gallery,
            Notifier(),
            presence,
            events,
            audience,
            level=settings.notifications,
            click=Click(
                "Open", lambda: open_on_desktop(pages.newest or settings.paths.outputs)
            ),
        )

        def emit(owner: str, topic: str, type_: str, data: dict[str, Any]) -> None:
            if owner == presence.shown_owner:  # nobody hears of another's jobs
                events.emit(topic, type_, data)

        shelf = Shelf(settings.paths.thumbnails)
        self._thumbnails = Thumbnails(
            gallery,
            places,
            shelf,
            keep=settings.min_free_space,
            emit=emit,
        )

        def announced(
            owner: str | None = None, updates: Sequence[DisplayUpdate] = ()
        ) -> None:
            announcer.wake(owner, updates)
            self._thumbnails.wake()

        self._inventory = Inventory(
            gallery, places, shelf, emit=emit, on_change=announced
        )
        self._pipeline = Pipeline(
            gallery,
            fetcher,
            places,
            settings,
            emit=emit,
            on_announced=announced,
            on_failed=self._notices.wake,
            is_quiet=announcer.is_quiet,
            on_disk_trouble=self._notices.disk_trouble,
        )
        window = Window(
            settings, gallery, self._pipeline, presence, events, since=manner.since
        )
        self._subscriber = Subscriber(
            settings,
            credentials,
            gallery,
            self._pipeline,
            presence,
            events,
            window,
            on_account=[announcer.wake, self._notices.wake],
            on_snapshot=self._shown.set,
            on_signed_out=self._on_signed_out,
            on_refused=self._notices.sign_in_refused,
        )
        self._methods = Methods(
            settings,
            presence,
            gallery,
            places,
            self._inventory,
            self._pipeline,
            announcer,
            events,
            credentials,
            audience=audience,
            pages=pages,
            materialize=window.materialize,
            stop=stop,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        manner: Manner,
        credentials: Credentials,
        gallery: Gallery,
        stop: asyncio.Event,
    ) -> AsyncIterator[Self]:
        """Build the rooms, and close the connections to sources at the end."""
        fetcher = delivery.fetcher(settings)
        token = credentials.grant.token  # whose, if not the last one's, from the start
        last_owner = token.owner if token else await gallery.read(ledger.last_owner)
        presence = Presence(last_owner=last_owner)
        try:
            yield cls(settings, manner, credentials, gallery, fetcher, presence, stop)
        finally:
            await fetcher.close()

    @property
    def methods(self) -> Mapping[str, Method[Any]]:
        """What local clients may call."""
        return self._methods.table()

    def adopt(self, newer: Settings) -> Settings:
        """Go by newer settings as far as they need no restart; return what counts."""
        counting, later = self._settings.renewed(newer)
        for key in later:
            log.warning("%s has changed: that counts after a restart", key)
        self._settings = counting
        self._thumbnails.keep = counting.min_free_space
        self._pipeline.adopt(counting)
        self._methods.adopt(counting)
        self._notices.level = counting.notifications
        return counting

    async def pulse(self) -> None:
        """Return when the stages have answered: they are not stuck."""
        await self._pipeline.pulse()

    async def standing(self) -> AsyncIterator[str]:
        """Yield where the feed stands, in a line, now and after each change."""
        async for _ in self._presence.changes():
            feed = self._presence.feed
            yield f"{feed.state}: {feed.last_error}" if feed.last_error else feed.state

    async def run(self, *beside: Coroutine[Any, Any, None]) -> None:
        """Work until `stop` is set, and do beside it what else there is to do.

        Raises:
            SignInNeeded: with `once`, when nobody is signed in.
        """
        works = [
            self._pipeline.run(),
            self._inventory.follow(),
            self._notices.run(),
            self._subscribe(),
            self._keep_sound(),
            self._follow_token_file(),
            *beside,
        ]
        if self._settings.thumbnails:
            works.append(self._thumbnails.run())
        if self._manner.once:
            works.append(self._leave_when_settled())
        # What is loaded by now stays, so that no search for garbage halts the loop.
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in works]
            await self._stop.wait()
            log.info("stopping")
            for task in running:
                task.cancel()
        if self._fault is not None:
            raise self._fault

    async def _subscribe(self) -> None:
        # Before the feed shows it, or what a repair has lost would seem to be new.
        await self._fill_again()
        await self._subscriber.run()

    async def _keep_sound(self) -> None:
        """Look whether the gallery is damaged, and go on after each repair."""
        mended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def note() -> None:
            loop.call_soon_threadsafe(mended.set)

        self._gallery.on_mended = note
        try:
            await self._check()
            while True:
                await mended.wait()
                mended.clear()
                self._notices.wake()
                await self._fill_again()
                self._pipeline.wake()
        finally:
            self._gallery.on_mended = lambda: None

    async def _check(self) -> None:
        try:
            await self._gallery.check()
        except OSError as error:
            log.warning("%s", error)

    async def _fill_again(self) -> None:
        """Enter the files that a repaired gallery may have lost."""
        try:
            with disk_trouble():
                if await self._gallery.read(repair.must_fill):
                    await self._inventory.rebuild()
                    await self._gallery.write(repair.filled)
        except DiskTrouble as error:  # the next start does it
            log.warning("%s", error)

    async def _follow_token_file(self) -> None:
        if self._settings.token_file is not None:
            async for _ in watch.changes(self._settings.token_file):
                self._credentials.source_changed()

    async def _leave_when_settled(self) -> None:
        await self._shown.wait()
        await self._pipeline.caught_up()
        self._stop.set()

    def _on_signed_out(self, reason: str) -> None:
        if self._manner.once:
            self._fault = SignInNeeded(reason)
            self._stop.set()
