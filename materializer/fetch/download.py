"""One download: asked for, followed, gone on with after a cut, verified at the end.

Everything that waits runs in a worker thread; the event loop only waits for that.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiofiles

from materializer.answers import Answers
from materializer.errors import (
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch import headers
from materializer.fetch.bandwidth import Bandwidth
from materializer.fetch.cut import Cut
from materializer.fetch.guard import Guard, Route
from materializer.fetch.headers import Body
from materializer.fetch.lanes import Lanes
from materializer.fetch.partial import Opener, Partial, Read, private
from materializer.fetch.proxies import Proxy, proxy_for
from materializer.sniff import HEAD

if TYPE_CHECKING:
    from materializer.fetch.body import Progress
    from materializer.fetch.network import Answer, Network

_PROXY_SECONDS = 10.0
_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}
_GONE = {401, 403, 404, 410}
_LATER = {408, 425, 429}


@dataclass(frozen=True, slots=True)
class Fetched:
    """Whole and verified bytes.

    Attributes:
        path: the part file, or the final file that was adopted.
        size: in bytes.
        head: the first bytes, for sniffing.
        adopted: whether the file was there already and is what the source has now.
        synced: whether the bytes survive a crash of the computer.
    """

    path: Path
    size: int
    sha256: str
    head: bytes = field(repr=False)
    content_type: str | None = None
    adopted: bool = False
    synced: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """How a Fetcher works.

    Attributes:
        at_once: downloads at once; large ones are half of them at most.
        per_host: of them, from one host.
        idle_timeout: seconds without a byte after which a source counts as dead.
        bandwidth: bytes a second for all together; 0 is no limit.
        plain: whether httpx' own transport is used.
    """

    at_once: int = 8
    per_host: int = 6
    idle_timeout: float = 30.0
    bandwidth: int = 0
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched.

    Attributes:
        part: the part file; what an earlier attempt left there is gone on with.
        limit: bytes that it may have at most.
        large: whether it may be so large that others should pass it.
        present: returns a whole file that may be this output already, or None.
        opener: opens all files, as `os.open` does.
        reserve: called with the bytes still to come, before anything is asked for with
            0; raises DiskTrouble when there is no room.
        check: called with the first bytes, the size and a function that reads `count`
            bytes from an offset; raises OutputDamaged for what is not to be kept.
        progress: called from the event loop, at most 4 times a second.

    All but `progress` are called in a worker thread.
    """

    url: str = field(repr=False)
    part: Path
    limit: int
    large: bool = False
    present: Callable[[], Path | None] = lambda: None
    opener: Opener = private
    reserve: Callable[[int], None] = lambda _: None
    check: Callable[[bytes, int, Read], None] = lambda _head, _size, _read: None
    progress: Progress = lambda _received, _total: None


class _Mixed(Exception):
    """What there is belongs to another body than what the source has now."""


