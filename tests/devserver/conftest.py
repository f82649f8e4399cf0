from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend

Settle = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {backend.token()}"}
    async with httpx.AsyncClient(base_url=backend.site_url, headers=headers) as client:
        yield client


@pytest.fixture
def settle(backend: Backend) -> Settle:
    """Wait until a job has ended, and return its row."""

    async def settle(job_id: str) -> dict[str, Any]:
        changed = asyncio.Event()
        backend.deployment.watchers.add(changed.set)
        async with asyncio.timeout(10):
            while True:
                row = backend.deployment.row(job_id, backend.owner())
                assert row is not None
                if row.completed_at is not None:
                    return row.wire()
                await changed.wait()
                changed.clear()

    return settle
