"""A gallery with thousands of pictures, made at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from sqlite3 import Connection

from materializer.config import Paths
from materializer.devserver import media
from materializer.gallery import Gallery, ledger
from materializer.model import Account, Job, Placed, Settlement
from materializer.plan import Work

_PICTURES = 40
_SIZE = (512, 512)


async def fill(paths: Paths, account: Account, count: int, now: int) -> None:
    """Enter `count` pictures of as many jobs, before the daemon starts; `now` in ms."""
    paths.partial.mkdir(parents=True)
    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    try:
        settled = [*_settlements(paths, count, now)]
        await gallery.write(_enter, account, settled, now)
    finally:
        await gallery.close()


def _enter(
    db: Connection, account: Account, settled: list[Settlement], now: int
) -> None:
    ledger.signed_in(db, account.owner)
    ledger.remember(db, account, [Work(each.job, "register") for each in settled])
    for each in settled:
        ledger.settle(db, account, each, now, {})


def _settlements(paths: Paths, count: int, now: int) -> Iterator[Settlement]:
    made = [
        media.picture(f"picture {number}", number, _SIZE, "jpeg")
        for number in range(_PICTURES)
    ]
    for number in range(count):
        data = made[number % _PICTURES].data
        path = paths.outputs / f"crowd{number}_0.jpg"
        if number < _PICTURES:
            path.write_bytes(data)
        else:
            os.link(paths.outputs / f"crowd{number % _PICTURES}_0.jpg", path)
        digest = hashlib.sha256(data).hexdigest()
        placed = Placed(0, "image", str(path), len(data), digest, "image/jpeg", *_SIZE)
        job = Job(
            f"crowd{number}",
            "succeeded",
            "text_to_image",
            prompt=f"picture {number}",
            completed_at=now - number * 1000,
        )
        yield Settlement(job, "done", (placed,))
