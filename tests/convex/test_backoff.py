from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.convex.backoff import CAP, PATIENT_CAP, delay


@pytest.mark.parametrize(
    ("reason", "first"),
    [
        ("InactiveServer", 1.0),
        ("closed with code 1006", 1.0),
        ("InternalServerError", 1.0),
        ("TooManyConcurrentRequests: later", 3.0),
        ("FatalError", 30.0),
        ("ClientVersionUnsupported: update", 30.0),
    ],
)
def test_the_first_wait_depends_on_the_reason(reason: str, first: float) -> None:
    assert delay(reason, 0, 0.0) == pytest.approx(first / 2)
    assert delay(reason, 0, 0.5) == pytest.approx(first)


def test_what_we_ended_ourselves_is_begun_again_soon() -> None:
    assert delay("InactiveServer", 0, 0.5, ours=True) == pytest.approx(0.1)
    assert delay("ProtocolViolation", 0, 0.5, ours=True) == pytest.approx(1.0)


def test_waits_double_up_to_the_cap() -> None:
    waits = [delay("", failures, 0.5) for failures in range(7)]
    assert waits == [1, 2, 4, 8, 16, 16, 16]


@given(st.text(), st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_nothing_and_never_endless(
    reason: str, failures: int, chance: float
) -> None:
    assert 0.05 <= delay(reason, failures, chance) < 1.5 * max(CAP, PATIENT_CAP)
