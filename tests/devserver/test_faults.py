from __future__ import annotations

import pytest

from materializer.devserver.faults import Faults, asked_for


@pytest.mark.parametrize(
    ("prompt", "faults"),
    [
        ("a cat", Faults()),
        ("a cat [fail: Unsafe prompt]", Faults(failure=("Unsafe prompt", None))),
        (
            "[fail:RATE_LIMIT Too many at once]",
            Faults(failure=("Too many at once", "RATE_LIMIT")),
        ),
        ("[refuse: Out of order]", Faults(refusal=("Out of order", None))),
        ("[refuse:BUSY Later]", Faults(refusal=("Later", "BUSY"))),
        ("[slow:2.5] x [expire]", Faults(slow=2.5, expire=True)),
        ("[cancel]", Faults(cancel=True)),
        ("[empty]", Faults(empty=True)),
        ("[slow:soon] [fail] fail: no [refuse]", Faults()),
    ],
)
def test_a_prompt_asks_for_trouble(prompt: str, faults: Faults) -> None:
    assert asked_for(prompt) == faults
