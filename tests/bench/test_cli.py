"""`bench cli`, in short. Its figures are the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benched import bench
from need import need
from scripts.benchmarks import cli, goals
from scripts.benchmarks.cli import Result, Round


def test_both_wait_for_the_same_pictures_until_they_are_there(tmp_path: Path) -> None:
    need("node")
    text, told = bench("cli", tmp_path)
    assert sorted(each["phase"] for each in told["rounds"]) == [0.5, 1.5]
    for each in told["rounds"]:
        assert each["ours"] > 0
        # It asks every two seconds, and the job was done at one moment between.
        assert each["polling"] > (cli.INTERVAL - each["phase"]) * 1000 * 0.5
    assert "| asking every 2 s | " in text


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        ([99.0, 90.0, 200.0], None),
        ([101.0] * 3, "p50 is 0.101 of asking every 2 s, and 0.1 is allowed"),
        ([10.0, 10.0, 220.0], "longest is 1.1 of 200 ms, and 1 is allowed"),
    ],
)
def test_a_goal_of_waiting_that_is_missed_is_named(
    ours: list[float], says: str | None
) -> None:
    polling = [1000.0, 100.0, 1900.0]
    rounds = [Round(*took, 1.0) for took in zip(ours, polling, strict=True)]
    missed = goals.shortfall(cli.goals_of(Result("v20", rounds)))
    assert missed == (says and f"`generate --wait` returns, {says}")


def test_jobs_are_done_at_every_part_of_the_interval() -> None:
    phases = sorted(cli._phases(4))
    assert phases == [0.25, 0.75, 1.25, 1.75]
    assert cli._phases(20) != sorted(cli._phases(20))