class Fetcher:
    """Fetches outputs, a few at a time. Close it when done.

    Args:
        guard: what may be asked.
        rules: limits.
        user_agent: how we name ourselves.
    """

    def __init__(self, guard: Guard, rules: Rules, *, user_agent: str) -> None:
        self._guard = guard
        self._rules = rules
        self._user_agent = user_agent
        self._lanes = Lanes(rules.at_once, rules.per_host)
        self._bandwidth = Bandwidth(rules.bandwidth)
        self._workers = ThreadPoolExecutor(rules.at_once, "fetch")
        self._answers = Answers()

    async def close(self) -> None:
        """Close all connections."""
        self._workers.shutdown(wait=False)
        if "_network" in self.__dict__:
            await asyncio.to_thread(self._network.close)

    async def download(self, order: Order) -> Fetched:
        """Fetch an output, or adopt what is present when the source says it is that.

        Raises:
            OutputRefused: the URL, a redirect or the size is not allowed.
            LinkGone: the link is no longer good.
            FetchUnavailable: the source may answer later.
            OutputDamaged: what came is not what was announced.
            OSError: the disk could not take it.
        """
        host = _host(order.url)
        async with self._lanes.turn(host, large=order.large):
            return await self._in_thread(order)

    async def _in_thread(self, order: Order) -> Fetched:
        cut = Cut()
        loop = asyncio.get_running_loop()

        def progress(received: int, total: int | None) -> None:
            loop.call_soon_threadsafe(order.progress, received, total)

        done: asyncio.Future[Fetched] = loop.create_future()

        def work() -> None:
            fetched, error = None, None
            try:
                fetched = self._fetch(order, progress, cut)
            except BaseException as failure:  # noqa: BLE001 -- the caller gets it
                error = failure
            self._answers.give(done, fetched, error)

        self._workers.submit(work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            cut.make()
            # Whoever tries again must not find this one still writing.
            await asyncio.wait([done])
            done.exception()
            raise

    @cached_property
    def _network(self) -> Network:
        from materializer.fetch.network import Network

        rules = self._rules
        return Network(
            user_agent=self._user_agent,
            idle_timeout=rules.idle_timeout,
            plain=rules.plain,
        )

    def _fetch(self, order: Order, progress: Progress, cut: Cut) -> Fetched:
        with Partial(order.part, order.url, order.opener) as part:
            try:
                try:
                    return self._attempt(order, part, progress, cut)
                except _Mixed:
                    part.restart()
                    return self._attempt(order, part, progress, cut)
            except OutputDamaged:
                part.restart()
                raise

    def _attempt(
        self, order: Order, part: Partial, progress: Progress, cut: Cut
    ) -> Fetched:
        # Loads httpx, which the daemon does without until then, and not on its loop.
        from materializer.fetch import body

        order.reserve(0)  # nothing is asked for where nothing fits
        present = order.present()
        with self._ask(order.url, _range(part), cut) as answer:
            announced = _announced(answer, part)
            total = announced.total
            if total is not None and total > order.limit:
                raise body.too_large(order.limit)
            kind = answer.headers.get("content-type")
            if present is not None and total is not None:
                adopted = _adopt(order, present, announced, kind)
                if adopted is not None:
                    return adopted
            order.reserve((total or 0) - part.size)
            resumed = part.size > 0
            part.begin(announced)
            limits = body.Limits(order.limit, self._rules.idle_timeout)
            sha256, read = body.copy(
                answer, part, limits, self._bandwidth, progress, cut
            )
        if announced.sha256 not in (None, sha256):
            if resumed:
                raise _Mixed
            raise OutputDamaged("its content has another digest than was announced")
        if part.size == 0:
            raise OutputDamaged("its source sent nothing")
        head = read(0, HEAD)
        order.check(head, part.size, read)
        part.finish()
        return Fetched(order.part, part.size, sha256, head, kind)

    @contextmanager
    def _ask(self, url: str, extra: dict[str, str], cut: Cut) -> Iterator[Answer]:
        """Ask, following redirects one vetted hop at a time."""
        previous = None
        for _ in range(_REDIRECTS + 1):
            route = self._guard.vet(url, previous=previous)
            period = int(time.monotonic() / _PROXY_SECONDS)
            proxy = _proxy(route.scheme, route.host, route.port, period)
            with self._network.get(route, proxy, extra, cut) as answer:
                location = answer.headers.get("location")
                if answer.status not in _MOVED or location is None:
                    _check(answer, route)
                    yield answer
                    return
            previous, url = url, _joined(url, location)
        raise OutputRefused(f"its source redirects more than {_REDIRECTS} times")


async def write(data: bytes, part: Path, opener: Opener = private) -> Fetched:
    """Gather bytes that came with the job itself into `part`.

    Raises:
        OSError: the disk could not take them.
    """
    # What is there may be another name of a file that is to stay as it is.
    await asyncio.to_thread(part.unlink, missing_ok=True)
    async with aiofiles.open(part, "xb", opener=opener) as file:
        await file.write(data)
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    return Fetched(part, len(data), digest, data[:HEAD], synced=False)


@lru_cache(maxsize=64)
def _proxy(scheme: str, host: str, port: int, _period: int) -> Proxy | None:
    """Return the proxy to use, which is looked for once in a while."""
    return proxy_for(scheme, host, port)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        # The cause would quote a part of the link.
        raise OutputRefused("its source redirects to what is no URL") from None


def _range(part: Partial) -> dict[str, str]:
    if not part.size:
        return {}
    asked = {"Range": f"bytes={part.size}-"}
    if part.body.validator:
        asked["If-Range"] = part.body.validator
    return asked


def _announced(answer: Answer, part: Partial) -> Body:
    """Return what the whole is announced to be; what there is, is a part of that."""
    told = answer.headers
    if answer.status == 200:
        if part.size:
            part.restart()
        return headers.announced(told, total=headers.length(told))
    there = part.body
    found = headers.content_range(told)
    if not part.size:
        raise OutputDamaged("its source answers a request for all of it with a part")
    if answer.status != 206 or found != (part.size, there.total):
        raise _Mixed
    now = headers.announced(told, total=there.total)
    for before, after in (
        (there.sha256, now.sha256),
        (there.etag, now.etag),
        (there.modified, now.modified),
    ):
        if before and after and before != after:
            raise _Mixed
    return replace(there, sha256=there.sha256 or now.sha256)


def _check(answer: Answer, route: Route) -> None:
    status = answer.status
    if status in {200, 206, 416}:
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise OutputDamaged("its source sent an encoding that was not asked for")
        return
    host = route.host
    if status in _GONE:
        raise LinkGone(f"the link to {host} is no longer good (HTTP {status})")
    if status in _LATER or status >= 500:
        raise FetchUnavailable(
            f"{host} cannot serve it now (HTTP {status})",
            retry_after=headers.retry_after(answer.headers),
        )
    raise OutputDamaged(f"{host} answered HTTP {status} instead of the file")


def _adopt(
    order: Order, present: Path, announced: Body, content_type: str | None
) -> Fetched | None:
    """Return what is present if it is whole, and is what the source has now."""
    size = announced.total
    with open(present, "rb", opener=order.opener) as file:
        if os.fstat(file.fileno()).st_size != size:
            return None
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if announced.sha256 not in (None, digest):
            return None

        def read(at: int, count: int) -> bytes:
            file.seek(at)
            return file.read(count)

        head = read(0, HEAD)
        try:
            order.check(head, size, read)
        except OutputDamaged:
            return None
    return Fetched(present, size, digest, head, content_type, adopted=True)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
