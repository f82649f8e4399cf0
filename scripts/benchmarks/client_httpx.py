"""Plain httpx, as programs commonly use it. Argument: a file with an `Order`.

`raw` writes what comes off the socket at once; `aiofiles` is the way of most examples:
decoded chunks, each written by way of a thread. Both write beside the name and rename.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import aiofiles
import httpx

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is to do.

    Attributes:
        paths: where each URL's body goes.
        authority: whom to trust besides the system's authorities.
    """

    way: Literal["raw", "aiofiles"]
    paths: dict[str, str]
    authority: str | None = None

    def write(self, path: Path) -> None:
        """Write it down for the process."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> Order:
        """Read what was written down."""
        return cls(**json.loads(path.read_text("utf-8")))


async def main(order: Order) -> None:
    """Fetch everything, and print what it cost."""
    turn = asyncio.Semaphore(AT_ONCE)
    store = _raw if order.way == "raw" else _by_aiofiles
    verify = ssl.create_default_context(cafile=order.authority)
    async with httpx.AsyncClient(verify=verify, follow_redirects=True) as client:

        async def fetch(url: str, path: Path) -> None:
            part = path.with_name(f"{path.name}.part")
            async with turn, client.stream("GET", url) as response:
                response.raise_for_status()
                await store(response, part)
            part.replace(path)

        cpu, began = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for url, path in order.paths.items():
                tasks.create_task(fetch(url, Path(path)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu}) + "\n")


async def _raw(response: httpx.Response, part: Path) -> None:
    with part.open("wb", buffering=0) as file:
        async for chunk in response.aiter_raw():
            file.write(chunk)


async def _by_aiofiles(response: httpx.Response, part: Path) -> None:
    async with aiofiles.open(part, "wb") as file:
        async for chunk in response.aiter_bytes():
            await file.write(chunk)


if __name__ == "__main__":
    asyncio.run(main(Order.read(Path(sys.argv[1]))))
