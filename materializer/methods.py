"""What a local client may ask: one method each, on top of the whole house."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from materializer import __version__, notice_methods
from materializer.announce import Announcer
from materializer.audience import Audience
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import DiskTrouble, SettingsInvalid
from materializer.gallery import Gallery
from materializer.gallery.standing import standing
from materializer.gallery_methods import GalleryMethods
from materializer.inventory import Inventory
from materializer.ipc import contract
from materializer.ipc.connection import Connection, Method
from materializer.ipc.greeting import greeting
from materializer.ipc.jsonlines import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from materializer.job_methods import JobMethods
from materializer.model import Account
from materializer.notice_methods import NoticeMethods
from materializer.pipeline import Pipeline
from materializer.place import Places
from materializer.presence import Events, Pages, Presence

log = logging.getLogger(__name__)

Run = Callable[[Connection, Any], Awaitable[object]]


class Methods:
    """The implementation of every method of the contract.

    Args:
        materialize: returns when a job has settled, or is not there.
        stop: set by `daemon.shutdown`.
    """

    def __init__(
        self,
        settings: Settings,
        presence: Presence,
        gallery: Gallery,
        places: Places,
        inventory: Inventory,
        pipeline: Pipeline,
        announcer: Announcer,
        events: Events,
        credentials: Credentials,
        *,
        audience: Audience,
        pages: Pages,
        materialize: Callable[[Account, str], Awaitable[None]],
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._presence = presence
        self._gallery = gallery
        self._places = places
        self._pipeline = pipeline
        self._announcer = announcer
        self._events = events
        self._credentials = credentials
        self._audience = audience
        self._pages = pages
        self._items = GalleryMethods(presence, gallery, inventory)
        self._jobs = JobMethods(
            presence, gallery, pipeline, events, audience, materialize=materialize
        )
        self._notices = NoticeMethods(gallery, audience)
        self._stop = stop
        self._begun: dict[tuple[Connection, str], asyncio.Task[None]] = {}

    def adopt(self, settings: Settings) -> None:
        """Tell of other settings from now on."""
        self._settings = settings

    def table(self) -> Mapping[str, Method[Any]]:
        """Return the method table for the server."""
        run: dict[str, Run] = {
            "display.subscribe": self._display_subscribe,
            "display.ack": self._display_ack,
            "display.suppress": self._display_suppress,
            "events.subscribe": self._events_subscribe,
            **self._items.table(),
            **self._jobs.table(),
            **self._notices.table(),
            "auth.set": self._auth_set,
            "auth.clear": self._auth_clear,
            "daemon.status": self._daemon_status,
            "daemon.shutdown": self._daemon_shutdown,
        }
        hello: Method[Any] = greeting(
            self._settings.state_dir, lambda: self._presence.owner
        )
        return {"hello": hello} | {
            name: Method(contract.reader(contract.PARAMS[name]), _in_words(name, do))
            for name, do in run.items()
        }

    async def _display_subscribe(
        self, connection: Connection, params: contract.DisplaySubscribe
    ) -> dict[str, Any]:
        place = await self._announcer.subscribe(params.consumer, params.after)

        async def send(update: dict[str, Any]) -> None:
            connection.notify("display.update", update)
            await (connection.drain() if update["replay"] else connection.give_way())

        self._begin(connection, "display", place.run(send))
        if params.page is not None:
            self._begin(connection, "page", self._pages.keep(params.page))
        else:
            self._end(connection, "page")
        return {"cursor": place.cursor}

    async def _display_ack(
        self, _: Connection, params: contract.DisplayAck
    ) -> dict[str, Any]:
        return {
            "cursor": await self._announcer.acknowledge(params.consumer, params.seq)
        }

    async def _display_suppress(
        self, connection: Connection, params: contract.DisplaySuppress
    ) -> dict[str, Any]:
        if params.suppressed:
            self._begin(connection, "quiet", self._announcer.keep_quiet())
        else:
            self._end(connection, "quiet")
        return {"suppressed": params.suppressed}

    async def _events_subscribe(
        self, connection: Connection, params: contract.EventsSubscribe
    ) -> dict[str, Any]:
        topics = None if params.topics is None else frozenset[str](params.topics)
        listening = self._events.listen(connection, topics)
        self._begin(connection, "events", listening)
        if params.presents:
            self._begin(connection, "presenting", self._audience.present(connection))
        else:
            self._end(connection, "presenting")
        return {}

    async def _auth_set(
        self, _: Connection, params: contract.AuthSet
    ) -> dict[str, Any]:
        try:
            token = self._credentials.set(
                params.token, params.convex_url, params.site_url
            )
        except SettingsInvalid as error:
            raise RpcError(INVALID_PARAMS, str(error)) from error
        return {"owner": token.owner}

    async def _auth_clear(self, _: Connection, __: contract.NoParams) -> dict[str, Any]:
        self._credentials.clear()
        return {}

    async def _daemon_status(
        self, _: Connection, __: contract.NoParams
    ) -> dict[str, Any]:
        presence, account = self._presence, self._presence.account
        gallery = await self._gallery.read(standing, presence.shown_owner, account)
        counts = gallery.counts
        fetching = sum(
            owner == presence.shown_owner for owner, _ in self._pipeline.fetching
        )
        feed = presence.feed
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptimeMs": int((time.monotonic() - presence.started) * 1000),
            "stateDir": str(self._settings.state_dir),
            "owner": presence.owner,
            "feed": {
                "state": feed.state,
                "url": feed.url,
                "connectedAt": feed.connected_at,
                "reconnects": feed.reconnects,
                "lastError": feed.last_error,
                "gap": presence.gap,
            },
            "jobs": {
                "pending": max(0, counts.get("pending", 0) - fetching),
                "fetching": fetching,
                "done": counts.get("done", 0),
                "failed": counts.get("failed", 0) + counts.get("unrecognised", 0),
            },
            "gallery": {"items": counts["items"], "bytes": counts["bytes"]},
            "disk": await self._disk(),
            "since": gallery.since,
            "notifications": presence.notifications,
            "snoozedUntil": notice_methods.still(gallery.snoozed_until),
            "openPolicy": self._settings.open_policy,
        }

    async def _daemon_shutdown(
        self, _: Connection, __: contract.NoParams
    ) -> dict[str, Any]:
        self._stop.set()
        return {}

    async def _disk(self) -> dict[str, Any]:
        trouble = self._pipeline.disk_trouble
        try:
            free = await asyncio.to_thread(self._places.free)
        except DiskTrouble as error:
            return {"freeBytes": None, "paused": True, "error": str(error)}
        return {"freeBytes": free, "paused": trouble is not None} | (
            {"error": trouble} if trouble else {}
        )

    def _begin(
        self, connection: Connection, what: str, work: Coroutine[Any, Any, None]
    ) -> None:
        """Do something for a client, in place of what was begun under that name."""
        self._end(connection, what)
        key = connection, what
        task = self._begun[key] = connection.spawn(work)

        def forget(ended: asyncio.Task[None]) -> None:
            if self._begun.get(key) is ended:
                del self._begun[key]

        task.add_done_callback(forget)

    def _end(self, connection: Connection, what: str) -> None:
        begun = self._begun.pop((connection, what), None)
        if begun is not None:
            begun.cancel()


def _in_words(name: str, do: Run) -> Run:
    """Let the disk's trouble be the answer, and one line in the log."""

    async def run(connection: Connection, params: Any) -> object:
        try:
            return await do(connection, params)
        except (OSError, DiskTrouble) as error:
            say = getattr(error, "strerror", None) or str(error)
            log.warning("%s: %s", name, say)
            raise RpcError(INTERNAL_ERROR, say) from error

    return run
