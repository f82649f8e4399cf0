"""The simulated other side: a deployment with jobs, and the hosts of their files.

Its clock is right. Rows go through the real reading of answers; `Feed` stands in the
place of the real one, `Network` in that of fetching's connections.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from materializer.convex.events import Deliver
from materializer.errors import FetchUnavailable, MaterializerError
from materializer.feed import FeedStatus
from materializer.feed.feed import TokenSource
from materializer.fetch.guard import Route
from materializer.media_jobs import LIMIT, read_snapshot
from materializer.model import Snapshot
from simulation.world import World

URL = "https://happy.example"
HOST = "127.0.0.1"


@dataclass
class Job:
    """A job that has ended, as it truly is.

    Attributes:
        files: the truth about its outputs.
        refused: the indices whose link is one that nobody may follow.
        asked: how often each of its files was asked for.
    """

    owner: str
    id: str
    completed: int
    files: list[bytes] = field(default_factory=list)
    error: str | None = None
    refused: frozenset[int] = frozenset()
    canceled: bool = False
    asked: dict[int, int] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return self.error is None


def picture(mark: str, size: int) -> bytes:
    """Return a whole PNG of about that size, like no other."""
    head = struct.pack(">IIBBBBB", 2, 3, 8, 2, 0, 0, 0)
    text = b"Comment\0" + (mark.encode() * (size // len(mark) + 1))[:size]
    kinds = ((b"IHDR", head), (b"tEXt", text), (b"IDAT", b"\0" * 8), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in kinds
    )


class Cloud:
    """All jobs of all accounts, and who listens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, Job] = {}
        self.bells: list[asyncio.Event] = []

    def add(self, job: Job) -> None:
        self.jobs[job.id] = job
        for bell in self.bells:
            bell.set()

    def answers(
        self, owner: str, since: Mapping[str, int], job_ids: Iterable[str]
    ) -> dict[str, Any]:
        mine = sorted(
            (job for job in self.jobs.values() if job.owner == owner),
            key=lambda job: -job.completed,
        )
        answers: dict[str, Any] = {}
        for query, good in (("succeeded", True), ("failed", False)):
            jobs = [j for j in mine if j.succeeded is good]
            late = [self._row(j) for j in jobs if j.completed >= since[query]]
            answers[query] = late[:LIMIT]
        for job_id in sorted(job_ids):
            found = self.jobs.get(job_id)
            known = found is not None and found.owner == owner
            answers[f"job {job_id}"] = self._row(found) if found and known else None
        return answers

    def _row(self, job: Job) -> dict[str, Any]:
        row: dict[str, Any] = {
            "jobId": job.id,
            "status": "succeeded",
            "capability": "text_to_image",
            "createdAt": job.completed - 5000,
            "updatedAt": job.completed,
            "completedAt": job.completed,
        }
        if job.error is not None:
            row["status"] = "canceled" if job.canceled else "failed"
            row["error"] = {"message": job.error}
        else:
            row["output"] = {
                "images": [{"url": self._url(job, i)} for i in range(len(job.files))]
            }
        return row

    def _url(self, job: Job, index: int) -> str:
        if index in job.refused:
            return f"http://10.0.0.1/{job.id}/{index}"
        lasts = 20_000 if self.world.rough and index % 2 else 3_600_000
        until = self.world.true_ms() // lasts * lasts + 2 * lasts
        return f"http://{HOST}/{job.id}/{index}?until={until}"


