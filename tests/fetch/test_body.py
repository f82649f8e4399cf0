from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from materializer.errors import FetchUnavailable, OutputRefused
from materializer.fetch import body
from materializer.fetch.bandwidth import Bandwidth
from materializer.fetch.body import SMALL, Limits, copy
from materializer.fetch.cut import Cut
from materializer.fetch.headers import Body
from materializer.fetch.network import Answer
from materializer.fetch.partial import Partial, private

URL = "https://files.test/a"
LARGE = os.urandom(5 * 2**20 + 3)


class Source:
    """A body that comes in pieces."""

    def __init__(self, data: bytes, piece: int = 2**20, end: Any = None) -> None:
        self._data = data
        self._piece = piece
        self._end = end
        self.most = 0

    def readinto(self, view: memoryview) -> int:
        count = min(len(view), self._piece, len(self._data))
        if count == 0 and self._end is not None:
            raise self._end
        self.most = max(self.most, count)
        view[:count], self._data = self._data[:count], self._data[count:]
        return count


def run(source: Source, part: Partial, **changes: Any) -> str:
    given: dict[str, Any] = {
        "limits": Limits(2**30, 30),
        "bandwidth": Bandwidth(0),
        "progress": lambda _r, _t: None,
        "cut": Cut(),
    } | changes
    digest, read = copy(cast("Answer", source), part, **given)
    assert read(0, 2**30) == part.read(0, 2**30)
    assert read(3, 5) == part.read(3, 5)
    return digest


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, len(LARGE)])
@pytest.mark.parametrize("piece", [997, 2**21])
def test_a_body_is_written_and_hashed(
    tmp_path: Path, size: int, piece: int, *, announced: bool
) -> None:
    data = LARGE[:size]
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(size if announced else None))
        assert run(Source(data, piece), part) == hashlib.sha256(data).hexdigest()
        assert part.size == size
    assert (tmp_path / "p").read_bytes() == data


def test_the_hash_is_that_of_the_whole_when_it_is_gone_on_with(tmp_path: Path) -> None:
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(len(LARGE)))
        part.write(memoryview(LARGE[:1000]))
        digest = run(Source(LARGE[1000:]), part)
    assert digest == hashlib.sha256(LARGE).hexdigest()
    assert (tmp_path / "p").read_bytes() == LARGE


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [1000, len(LARGE)])
def test_too_much_is_refused_as_soon_as_it_is(
    tmp_path: Path, size: int, *, announced: bool
) -> None:
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(size - 1 if announced else None))
        with pytest.raises(OutputRefused, match=f"{size - 1} bytes"):
            run(Source(LARGE[:size], 500), part, limits=Limits(size - 1, 30))
    assert (tmp_path / "p").stat().st_size <= size


def test_a_failure_leaves_what_came_and_no_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(len(LARGE) + 1))
        with pytest.raises(FetchUnavailable):
            run(Source(LARGE, end=FetchUnavailable("cut")), part)
        assert part.size == len(LARGE)
    assert threading.active_count() == threads


def test_a_limit_on_the_speed_is_kept_with_small_bites(tmp_path: Path) -> None:
    source = Source(LARGE[:400_000])
    began = time.monotonic()
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(400_000))
        run(source, part, bandwidth=Bandwidth(1_000_000))
    assert time.monotonic() - began > 0.25
    assert source.most <= 100_000


def test_a_download_that_is_called_off_stops_at_the_next_bite(tmp_path: Path) -> None:
    cut = Cut()
    cut.make()
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(len(LARGE)))
        with pytest.raises(FetchUnavailable, match="called off"):
            run(Source(LARGE, 1000), part, cut=cut)
        assert part.size == 1000


class Clock:
    """Time that passes with each look."""

    def __init__(self, step: float) -> None:
        self._now, self._step = 0.0, step

    def monotonic(self) -> float:
        self._now += self._step
        return self._now


@pytest.mark.parametrize(("piece", "slow"), [(1000, True), (1100, False)])
def test_less_than_a_kibibyte_a_second_is_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, *, slow: bool
) -> None:
    monkeypatch.setattr(body, "time", Clock(1.0))
    source = Source(LARGE[: piece * 100], piece)
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(len(LARGE)))
        if slow:
            with pytest.raises(FetchUnavailable, match="1 KiB a second"):
                run(source, part)
            assert part.size <= 31 * piece
        else:
            run(source, part)
            assert part.size == piece * 100


def test_progress_is_told_four_times_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "time", Clock(0.05))
    told: list[tuple[int, int | None]] = []
    with Partial(tmp_path / "p", URL, private) as part:
        part.begin(Body(len(LARGE)))
        source = Source(LARGE[:100_000], 1000)
        run(source, part, progress=lambda *at: told.append(at))
    # Two looks for each of 100 pieces: ten seconds.
    assert 30 <= len(told) <= 41
    assert told[-1][1] == len(LARGE)
