"""What a local client may ask about jobs, and of the feed about one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any

from materializer.audience import Audience, Key
from materializer.gallery import Gallery, items, ledger, wishes
from materializer.ipc import contract
from materializer.ipc.connection import Connection
from materializer.ipc.jsonlines import CONFLICT, NOT_FOUND, NOT_SIGNED_IN, RpcError
from materializer.model import Account, JobRecord
from materializer.pipeline import Pipeline
from materializer.presence import Events, Presence

log = logging.getLogger(__name__)

# Commands wait for ten seconds, and a sign-in takes less, or it may take for ever.
PATIENCE = 8.0


class JobMethods:
    """The methods `job.*` of the contract.

    Args:
        materialize: returns when a job has settled, or is not there.
    """

    def __init__(
        self,
        presence: Presence,
        gallery: Gallery,
        pipeline: Pipeline,
        events: Events,
        audience: Audience,
        *,
        materialize: Callable[[Account, str], Awaitable[None]],
    ) -> None:
        self._presence = presence
        self._gallery = gallery
        self._pipeline = pipeline
        self._events = events
        self._audience = audience
        self._materialize = materialize

    def table(self) -> dict[str, Callable[[Connection, Any], Awaitable[object]]]:
        """Return what runs each method."""
        return {
            "job.get": self._get,
            "job.list": self._list,
            "job.materialize": self._save,
            "job.retry": self._retry,
            "job.claim": self._claim,
        }

    async def _get(self, _: Connection, params: contract.OneJob) -> dict[str, Any]:
        return self._wire(await self._record(params.job_id))

    async def _list(self, _: Connection, params: contract.JobList) -> dict[str, Any]:
        owner = self._presence.shown_owner
        fetching = [key[1] for key in self._pipeline.fetching if key[0] == owner]
        records = await self._gallery.read(
            items.records, owner, params.state, fetching, params.limit
        )
        return {"jobs": [self._wire(record) for record in records]}

    async def _save(
        self, connection: Connection, params: contract.OneJob
    ) -> dict[str, Any]:
        account = await self._asker()
        key = account.owner, params.job_id
        self._audience.expect(key)
        with ExitStack() as waiting:
            waiting.callback(self._audience.leave, key)
            try:
                async with self._presence.during(account):
                    await self._materialize(account, params.job_id)
            except TimeoutError:
                say = "whoever asked for the job has signed out meanwhile"
                raise RpcError(NOT_SIGNED_IN, say) from None
            record = await self._record(params.job_id)
            if record.told == "due":
                answered = connection.finish(self._answered(connection, key))
                left = waiting.pop_all()
                answered.add_done_callback(lambda _: left.close())
            return self._wire(record)

    async def _answered(self, connection: Connection, key: Key) -> None:
        """Record that who waited for a job knows by the answer that it failed."""
        await connection.drain()
        if connection.is_lost:
            return
        try:
            await self._gallery.write(ledger.told, key[0], [key[1]], "told by answer")
        except OSError as error:  # then they are told once more
            log.warning("job %s: %s", key[1], error)

    async def _retry(self, _: Connection, params: contract.OneJob) -> dict[str, Any]:
        record = await self._record(params.job_id)
        if record.state == "failed" and not record.job.succeeded:
            say = "the job failed where it was made, so that there is nothing to fetch"
            raise RpcError(CONFLICT, say)
        if record.state not in ("pending", "failed"):
            return self._wire(record)  # all that there is, is here
        account = await self._asker()
        await self._gallery.write(wishes.retry, account.owner, params.job_id)
        self._pipeline.wake()
        job = self._wire(await self._record(params.job_id))
        self._events.emit("job", job["state"], {k: job[k] for k in ("jobId", "state")})
        return job

    async def _claim(self, _: Connection, params: contract.OneJob) -> dict[str, Any]:
        await self._until_known()
        owner = self._presence.shown_owner
        if owner is None:
            raise RpcError(NOT_SIGNED_IN, "nobody has ever signed in")
        await self._gallery.write(wishes.claim, owner, params.job_id)
        return {}

    async def _asker(self) -> Account:
        await self._until_known()
        account = self._presence.asker
        if account is None:
            say = "nobody is signed in, so no job can be asked for"
            raise RpcError(NOT_SIGNED_IN, say)
        return account

    async def _until_known(self) -> None:
        """Wait, as the daemon starts, for the first word on who is signed in."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._presence.known()

    async def _record(self, job_id: str) -> JobRecord:
        record = await self._read(job_id)
        if record is None:
            await self._until_known()
            record = await self._read(job_id)
        if record is None:
            raise RpcError(NOT_FOUND, "no such job is known here")
        return record

    async def _read(self, job_id: str) -> JobRecord | None:
        owner = self._presence.shown_owner
        return await self._gallery.read(items.record, owner, job_id)

    def _wire(self, record: JobRecord) -> dict[str, Any]:
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
        } | ({"prompt": job.prompt} if job.prompt else {})

    def _why_it_waits(self, record: JobRecord) -> str | None:
        waits = record.state == "pending" and record.job.succeeded
        return self._pipeline.disk_trouble if waits else None
