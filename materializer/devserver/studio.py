"""Carries out orders: queued, running, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from materializer.devserver.bench import Bench
from materializer.devserver.catalog import Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.faults import Faults, asked_for
from materializer.devserver.media import Made
from materializer.devserver.recipes import make
from materializer.devserver.sources import Sources, SourceUnusable
from materializer.devserver.storage import LINK_LIFETIME, Storage

QUEUED_FOR, RUNNING_FOR = 0.3, 0.7
log = logging.getLogger(__name__)


class Studio:
    """Makes what was ordered, stores it, and tells the deployment.

    Args:
        site_url: where the stored objects are served.
        speed: how many times faster than usual jobs wait and run.
        spoken: remembers the script of each dialogue, by the SHA-256 of its file.
        private_hosts: (host, port) pairs that sources may be fetched from although
            they are private; our own are always among them.
    """

    def __init__(
        self,
        deployment: Deployment,
        storage: Storage,
        site_url: str,
        speed: float,
        *,
        spoken: MutableMapping[str, str],
        private_hosts: Collection[tuple[str, int | None]],
    ) -> None:
        self._deployment = deployment
        self._storage = storage
        self._site_url = site_url
        self._speed = speed
        self._spoken = spoken
        site = urlsplit(site_url)
        own = (site.hostname or "", site.port)
        self._sources = Sources({own, *private_hosts})

    def queue(
        self, owner: str, job_id: str, order: Order, key: str | None = None
    ) -> Row:
        """Write the order down as a queued job, submitted under an idempotency key."""
        return self._deployment.submit(
            time.time_ns(),
            owner=owner,
            job_id=job_id,
            capability=order.capability.id,
            profile=order.profile,
            request=order.summary,
            key=key,
        )

    async def perform(self, job_id: str, order: Order) -> None:
        """Take a queued job to its end, unless somebody cancels it before.

        What cannot be made of its sources, and a maker that fails, make the job fail.
        """
        faults = asked_for(order.prompt)
        if faults.refusal:
            self._fail(job_id, *faults.refusal)
            return
        speed = math.inf if order.at_once else self._speed
        await asyncio.sleep(QUEUED_FOR / speed)
        if not self._deployment.is_open(job_id):
            return
        self._deployment.start(time.time_ns(), job_id)
        await asyncio.sleep(RUNNING_FOR / speed + faults.slow)
        try:
            await self._finish(job_id, order, faults)
        except SourceUnusable as error:
            self._fail(job_id, f"The source cannot be used: {error}.", "bad_source")
        except Exception:
            log.exception("The maker of %s failed", order.capability.id)
            self._fail(job_id, "Media generation failed upstream.", "internal_error")

    async def _finish(self, job_id: str, order: Order, faults: Faults) -> None:
        if not self._deployment.is_open(job_id):
            return
        if faults.failure:
            self._fail(job_id, *faults.failure)
        elif faults.cancel:
            self._deployment.cancel(time.time_ns(), job_id)
        elif faults.empty:
            self._deployment.succeed(time.time_ns(), job_id, {})
        else:
            self._deployment.process(time.time_ns(), job_id)
            made = await self._made(order)
            if self._deployment.is_open(job_id):
                output = self._published(made, -1 if faults.expire else LINK_LIFETIME)
                self._deployment.succeed(time.time_ns(), job_id, output)

    async def _made(self, order: Order) -> dict[str, Any]:
        sources = await self._sources.collect(order.fields)
        return await asyncio.to_thread(make, order, Bench(sources, self._spoken))

    def _fail(self, job_id: str, message: str, code: str | None) -> None:
        if self._deployment.is_open(job_id):
            self._deployment.fail(time.time_ns(), job_id, message, code)

    def _published(self, shape: Any, lifetime: float) -> Any:
        """Return the shape with a link in place of everything that was made."""
        match shape:
            case Made(data, mime_type, extension):
                name = self._storage.keep(data, mime_type, extension)
                return self._site_url + self._storage.link(name, lifetime)
            case dict():
                return {k: self._published(v, lifetime) for k, v in shape.items()}
            case list():
                return [self._published(item, lifetime) for item in shape]
            case _:
                return shape
