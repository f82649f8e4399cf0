"""The download: a stream into a part file, hashed on the way, checked at the end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiofiles

from materializer.errors import (
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch.guard import Guard
from materializer.sniff import HEAD

if TYPE_CHECKING:
    import httpx

_CHUNK = 256 * 1024  # below this the thread hop of each write costs more than it does
_REDIRECTS = 5
_GONE = {401, 403, 404, 410}
_LATER = {408, 425, 429}

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Whole and verified bytes, not yet fsynced.

    Attributes:
        path: the part file, or the final file that was adopted.
        size: in bytes.
        head: the first bytes, for sniffing.
        adopted: whether the file was there already and is what the source has now.
    """

    path: Path
    size: int
    sha256: str
    head: bytes = field(repr=False)
    content_type: str | None = None
    adopted: bool = False


class Fetcher:
    """Fetches outputs, a few at a time from each host. Close it when done.

    Args:
        guard: what may be asked.
        per_host: how many requests one host gets at once.
        idle_timeout: seconds without a byte after which a source counts as dead.
        user_agent: how we name ourselves.
    """

    def __init__(
        self, guard: Guard, *, per_host: int, idle_timeout: float, user_agent: str
    ) -> None:
        self._guard = guard
        self._idle_timeout = idle_timeout
        self._user_agent = user_agent
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(per_host)
        )
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def download(
        self,
        url: str,
        part: Path,
        *,
        limit: int,
        present: Path | None = None,
        progress: Progress = lambda _received, _total: None,
    ) -> Fetched:
        """Fetch `url` into `part`, or adopt `present` when the source says it is that.

        Raises:
            OutputRefused: the URL, a redirect or the size (over `limit` bytes) is not
                allowed.
            LinkGone: the link is no longer good.
            FetchUnavailable: the source may answer later.
            OutputDamaged: what came is not what was announced.
            OSError: the disk could not take it.
        """
        async with self._hosts[urlsplit(url).netloc], self._get(url) as response:
            total = _length(response)
            if total is not None and total > limit:
                raise OutputRefused(_too_large(limit))
            if present is not None and total is not None:
                adopted = await asyncio.to_thread(_adopt, present, total, response)
                if adopted is not None:
                    return adopted
            return await self._store(response, part, total, limit, progress)

    @asynccontextmanager
    async def _get(self, url: str) -> AsyncIterator[httpx.Response]:
        """Open a stream, following redirects one vetted hop at a time."""
        previous = None
        for _ in range(_REDIRECTS + 1):
            await self._guard.vet(url, previous=previous)
            response = await self._send(url)
            try:
                if not response.has_redirect_location:
                    _check(response)
                    yield response
                    return
            finally:
                await response.aclose()
            previous, url = url, urljoin(url, response.headers["location"])
        raise OutputRefused(f"its source redirects more than {_REDIRECTS} times")

    async def _send(self, url: str) -> httpx.Response:
        import httpx

        client = self._client
        if client is None:
            client = self._client = _client(self._idle_timeout, self._user_agent)
        try:
            return await client.send(client.build_request("GET", url), stream=True)
        except httpx.InvalidURL as error:
            raise OutputRefused("its URL cannot be read") from error
        except httpx.HTTPError as error:
            raise _unavailable(error, url) from error

    async def _store(
        self,
        response: httpx.Response,
        part: Path,
        total: int | None,
        limit: int,
        progress: Progress,
    ) -> Fetched:
        digest = hashlib.sha256()
        head = bytearray()
        received = 0
        async with aiofiles.open(part, "xb", opener=_afresh) as file:
            async for chunk in _chunks(response):
                received += len(chunk)
                if received > limit:
                    raise OutputRefused(_too_large(limit))
                head += chunk[: max(0, HEAD - len(head))]
                digest.update(chunk)
                await file.write(chunk)
                progress(received, total)
        announced = _announced_digest(response)
        if announced is not None and announced != digest.digest():
            raise OutputDamaged("its content has another digest than was announced")
        if received == 0:
            raise OutputDamaged("its source sent nothing")
        return Fetched(
            part,
            received,
            digest.hexdigest(),
            bytes(head),
            response.headers.get("content-type"),
        )


async def write(data: bytes, part: Path) -> Fetched:
    """Gather bytes that came with the job itself into `part`.

    Raises:
        OSError: the disk could not take them.
    """
    async with aiofiles.open(part, "xb", opener=_afresh) as file:
        await file.write(data)
    return Fetched(part, len(data), hashlib.sha256(data).hexdigest(), data[:HEAD])


def _client(idle_timeout: float, user_agent: str) -> httpx.AsyncClient:
    import httpx
    import truststore

    return httpx.AsyncClient(
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=httpx.Timeout(idle_timeout, connect=min(idle_timeout, 15.0)),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        # A proxy would make the connection for us and so bypass the guard.
        trust_env=False,
    )


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise OutputDamaged("its source sent an encoding that was not asked for")
        return
    host = response.url.host
    if status in _GONE:
        raise LinkGone(f"the link to {host} is no longer good (HTTP {status})")
    if status in _LATER or status >= 500:
        raise FetchUnavailable(
            f"{host} cannot serve it now (HTTP {status})",
            retry_after=_retry_after(response),
        )
    raise OutputDamaged(f"{host} answered HTTP {status} instead of the file")


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    try:
        async for chunk in response.aiter_raw(_CHUNK):
            yield chunk
    except httpx.HTTPError as error:
        raise _unavailable(error, str(response.url)) from error


def _adopt(present: Path, total: int, response: httpx.Response) -> Fetched | None:
    with present.open("rb") as file:
        if os.fstat(file.fileno()).st_size != total:
            return None
        head = file.read(HEAD)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
    announced = _announced_digest(response)
    if announced is not None and announced != digest.digest():
        return None
    content_type = response.headers.get("content-type")
    return Fetched(present, total, digest.hexdigest(), head, content_type, adopted=True)


def _afresh(path: str, flags: int) -> int:
    Path(path).unlink(missing_ok=True)
    return os.open(path, flags, 0o600)


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _announced_digest(response: httpx.Response) -> bytes | None:
    for field_ in response.headers.get("digest", "").split(","):
        name, _, value = field_.strip().partition("=")
        if name.lower() == "sha-256":
            try:
                return base64.b64decode(value, validate=True)
            except ValueError:
                return None
    return None


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _unavailable(error: httpx.HTTPError, url: str) -> FetchUnavailable:
    what = type(error).__name__
    return FetchUnavailable(f"{urlsplit(url).hostname} did not deliver ({what})")


def _too_large(limit: int) -> str:
    return f"it is larger than the {limit} bytes that max_bytes allows"
