"""The short form of the bench of the page. Its figures are the machine's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from need import need
from scripts.benchmarks import display
from scripts.benchmarks.display import Plan, Round
from scripts.browser.chromium import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
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
    written = tmp_path / "display.json"
    command = [sys.executable, "-m", "scripts.benchmarks", "display", "--short"]
    done = subprocess.run(
        [*command, "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [round_] = json.loads(written.read_text("utf-8"))["rounds"]
    assert 0 < round_["paint"] <= round_["pictures"]
    assert len(round_["frames"]) > 10
    assert 0 < round_["most"] < 100