class Feed:
    """What the subscriber takes for the feed.

    Its connection comes and goes, and every answer is as old as it was under way.
    """

    def __init__(
        self,
        cloud: Cloud,
        url: str,
        source: TokenSource,
        version: str,
        *,
        on_snapshot: Callable[[Snapshot], None],
        on_status: Callable[[FeedStatus], None],
    ) -> None:
        self.status = FeedStatus("stopped", url)
        self._cloud = cloud
        self._source = source
        self._on_snapshot = on_snapshot
        self._on_status = on_status
        self._since: dict[str, int] = {}
        self._job_ids: tuple[str, ...] = ()
        self._bell = asyncio.Event()
        self._signed_in = True

    def want(self, succeeded: int, failed: int, job_ids: Iterable[str] = ()) -> None:
        self._since = {"succeeded": succeeded, "failed": failed}
        self._job_ids = tuple(job_ids)
        self._bell.set()

    async def run(self) -> None:
        self._cloud.bells.append(self._bell)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(self._source.changes()))
                while True:
                    await self._connect()
        finally:
            self._cloud.bells.remove(self._bell)

    async def _follow(self, changes: AsyncIterator[None]) -> None:
        async for _ in changes:
            self._signed_in = False
            self._bell.set()

    async def _connect(self) -> None:
        world = self._cloud.world
        self._tell("connecting")
        await asyncio.sleep(world.chance.random())
        self._signed_in = True
        try:
            token = await self._source.current(force=False)
        except MaterializerError as error:
            self._tell("backoff", str(error))
            await asyncio.sleep(5)
            return
        if token is None:
            self._tell("signed_out", "nobody is signed in")
            while self._signed_in:
                self._bell.clear()
                await self._bell.wait()
            return
        self._tell("live")
        first = True
        while self._signed_in and not world.maybe(0.15):
            self._bell.clear()
            answers = self._cloud.answers(token.owner, self._since, self._job_ids)
            await asyncio.sleep(world.chance.random() ** 3)
            if not self._signed_in:
                return
            world.effect(f"answer {sorted(answers)} {first}")
            again = world.maybe(0.2)
            world.troubles["duplicate"] += again
            for _ in range(1 + again):
                deliver = Deliver(token.owner, answers, first)
                self._on_snapshot(read_snapshot(deliver)[0])
            first = False
            await self._bell.wait()
        world.troubles["feed dropped"] += self._signed_in

    def _tell(self, state: Any, error: str | None = None) -> None:
        self.status = FeedStatus(state, self.status.url, last_error=error)
        self._on_status(self.status)


class _Answer:
    def __init__(
        self, world: World, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        self.status = status
        self.headers = headers
        self._world = world
        self._body = memoryview(body)

    def readinto(self, view: memoryview) -> int:
        self._world.effect("receive")
        if self._world.maybe(0.05):
            self._world.troubles["download cut"] += 1
            raise FetchUnavailable("the connection was cut")
        count = min(len(view), len(self._body), self._world.chance.randint(1, 2048))
        view[:count] = self._body[:count]
        self._body = self._body[count:]
        return count


class Network:
    """Connections to the hosts of files."""

    def __init__(self, cloud: Cloud, **_: object) -> None:
        self._cloud = cloud

    def close(self) -> None:
        """Close nothing."""

    @contextmanager
    def get(
        self, route: Route, proxy: object, headers: Mapping[str, str], cut: object
    ) -> Iterator[_Answer]:
        world = self._cloud.world
        path, _, query = route.target.partition("?")
        _, job_id, index = path.split("/")
        job = self._cloud.jobs[job_id]
        world.effect(f"ask {path} {headers.get('Range')}")
        job.asked[int(index)] = job.asked.get(int(index), 0) + 1
        if world.maybe(0.1):
            raise FetchUnavailable("no connection")
        until = int(parse_qs(urlsplit(f"?{query}").query)["until"][0])
        if world.true_ms() > until:
            world.troubles["link expired"] += 1
            yield _Answer(world, 403, {}, b"")
        elif world.maybe(0.05):
            yield _Answer(world, 503, {"retry-after": "7"}, b"")
        else:
            yield self._serve(job.files[int(index)], headers)

    def _serve(self, data: bytes, asked: Mapping[str, str]) -> _Answer:
        world = self._cloud.world
        digest = hashlib.sha256(data).digest()
        tag = f'"{digest.hex()[:16]}"'
        told = {"content-type": "image/png", "etag": tag}
        if world.chance.random() < 0.3:
            told["repr-digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
        start = asked.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        at = int(start)
        status = 200
        if at and asked.get("If-Range", tag) == tag and world.chance.random() < 0.9:
            world.troubles["resumed"] += 1
            status = 206
            told["content-range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
            data = data[at:]
        if not world.maybe(0.2):
            told["content-length"] = str(len(data))
        if world.maybe(0.05):
            world.troubles["body too short"] += 1
            data = data[: len(data) // 2]
        return _Answer(world, status, told, data)
