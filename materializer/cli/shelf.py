"""The gallery to look at: as the daemon shows it, else as it is on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import click

from materializer.config import Paths
from materializer.errors import DaemonUnreachable, MaterializerError
from materializer.gallery import Gallery, items, ledger
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_FOUND, RpcError
from materializer.place import disk_trouble

_TIMEOUT = 30.0
_PAGE = 500


class Shelf(Protocol):
    """The gallery of whoever is signed in, or was last.

    Its methods raise MaterializerError when it cannot be had just now.
    """

    async def page(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `gallery.list` answers to these parameters."""

    async def get(self, item_id: str) -> dict[str, Any] | None:
        """Return an item, or None when there is none."""


@asynccontextmanager
async def looking(paths: Paths) -> AsyncIterator[Shelf]:
    """Open the gallery for a look, which changes nothing.

    Raises:
        GalleryUnusable: there is no daemon, and the database cannot be read.
    """
    async with AsyncExitStack() as held:
        try:
            daemon = await held.enter_async_context(Client(paths.state))
        except DaemonUnreachable:
            yield await _on_disk(paths, held)
        else:
            yield _Daemon(daemon)


async def everything(shelf: Shelf) -> AsyncIterator[tuple[dict[str, Any], int]]:
    """Yield every item, newest first, each with how many there are."""
    cursor = None
    while True:
        page = await shelf.page({"limit": _PAGE, "cursor": cursor})
        for item in page["items"]:
            yield item, page["total"]
        cursor = page["nextCursor"]
        if cursor is None:
            return


async def ask(
    daemon: Client,
    method: str,
    params: Mapping[str, Any],
    timeout: float | None = _TIMEOUT,
) -> dict[str, Any]:
    """Call the daemon and return its answer.

    Raises:
        RpcError: it refused.
        MaterializerError: it does not answer.
    """
    try:
        answer: dict[str, Any] = await daemon.call(method, params, timeout)
    except TimeoutError as error:
        raise MaterializerError("the daemon does not answer") from error
    return answer


class _Daemon:
    def __init__(self, daemon: Client) -> None:
        self._daemon = daemon

    async def page(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return await ask(self._daemon, "gallery.list", wanted)

    async def get(self, item_id: str) -> dict[str, Any] | None:
        try:
            return await ask(self._daemon, "gallery.get", {"id": item_id})
        except RpcError as error:
            if error.rpc_code == NOT_FOUND:
                return None
            raise


class _Disk:
    def __init__(self, gallery: Gallery, owner: str | None) -> None:
        self._gallery = gallery
        self._owner = owner

    async def page(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        names = {"jobId": "job_id"}
        wish = items.Wanted(**{names.get(key, key): v for key, v in wanted.items()})
        try:
            with disk_trouble():
                page = await self._gallery.read(items.page, self._owner, wish)
        except ValueError as error:
            raise click.UsageError("--cursor is not one that was given") from error
        return page.wire()

    async def get(self, item_id: str) -> dict[str, Any] | None:
        with disk_trouble():
            item = await self._gallery.read(items.get, self._owner, item_id)
        return item.wire() if item else None


class _Nothing:
    async def page(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return items.Page((), None, 0).wire()

    async def get(self, _: str) -> dict[str, Any] | None:
        return None


async def _on_disk(paths: Paths, held: AsyncExitStack) -> Shelf:
    if not paths.gallery_db.exists():
        return _Nothing()
    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    held.push_async_callback(gallery.close)
    with disk_trouble():
        return _Disk(gallery, await gallery.read(ledger.last_owner))
