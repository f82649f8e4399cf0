"""The short form of the bench of the page. Its figures are the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benched import bench
from need import need
from scripts.benchmarks import display
from scripts.benchmarks.display import Plan, Round
from scripts.browser.chromium import PROGRAMS

CALM = Round(paint=200.0, pictures=700.0, frames=[16.7] * 200, most=40)


@pytest.mark.parametrize(
    ("round_", "words"),
    [
        (CALM, "1500 ms: met; no frame over 100 ms: met"),
        (
            Round(1600.0, 1700.0, [16.7] * 200, 40),
            "1500 ms: MISSED; no frame over 100 ms: met",
        ),
        (
            Round(200.0, 700.0, [16.7, 101.0], 40),
            "1500 ms: met; no frame over 100 ms: MISSED",
        ),
    ],
)
def test_the_worst_round_decides_whether_a_goal_is_met(
    round_: Round, words: str
) -> None:
    assert words in display.markdown(Plan(300, 2), [CALM, round_])


def test_the_page_is_scrolled_to_its_last_output(tmp_path: Path) -> None:
    need(*PROGRAMS)
    _, data = bench("display", tmp_path)
    [round_] = data["rounds"]
    assert 0 < round_["paint"] <= round_["pictures"]
    assert len(round_["frames"]) > 10
    assert 0 < round_["most"] < 100
