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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from materializer import delivery, watch
from materializer.announce import Announcer
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import MaterializerError, SignInNeeded
from materializer.fetch import Fetcher
from materializer.gallery import Gallery, ledger
from materializer.ipc.connection import Method
from materializer.methods import Methods
from materializer.notices import Notices
from materializer.notify import Notifier
from materializer.pipeline import Pipeline
from materializer.place import Places
from materializer.presence import Events, Presence
from materializer.subscriber import Subscriber
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
        self._stop = stop
        self._fault: MaterializerError | None = None
        self._shown = asyncio.Event()
        events = Events()
        places = Places(settings.paths.outputs, settings.paths.partial)
        announcer = Announcer(gallery, lambda: presence.shown_owner)
        notifier = Notifier() if settings.notifications else None
        self._notices = Notices(gallery, notifier, presence, events)

        def emit(owner: str, topic: str, type_: str, data: dict[str, Any]) -> None:
            if owner == presence.shown_owner:  # nobody hears of another's jobs
                events.emit(topic, type_, data)

        self._pipeline = Pipeline(
            gallery,
            fetcher,
            places,
            settings,
            emit=emit,
            on_announced=announcer.wake,
            on_failed=self._notices.wake,
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
            self._pipeline,
            announcer,
            events,
            credentials,
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
        presence = Presence(last_owner=await gallery.read(ledger.last_owner))
        try:
            yield cls(settings, manner, credentials, gallery, fetcher, presence, stop)
        finally:
            await fetcher.close()

    @property
    def methods(self) -> Mapping[str, Method[Any]]:
        """What local clients may call."""
        return self._methods.table()

    async def run(self) -> None:
        """Work until `stop` is set.

        Raises:
            SignInNeeded: with `once`, when nobody is signed in.
        """
        works = [
            self._pipeline.run(),
            self._notices.run(),
            self._subscriber.run(),
            self._follow_token_file(),
        ]
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
