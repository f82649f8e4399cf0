from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer import retry
from materializer.errors import (
    FetchError,
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.model import Job
from materializer.retry import (
    Tried,
    digest,
    gravest,
    is_renewed,
    next_attempt,
    recall,
    retry_at,
)

NOW = 1_000_000_000
STEPS = len(retry._CALENDAR)
HALF_AN_HOUR = 1800
LATER = FetchUnavailable("later")
GONE = LinkGone("gone")
DAMAGED = OutputDamaged("a page")
REFUSED = OutputRefused("no")


def job(output: Any = None) -> Job:
    return Job("j", "succeeded", output=output)


def wait(
    *errors: FetchError,
    attempts: int = 1,
    tried: Tried | None = None,
    link_gone: bool = False,
    chance: float = 0.5,
) -> float | None:
    """Return the seconds until the next attempt, or None."""
    when = next_attempt(
        attempts, errors, tried, link_gone=link_gone, now=NOW, chance=chance
    )
    return None if when is None else (when - NOW) / 1000


@given(st.integers(1, STEPS), st.floats(0, 1, exclude_max=True))
def test_every_wait_up_to_the_step_is_as_likely_but_none_is_at_once(
    attempts: int, chance: float
) -> None:
    when = retry_at(attempts, now=NOW, chance=chance)
    assert when is not None
    step = retry._CALENDAR[attempts - 1]
    assert when - NOW == int(max(1.0, step * chance) * 1000)


def test_the_calendar_lasts_a_day_and_a_half_on_average_and_ends() -> None:
    waits = [retry_at(n, now=0, chance=0.5) for n in range(1, STEPS + 1)]
    hours = sum(wait or 0 for wait in waits) / 3_600_000
    assert 30 <= hours <= 42
    assert waits == sorted(waits, key=lambda wait: wait or 0)
    assert retry_at(STEPS + 1, now=NOW, chance=0.5) is None


@pytest.mark.parametrize(("asked", "waited"), [(90, 90), (0.1, 1), (9e9, 3600)])
def test_what_the_source_asks_for_is_honoured_up_to_an_hour(
    asked: float, waited: float
) -> None:
    when = retry_at(1, now=NOW, chance=0, retry_after=asked)
    assert when == NOW + waited * 1000


def test_the_longest_wait_that_any_source_asks_for_counts() -> None:
    short, long = (FetchUnavailable("x", retry_after=n) for n in (60, 70))
    assert wait(short, long, LATER) == 70


def test_what_is_refused_is_final_at_once_and_takes_nothing_else_along() -> None:
    assert wait(REFUSED) is None
    assert wait(REFUSED, LATER) == 2


def test_what_is_damaged_is_tried_four_times_in_a_row() -> None:
    tried: Tried | None = None
    for attempts in (1, 2, 3):
        assert wait(DAMAGED, REFUSED, attempts=attempts, tried=tried) is not None
        tried = recall(job(), [DAMAGED, REFUSED], tried, ahead=False)
    assert wait(DAMAGED, REFUSED, attempts=4, tried=tried) is None
    assert wait(DAMAGED, LATER, attempts=4, tried=tried) is not None
    tried = recall(job(), [DAMAGED, LATER], tried, ahead=False)
    assert wait(DAMAGED, attempts=5, tried=tried) is not None


def test_a_link_that_is_gone_has_one_more_attempt_soon_and_then_the_calendar() -> None:
    assert wait(GONE, LATER, attempts=6) == 2
    assert wait(GONE, attempts=6, link_gone=True) == HALF_AN_HOUR / 2
    assert wait(GONE, attempts=STEPS + 1) == 2
    assert wait(GONE, attempts=STEPS + 1, link_gone=True) is None


def test_another_output_than_the_one_tried_is_renewed() -> None:
    old, new = job({"url": "https://a.test/1"}), job({"url": "https://a.test/2"})
    tried = recall(old, [LATER, GONE], None, ahead=False)
    assert not is_renewed(old, tried)
    assert is_renewed(new, tried)
    assert "a.test" not in repr(tried)


def test_a_renewed_link_that_is_gone_too_is_not_renewed_again_before_its_time() -> None:
    old, new = job({"url": "https://a.test/1"}), job({"url": "https://a.test/2"})
    tried = recall(old, [GONE], recall(new, [GONE], None, ahead=False), ahead=True)
    assert not is_renewed(new, tried)
    assert is_renewed(new, recall(old, [GONE], tried, ahead=False))


def test_after_a_restart_any_output_is_another_one_and_so_is_the_next() -> None:
    old, new = job({"url": "https://a.test/1"}), job({"url": "https://a.test/2"})
    assert is_renewed(old, None)
    tried = recall(old, [GONE], None, ahead=True)
    assert not is_renewed(old, tried)
    assert is_renewed(new, tried)


def test_an_attempt_that_only_failed_leaves_nothing_to_remember() -> None:
    assert recall(job(), [LATER], Tried("x", 3), ahead=False) == Tried()


@pytest.mark.parametrize(
    "output", [None, 5, "x", [1, {"b": b"\xff"}], {"a": float("nan")}]
)
def test_every_output_has_a_digest(output: Any) -> None:
    assert digest(job(output)) == digest(job(output))
    assert digest(job(output)) != digest(job([output, "other"]))


def test_the_gravest_error_is_told() -> None:
    assert gravest([LATER, DAMAGED, GONE, REFUSED]) == ("refused", "no")
    assert gravest([LATER, DAMAGED, GONE]) == ("link_gone", "gone")
    assert gravest([LATER, DAMAGED]) == ("damaged", "a page")
    assert gravest([LATER, FetchUnavailable("x")]) == ("unavailable", "later")
    assert gravest([]) is None
