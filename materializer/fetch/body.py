"""The copy: from a connection into the part file, counted, paced and hashed.

Runs in a worker thread. The hash of a large body is taken in a second one, beside the
copying: SHA-256 takes about as long as a memory copy of everything does.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from materializer.errors import FetchUnavailable, OutputRefused
from materializer.fetch.bandwidth import Bandwidth
from materializer.fetch.cut import Cut
from materializer.fetch.network import Answer
from materializer.fetch.partial import Partial, Read

SMALL = 256 * 1024
_BUFFER = 2**20
_BUFFERS = 4
_TELL_SECONDS = 0.25
_MIN_SPEED = 1024

Progress = Callable[[int, int | None], None]
"""Hears how many bytes have come, and of how many where that is known."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body has to keep to.

    Attributes:
        size: bytes that it may have at most.
        idle_timeout: seconds in which at least 1 KiB/s must come, on average.
    """

    size: int
    idle_timeout: float


def copy(
    answer: Answer,
    part: Partial,
    limits: Limits,
    bandwidth: Bandwidth,
    progress: Progress,
    cut: Cut,
) -> tuple[str, Read]:
    """Append the body to what there is.

    Returns the SHA-256 of the whole, in hex, and what reads it.

    Raises:
        OutputRefused: it is too large.
        FetchUnavailable: it was cut, or comes too slowly.
        OSError: the disk could not take it.
    """
    total = part.body.total
    meter = _Meter(part, limits, bandwidth, progress, cut)
    if total is not None and total <= SMALL and part.size == 0:
        return _at_once(answer, part, meter, total)
    part.note()
    hasher = _Hasher(part.hash())
    try:
        part.begin(part.body)
        view, filled = hasher.buffer(), 0
        while True:
            began = time.monotonic()
            count = answer.readinto(view[filled : filled + bandwidth.step])
            if count == 0:
                break
            part.write(view[filled : filled + count])
            filled += count
            meter.count(count, began)
            if filled == len(view):  # fewer, larger pieces: each wakes both threads
                hasher.take(view, filled)
                view, filled = hasher.buffer(), 0
        hasher.take(view, filled)
    finally:
        digest = hasher.end()
    return digest, part.read


def too_large(limit: int) -> OutputRefused:
    """Return the refusal of a body with more than `limit` bytes."""
    return OutputRefused(f"it is larger than the {limit} bytes that max_bytes allows")


def _at_once(
    answer: Answer, part: Partial, meter: _Meter, total: int
) -> tuple[str, Read]:
    view = memoryview(bytearray(total + 1))
    size = 0
    while True:
        began = time.monotonic()
        count = answer.readinto(view[size:])
        if count == 0:
            break
        size += count
        meter.count(count, began)
    whole = view[:size]
    part.write(whole)

    def read(at: int, count: int) -> bytes:
        return bytes(whole[at : at + count])

    return hashlib.sha256(whole).hexdigest(), read


class _Meter:
    """Counts what comes, and says when it is too much or too slow."""

    def __init__(
        self,
        part: Partial,
        limits: Limits,
        bandwidth: Bandwidth,
        progress: Progress,
        cut: Cut,
    ) -> None:
        self._received = part.size
        self._total = part.body.total
        self._limits = limits
        self._bandwidth = bandwidth
        self._progress = progress
        self._cut = cut
        self._tell_at = time.monotonic() + _TELL_SECONDS
        self._waited, self._came = 0.0, 0

    def count(self, count: int, began: float) -> None:
        now = time.monotonic()
        self._received += count
        self._came += count
        self._waited += now - began
        if self._received > self._limits.size:
            raise too_large(self._limits.size)
        if self._waited >= self._limits.idle_timeout:
            if self._came < self._waited * _MIN_SPEED:
                raise FetchUnavailable("its source sends less than 1 KiB a second")
            self._waited, self._came = 0.0, 0
        if now >= self._tell_at:
            self._tell_at = now + _TELL_SECONDS
            self._progress(self._received, self._total)
        self._bandwidth.spend(count)
        if self._cut.made:
            raise FetchUnavailable("the download was called off")


class _Hasher:
    """A second thread that hashes, and the few buffers that go round."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest
        self._full: queue.SimpleQueue[tuple[memoryview, int] | None]
        self._full, self._free = queue.SimpleQueue(), queue.SimpleQueue[memoryview]()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_BUFFER)))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """Return a buffer that is free, as soon as there is one."""
        return self._free.get()

    def take(self, view: memoryview, count: int) -> None:
        """Hash the beginning of a buffer, which is free again after that."""
        self._full.put((view, count))

    def end(self) -> str:
        """Return the digest of everything that was taken, in hex."""
        self._full.put(None)
        self._thread.join()
        return self._digest.hexdigest()

    def _run(self) -> None:
        while (taken := self._full.get()) is not None:
            view, count = taken
            self._digest.update(view[:count])
            self._free.put(view)
