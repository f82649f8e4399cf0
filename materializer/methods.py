"""What a local client may ask: one method each, on top of the whole house."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from materializer import __version__
from materializer.announce import Announcer
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import DiskTrouble, SettingsInvalid
from materializer.gallery import Gallery, items, ledger
from materializer.ipc import contract
from materializer.ipc.connection import Connection, Method
from materializer.ipc.jsonlines import (
    INVALID_PARAMS,
    NOT_FOUND,
    NOT_SIGNED_IN,
    RpcError,
)
from materializer.model import Account, JobRecord
from materializer.pipeline import Pipeline
from materializer.place import Places
from materializer.presence import Events, Presence


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
        pipeline: Pipeline,
        announcer: Announcer,
        events: Events,
        credentials: Credentials,
        *,
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
        self._materialize = materialize
        self._stop = stop

    def table(self) -> Mapping[str, Method[Any]]:
        """Return the method table for the server."""
        run: dict[str, Callable[[Connection, Any], Awaitable[object]]] = {
            "hello": self._hello,
            "display.subscribe": self._display_subscribe,
            "display.ack": self._display_ack,
            "events.subscribe": self._events_subscribe,
            "gallery.list": self._gallery_list,
            "job.get": self._job_get,
            "job.materialize": self._job_materialize,
            "auth.set": self._auth_set,
            "auth.clear": self._auth_clear,
            "daemon.status": self._daemon_status,
            "daemon.shutdown": self._daemon_shutdown,
        }
        return {
            name: Method(contract.reader(params), run[name])
            for name, params in contract.PARAMS.items()
        }

    async def _hello(self, _: Connection, __: contract.Hello) -> dict[str, Any]:
        return {
            "server": "stella-materializer",
            "version": __version__,
            "protocol": 1,
            "pid": os.getpid(),
            "stateDir": str(self._settings.state_dir),
            "owner": self._presence.owner,
        }

    async def _display_subscribe(
        self, connection: Connection, params: contract.DisplaySubscribe
    ) -> dict[str, Any]:
        place = await self._announcer.subscribe(params.consumer, params.after)

        async def send(update: dict[str, Any]) -> None:
            connection.notify("display.update", update)
            if update["replay"]:
                await connection.drain()

        connection.spawn(place.run(send))
        return {"cursor": place.cursor}

    async def _display_ack(
        self, _: Connection, params: contract.DisplayAck
    ) -> dict[str, Any]:
        return {
            "cursor": await self._announcer.acknowledge(params.consumer, params.seq)
        }

    async def _events_subscribe(
        self, connection: Connection, params: contract.EventsSubscribe
    ) -> dict[str, Any]:
        topics = contract.TOPICS if params.topics is None else params.topics
        connection.spawn(self._events.listen(connection, frozenset(topics)))
        return {}

    async def _gallery_list(
        self, _: Connection, params: contract.GalleryList
    ) -> dict[str, Any]:
        wanted = items.Wanted(**params.model_dump())
        try:
            page = await self._gallery.read(
                items.page, self._presence.shown_owner, wanted
            )
        except (ValueError, OverflowError) as error:
            raise RpcError(INVALID_PARAMS, "cursor: not one that was given") from error
        return page.wire()

    async def _job_get(self, _: Connection, params: contract.OneJob) -> dict[str, Any]:
        return self._job(await self._record(params.job_id))

    async def _job_materialize(
        self, _: Connection, params: contract.OneJob
    ) -> dict[str, Any]:
        account = self._presence.account
        if account is None:
            raise RpcError(
                NOT_SIGNED_IN, "nobody is signed in, so no job can be asked for"
            )
        await self._materialize(account, params.job_id)
        return self._job(await self._record(params.job_id))

    async def _auth_set(
        self, _: Connection, params: contract.AuthSet
    ) -> dict[str, Any]:
        try:
            token = self._credentials.set(
                params.token.get_secret_value(), params.convex_url, params.site_url
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
        counts = await self._gallery.read(items.counts, presence.shown_owner)
        fetching = sum(
            owner == presence.shown_owner for owner, _ in self._pipeline.fetching
        )
        since = await self._gallery.read(ledger.cursor, account) if account else None
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
            "since": since,
            "notifications": presence.notifications,
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

    async def _record(self, job_id: str) -> JobRecord:
        record = await self._gallery.read(
            items.record, self._presence.shown_owner, job_id
        )
        if record is None:
            raise RpcError(NOT_FOUND, "no such job is known here")
        return record

    def _why_it_waits(self, record: JobRecord) -> str | None:
        waits = record.state == "pending" and record.job.succeeded
        return self._pipeline.disk_trouble if waits else None

    def _job(self, record: JobRecord) -> dict[str, Any]:
        job = record.job
        key = (self._presence.shown_owner, job.job_id)
        return {
            "jobId": job.job_id,
            "state": "fetching" if key in self._pipeline.fetching else record.state,
            "status": job.status,
            "capability": job.capability,
            "attempts": record.attempts,
            "nextAttemptAt": record.next_attempt_at,
            "error": record.error or self._why_it_waits(record),
            "files": list(record.files),
            "outputs": [item.wire() for item in record.items],
        }
