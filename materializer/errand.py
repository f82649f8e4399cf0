"""What is done without a daemon: the same stages, ledger and lock, then gone."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from materializer import delivery, host
from materializer.config import Paths, Settings
from materializer.errors import AlreadyRunning, DaemonUnreachable, DiskTrouble
from materializer.gallery import Gallery, items, ledger
from materializer.inventory import Inventory, Rebuilt
from materializer.ipc.endpoint import discover, endpoint_file
from materializer.model import Account, Job, JobRecord, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import Places, disk_trouble
from materializer.thumbnails.shelf import Shelf

# As long as a command waits for a daemon that saves.
_LOCK_WAIT = 240.0
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
            on_announced=lambda _owner, _updates: None,
            on_failed=lambda: None,
        )
        pipeline.offer(account, Snapshot(account.owner, asked=(job,)))
        await _try_once(pipeline)
        record = await gallery.read(items.record, account.owner, job.job_id)
        if record is None:
            raise RuntimeError("the pipeline did not enter the job in the ledger")
        if record.told == "due":  # whoever has asked for it tells the person
            with disk_trouble():
                await gallery.write(
                    ledger.told, account.owner, [job.job_id], "told by answer"
                )
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


async def remove(settings: Settings, item_id: str, *, delete_file: bool) -> bool:
    """Take an item of the last owner out of the gallery; return whether there was one.

    Raises:
        AlreadyRunning: somebody else holds the state directory and keeps it.
        DiskTrouble: the disk cannot take it.
        SettingsInvalid: the state directory is unusable.
        GalleryUnusable: the database cannot be read.
    """
    async with AsyncExitStack() as errand:
        gallery = await _gallery(errand, settings)
        with disk_trouble():
            owner = await gallery.read(ledger.last_owner)
        inventory = _inventory(gallery, settings)
        return owner is not None and await inventory.remove(
            owner, item_id, delete_file=delete_file
        )


async def rebuild(settings: Settings) -> Rebuilt:
    """Enter the files in the outputs directory that the gallery does not know.

    Raises:
        AlreadyRunning: somebody else holds the state directory and keeps it.
        DiskTrouble: the disk cannot take it, or is not attached.
        SettingsInvalid: the state directory is unusable.
        GalleryUnusable: the database cannot be read.
    """
    async with AsyncExitStack() as errand:
        gallery = await _gallery(errand, settings)
        return await _inventory(gallery, settings).rebuild()


def _inventory(gallery: Gallery, settings: Settings) -> Inventory:
    paths = settings.paths
    return Inventory(
        gallery,
        Places(paths.outputs, paths.partial),
        Shelf(paths.thumbnails),
        emit=lambda _owner, _topic, _type, _data: None,
        on_change=lambda: None,
    )


async def _gallery(errand: AsyncExitStack, settings: Settings) -> Gallery:
    """Open the gallery under the lock, for as long as the errand takes."""
    paths = settings.paths
    await asyncio.to_thread(host.prepare_directories, paths)
    await _lock(errand, paths)
    gallery = await asyncio.to_thread(
        Gallery.open, paths.gallery_db, paths.outputs, mend=True
    )
    errand.push_async_callback(gallery.close)
    return gallery


async def _try_once(pipeline: Pipeline) -> None:
    trouble: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(pipeline.run())
            await pipeline.tried()
            working.cancel()
    except* DiskTrouble as troubles:
        trouble = troubles.exceptions[0]
    if trouble is not None:  # raised above, Python 3.11.3 would make a group of it
        raise trouble


async def _lock(errand: AsyncExitStack, paths: Paths) -> None:
    """Take the lock, waiting for another errand to end, but for no daemon."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LOCK_WAIT
    lock = host.InstanceLock(paths.lock)
    while True:
        try:
            errand.enter_context(lock)
        except AlreadyRunning as held:
            if loop.time() >= deadline or _serves(paths, held.pid):
                raise
            await asyncio.sleep(_LOCK_STEP)
        else:
            return


def _serves(paths: Paths, pid: int | None) -> bool:
    """Whether clients can ask the process that holds the lock."""
    try:
        return discover(endpoint_file(paths.state)).pid == pid
    except DaemonUnreachable:
        return False
