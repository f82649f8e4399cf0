"""`bench idle` and `bench start`, in short. Their figures are the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benched import bench
from need import need
from scripts.benchmarks import idle, start
from scripts.benchmarks.idle import Idle
from scripts.benchmarks.start import Round


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux counts wake-ups")
def test_ours_is_watched_beside_what_people_run(tmp_path: Path) -> None:
    need("aria2c", "syncthing")
    text, data = bench("idle", tmp_path)
    names = [one["name"].split()[0] for one in data["programs"]]
    assert names == ["ours", "ours", "aria2", "syncthing"]
    alone, with_app, *_ = data["programs"]
    assert with_app["name"] == f"{alone['name']} with an app"
    for ours in (alone, with_app):
        assert 10 < ours["pss"] < ours["rss"] < 200
        assert f"| {ours['name']} | " in text


def test_each_start_takes_longer_than_what_it_begins_with(tmp_path: Path) -> None:
    text, data = bench("start", tmp_path)
    [one] = data["rounds"]
    assert one["ready"] < one["greeted"] < one["loaded"]
    assert one["python"] > 0
    assert "| it answers `hello` | " in text


@pytest.mark.parametrize(
    ("wake_ups", "cpu", "rss", "says"),
    [
        (0.5, 20.0, 45.0, None),
        (0.6, 20.0, 45.0, "app: 0.6 wake-ups a second, and 0.5 are allowed"),
        (0.5, 21.0, 45.0, "app: 21.0 ms of CPU a minute, and 20 are allowed"),
        (0.5, 20.0, 46.0, "app: 46.0 MiB of RSS, and 45 are allowed"),
    ],
)
def test_a_goal_of_idleness_that_is_missed_is_named(
    wake_ups: float, cpu: float, rss: float, says: str | None
) -> None:
    good, peer = Idle("ours", 0, 0, 0, 0), Idle("peer", 99, 99, 99, 99)
    app = Idle("app", wake_ups, cpu, rss, 1)
    assert idle.shortfall([good, app, peer]) == says
    assert idle.shortfall([app, good, peer]) == says


@pytest.mark.parametrize(
    ("media_help", "greeted", "says"),
    [
        (25.0, 250.0, None),
        (26.0, 250.0, "--help takes 2.6 starts of Python, and may take 2.5"),
        (25.0, 255.0, "hello takes 5.1 starts of Python, and may take 5"),
    ],
)
def test_a_goal_of_starting_that_is_missed_is_named(
    media_help: float, greeted: float, says: str | None
) -> None:
    assert start.shortfall([Round(10, 50, media_help, 1, 1, greeted, 1)]) == says
