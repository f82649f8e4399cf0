"""What becomes of what a target has read: names, words, rows, updates."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from materializer import media_jobs, naming, outputs, wording
from materializer.convex import events
from materializer.convex.values import decode
from materializer.gallery import Gallery, items, ledger, outbox
from materializer.gallery.items import Wanted
from materializer.model import Account, Inline, Job, Output, Placed, Settlement
from materializer.plan import Work, payloads, plan
from materializer.sniff import HEAD, Media, sniff

ME = Account("https://happy.example", "https://site.test|ada")


def read(data: bytes) -> Any:
    """Return what the feed could have brought; None where it would bring nothing."""
    try:
        return decode(from_json(data, allow_inf_nan=False))
    except ValueError:
        return None


def look_at(deliver: events.Deliver) -> None:
    """Take an answer of the feed as the daemon does, up to the work that follows."""
    snapshot, complaint = media_jobs.read_snapshot(deliver)
    assert complaint is None or len(complaint) < 1000
    made = plan(
        snapshot,
        {},
        busy=(),
        tried={},
        now=1_800_000_000_000,
        policy="open",
        fresh_ms=600_000,
    )
    for work in made.work[:5]:
        judge(work.job)
    for job in made.failed[:5]:
        wording.failed(job)


def judge(job: Job) -> None:
    """Materialize a job but for the download: names, words, rows, updates."""
    stem = naming.stem(job.job_id)
    require_plain(stem)
    found = outputs.extract(job.output)
    assert found.outputs
    assert len(found.outputs) == len({o.index for o in found.outputs})
    placed = []
    for output in found.outputs[:20]:
        if isinstance(output.source, Inline) and output.mime_type == "application/json":
            json.loads(output.source.data, parse_constant=_refuse)
        head = output.source.data[:HEAD] if isinstance(output.source, Inline) else b""
        media = sniff(head)
        name = naming.file_name(stem, output.index, named(output, media))
        text = head.decode("utf-8", "replace") if output.kind == "text" else None
        mime = naming.mime_type(output, media)
        placed.append(
            Placed(output.index, output.kind, f"/o/{name}", 1, "ab", mime, text=text)
        )
    json.dumps(payloads(job, placed), allow_nan=False).encode()
    wording.failed(job)
    db = gallery_of_ours()._db
    db.execute("BEGIN")
    try:
        enter(db, job, tuple(placed))
        page = items.page(db, ME.owner, Wanted(search=job.prompt))
        json.dumps(page.wire(), allow_nan=False)
    finally:
        db.execute("ROLLBACK")


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def enter(db: sqlite3.Connection, job: Job, placed: tuple[Placed, ...] = ()) -> None:
    """Settle a job with its files and updates."""
    ledger.remember(db, ME, [Work(job, "register")])
    told = tuple(payloads(job, placed))
    ledger.settle(db, ME, Settlement(job, "done", placed, told), 5, {})


def named(output: Output, media: Media | None) -> str:
    """Return an output's extension, which is never that of something active."""
    extension = naming.extension(output, media)
    assert extension in naming._TYPES
    mime = naming.mime_type(output, media)
    assert not naming._ACTIVE.search(mime) or (mime, output.kind) == (
        "image/svg+xml",
        "image",
    )
    return extension


def require_plain(stem: str) -> None:
    """Fail unless it can only be a part of one file's name."""
    assert stem.isascii()
    assert stem.isprintable()
    assert not set(stem) & set("/\\:. ")
    assert 0 < len(stem) <= 100


@cache
def gallery_of_ours() -> Gallery:
    """Return a sound and empty gallery, which stays open to the end of the process."""
    made = tempfile.mkdtemp(prefix="fuzz-")
    gallery = Gallery.open(Path(made, "gallery.db"), Path("/o"))

    def close() -> None:
        gallery._db.close()
        shutil.rmtree(made)

    atexit.register(close)
    return gallery


@cache
def sound() -> bytes:
    """Return the bytes of a sound gallery with rows in every table."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        path = Path(made, "gallery.db")
        gallery = Gallery.open(path, Path("/o"))
        gallery._db.execute("BEGIN")
        for n in range(40):
            job = Job(f"job{n}", "succeeded", "icon", prompt=f"a fox {n}" * 9)
            file = Placed(0, "image", f"/o/job{n}_0.png", 9, "ab", "image/png")
            enter(gallery._db, job, (file,))
        outbox.acknowledge(gallery._db, "app", ME.owner, 3)
        gallery._db.execute("COMMIT")
        asyncio.run(gallery.close())
        return path.read_bytes()


def damaged(data: bytes) -> bytes:
    """Return a sound database after the splices that `data` tells, or `data` itself."""
    if data[:1] == b"=":
        return data[1:]
    whole = bytearray(sound())
    for start in range(0, min(len(data), 400) - 4, 8):
        at = int.from_bytes(data[start : start + 3]) % len(whole)
        piece = data[start + 4 : start + 8]
        if data[start + 3] == 255:
            del whole[max(at, 1) :]
        else:
            whole[at : at + len(piece)] = piece
    return bytes(whole)


async def use(gallery: Gallery) -> None:
    """Read and write a gallery that may be damaged, and close it."""
    try:
        await gallery.check()
        await gallery.read(items.page, ME.owner, Wanted(limit=10))
        await gallery.read(items.records, ME.owner, None, [], 10)
        await gallery.read(ledger.standing, ME)
        await gallery.read(outbox.after, ME.owner, 0, 10)
        await gallery.write(ledger.signed_in, ME.owner)
        await gallery.write(enter, Job("new", "succeeded", completed_at=5))
    finally:
        await gallery.close()
