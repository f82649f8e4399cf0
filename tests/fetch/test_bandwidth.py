from __future__ import annotations

import threading
import time

import pytest

from materializer.fetch import bandwidth
from materializer.fetch.bandwidth import Bandwidth


class Clock:
    """Time that only passes in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bandwidth, "time", clock)
    return clock


@pytest.mark.parametrize("rate", [5_000, 1_000_000, 300_000_000])
def test_a_limit_is_kept_within_a_tenth(clock: Clock, rate: int) -> None:
    limit = Bandwidth(rate)
    began, sent = clock.now, 0
    while clock.now - began < 20:
        sent += limit.step
        limit.spend(limit.step)
    assert sent / (clock.now - began) == pytest.approx(rate, rel=0.1)
    assert limit.step <= max(1024, rate / 10)


def test_a_pause_is_no_credit(clock: Clock) -> None:
    limit = Bandwidth(1000)
    limit.spend(1000)
    clock.now += 3600
    began = clock.now
    limit.spend(1000)
    assert clock.now - began > 0.8


def test_no_limit_never_waits(clock: Clock) -> None:
    limit = Bandwidth(0)
    limit.spend(10**12)
    assert clock.now == 1000
    assert limit.step == 2**20


def test_threads_share_a_limit() -> None:
    limit, rate = Bandwidth(2_000_000), 2_000_000

    def spend() -> None:
        for _ in range(5):
            limit.spend(50_000)

    began = time.monotonic()
    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began > 4 * 5 * 50_000 / rate - 0.15
