"""What is done without a daemon: the same stages, ledger and lock, then gone."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from materializer import delivery, host
from materializer.config import Settings
from materializer.errors import AlreadyRunning, DiskTrouble
from materializer.gallery import Gallery, items, ledger
from materializer.model import Account, Job, JobRecord, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import Places, disk_trouble

_LOCK_WAIT = 30.0
_LOCK_STEP = 0.05


async def save(settings: Settings, account: Account, job: Job) -> JobRecord:
    """Materialize one ended job and return what the ledger says of it then.

    Returns as soon as the job has settled or is waiting for another attempt.

    Raises:
        AlreadyRunning: somebody else holds the state directory and keeps it.
        DiskTrouble: the disk cannot take it.
        SettingsInvalid: the state directory is unusable.
        GalleryUnusable: the database cannot be read.
    """
    paths = settings.paths
    async with AsyncExitStack() as errand:
        gallery = await _gallery(errand, settings)
        with disk_trouble():
            await gallery.write(ledger.signed_in, account.owner)
        fetcher = delivery.fetcher(settings)
        errand.push_async_callback(fetcher.close)
        pipeline = Pipeline(
            gallery,
            fetcher,
            Places(paths.outputs, paths.partial),
            settings,
            emit=lambda _owner, _topic, _type, _data: None,
            on_announced=lambda: None,
            on_failed=lambda: None,
        )
        pipeline.offer(account, Snapshot(account.owner, asked=(job,)))
        await _try_once(pipeline)
        record = await gallery.read(items.record, account.owner, job.job_id)
        if record is None:
            raise RuntimeError("the pipeline did not enter the job in the ledger")
        return record


async def expect(settings: Settings, account: Account, job_id: str) -> None:
    """Enter a job that was submitted, so that the next daemon asks for it by its id.

    Raises:
        AlreadyRunning: somebody else holds the state directory and keeps it.
        DiskTrouble: the disk cannot take it.
        SettingsInvalid: the state directory is unusable.
        GalleryUnusable: the database cannot be read.
    """
    async with AsyncExitStack() as errand:
        gallery = await _gallery(errand, settings)
        with disk_trouble():
            now = time.time_ns() // 1_000_000
            await gallery.write(ledger.submit, account, job_id, now)


async def _gallery(errand: AsyncExitStack, settings: Settings) -> Gallery:
    """Open the gallery under the lock, for as long as the errand takes."""
    paths = settings.paths
    await asyncio.to_thread(host.prepare_directories, paths)
    await _lock(errand, host.InstanceLock(paths.lock))
    gallery = await asyncio.to_thread(Gallery.open, paths.gallery_db, paths.outputs)
    errand.push_async_callback(gallery.close)
    return gallery


async def _try_once(pipeline: Pipeline) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(pipeline.run())
            await pipeline.tried()
            working.cancel()
    except* DiskTrouble as trouble:
        raise trouble.exceptions[0] from None


async def _lock(errand: AsyncExitStack, lock: host.InstanceLock) -> None:
    """Take the lock, waiting for another errand to end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LOCK_WAIT
    while True:
        try:
            errand.enter_context(lock)
        except AlreadyRunning:
            if loop.time() >= deadline:
                raise
            await asyncio.sleep(_LOCK_STEP)
        else:
            return
