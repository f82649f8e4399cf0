"""Carries out orders: queued, running, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from materializer.devserver.catalog import Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.faults import Faults, asked_for
from materializer.devserver.media import Made
from materializer.devserver.storage import LINK_LIFETIME, Storage

QUEUED_FOR, RUNNING_FOR = 0.3, 0.7
log = logging.getLogger(__name__)


class Studio:
    """Makes what was ordered, stores it, and tells the deployment.

    Args:
        site_url: where the stored objects are served.
        speed: how many times faster than usual jobs wait and run.
    """

    def __init__(
        self, deployment: Deployment, storage: Storage, site_url: str, speed: float
    ) -> None:
        self._deployment = deployment
        self._storage = storage
        self._site_url = site_url
        self._speed = speed

    def queue(self, owner: str, job_id: str, order: Order) -> Row:
        """Write the order down as a queued job."""
        return self._deployment.submit(
            time.time_ns(),
            owner=owner,
            job_id=job_id,
            capability=order.capability.id,
            profile=order.profile,
            request=order.summary,
        )

    async def perform(self, job_id: str, order: Order) -> None:
        """Take a queued job to its end. A maker that fails makes the job fail."""
        faults = asked_for(order.prompt)
        await asyncio.sleep(QUEUED_FOR / self._speed)
        self._deployment.start(time.time_ns(), job_id)
        await asyncio.sleep(RUNNING_FOR / self._speed + faults.slow)
        try:
            await self._finish(job_id, order, faults)
        except Exception:
            log.exception("The maker of %s failed", order.capability.id)
            self._fail(job_id, "Media generation failed upstream.", "internal_error")

    async def _finish(self, job_id: str, order: Order, faults: Faults) -> None:
        if faults.cancel:
            self._deployment.cancel(time.time_ns(), job_id)
        elif faults.failure:
            self._fail(job_id, *faults.failure)
        else:
            output: Any = {}
            if not faults.empty:
                made = await asyncio.to_thread(order.capability.make, order)
                output = self._published(made, -1 if faults.expire else LINK_LIFETIME)
            self._deployment.succeed(time.time_ns(), job_id, output)

    def _fail(self, job_id: str, message: str, code: str | None) -> None:
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
