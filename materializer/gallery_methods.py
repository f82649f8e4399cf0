"""What a local client may ask about the gallery, and have done to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from materializer.gallery import Gallery, items
from materializer.inventory import Inventory
from materializer.ipc import contract
from materializer.ipc.connection import Connection
from materializer.ipc.jsonlines import INVALID_PARAMS, NOT_FOUND, RpcError
from materializer.presence import Presence

_UNKNOWN = "no such item is in the gallery"


class GalleryMethods:
    """The methods `gallery.*` of the contract."""

    def __init__(
        self, presence: Presence, gallery: Gallery, inventory: Inventory
    ) -> None:
        self._presence = presence
        self._gallery = gallery
        self._inventory = inventory

    def table(self) -> dict[str, Callable[[Connection, Any], Awaitable[object]]]:
        """Return what runs each method."""
        return {
            "gallery.list": self._list,
            "gallery.get": self._get,
            "gallery.remove": self._remove,
            "gallery.rebuild": self._rebuild,
        }

    async def _list(
        self, _: Connection, params: contract.GalleryList
    ) -> dict[str, Any]:
        wanted = items.Wanted(**asdict(params))
        try:
            page = await self._gallery.read(
                items.page, self._presence.shown_owner, wanted
            )
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, "cursor: not one that was given") from error
        return page.wire()

    async def _get(self, _: Connection, params: contract.OneItem) -> dict[str, Any]:
        item = await self._gallery.read(
            items.get, self._presence.shown_owner, params.id
        )
        if item is None:
            raise RpcError(NOT_FOUND, _UNKNOWN)
        return item.wire()

    async def _remove(
        self, _: Connection, params: contract.GalleryRemove
    ) -> dict[str, Any]:
        owner = self._presence.shown_owner
        if owner is None:
            raise RpcError(NOT_FOUND, _UNKNOWN)
        removed = await self._inventory.remove(
            owner, params.id, delete_file=params.delete_file
        )
        if not removed:
            raise RpcError(NOT_FOUND, _UNKNOWN)
        return {"removed": True}

    async def _rebuild(self, _: Connection, __: contract.NoParams) -> dict[str, Any]:
        rebuilt = await self._inventory.rebuild()
        if self._presence.shown_owner is None:
            self._presence.last_owner = ""
        return {"added": rebuilt.added, "damaged": list(rebuilt.damaged)}
