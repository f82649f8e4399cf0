"""What an order is to be made from: fetched from its URLs, read from `data:` URIs.

The backend tells its token to whoever can reach it, so an order may have been sent by
a web page. Therefore an address that is not public is asked only where the person who
runs the backend has allowed it, as in the daemon.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from materializer.errors import MaterializerError
from materializer.fetch import Fetcher, Guard, Order, Rules
from materializer.inline import from_data_url

LARGEST = 64 * 1024 * 1024
_FIELD = re.compile(r"(?:(?:reference|mask)_)?(?:image|video|audio)_urls?|mask_url")
_RULES = Rules(at_once=2, per_host=2, idle_timeout=10.0)


class SourceUnusable(Exception):
    """A source cannot be had or read; the text says why, of "it"."""


class Sources:
    """Gets sources.

    Args:
        allowed: exempt (host, port) pairs; a port of None means any.
    """

    def __init__(self, allowed: Collection[tuple[str, int | None]]) -> None:
        self._guard = Guard(allowed)

    async def collect(self, fields: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the bytes of every source that the fields name, by its URL.

        Raises:
            SourceUnusable: one of them cannot be had.
        """
        found = {}
        for url in _urls(fields):
            found[url] = await self._get(url)
        return found

    async def _get(self, url: str) -> bytes:
        try:
            if url[:5].lower() == "data:":
                data, _ = await asyncio.to_thread(from_data_url, url)
                return data
            return await self._fetched(url)
        except (ValueError, MaterializerError) as error:
            raise SourceUnusable(str(error)) from error

    async def _fetched(self, url: str) -> bytes:
        fetcher = Fetcher(self._guard, _RULES, user_agent="stella-materializer-dev")
        try:
            with tempfile.TemporaryDirectory() as folder:
                order = Order(url, Path(folder, "source"), LARGEST)
                fetched = await fetcher.download(order)
                return await asyncio.to_thread(fetched.path.read_bytes)
        finally:
            await fetcher.close()


def _urls(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if _FIELD.fullmatch(name):
            yield from named(value)


def named(value: Any) -> list[str]:
    """Return the URLs that a field holds: one, or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]
