"""`bench all`: that it tells everything, in one table and one picture."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from scripts.benchmarks import everything, further_goals, goals, idle, picture, runs
from scripts.benchmarks.clients import BenchmarkFailed, together
from scripts.benchmarks.everything import Everything
from scripts.benchmarks.fetch import SHORT, Result, Sample
from scripts.benchmarks.fetch_peers import Cost
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.idle import Idle
from scripts.benchmarks.runs import Outcome, Run, Tell

GOOD = Goal("latency, p50", "aria2 RPC", 0.5, 1.0, (0.25, 2.0))
BAD = Goal("catch-up", "httpx & aiofiles", 2.0, 0.5)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def found(monkeypatch: pytest.MonkeyPatch) -> Everything:
    async def good(short: bool, tell: Tell) -> Outcome:
        tell(f"good in {'short' if short else 'full'}")
        return Outcome("a table", {"raw": [1]}, [GOOD])

    async def failed(short: bool, tell: Tell) -> Outcome:
        raise BenchmarkFailed("no nginx\nat all")

    async def late(short: bool, tell: Tell) -> Outcome:
        raise TimeoutError

    async def bad(short: bool, tell: Tell) -> Outcome:
        return Outcome("b table", {"raw": [2]}, [BAD], goals.shortfall([BAD]))

    async def left_out(short: bool, tell: Tell) -> Outcome:
        raise AssertionError

    made = {
        "good": good,
        "failed": failed,
        "late": late,
        "bad": bad,
        "faults": left_out,
    }
    monkeypatch.setattr(
        everything, "RUNS", {name: Run("", run) for name, run in made.items()}
    )
    heard: list[str] = []
    found = await everything.measure(heard.append, short=True)
    assert heard[:3] == ["good begins", "good in short", "failed begins"]
    assert heard[3:] == ["late begins", "bad begins"]
    return found


def test_one_that_fails_is_told_and_the_others_run(found: Everything) -> None:
    lines = everything.markdown(found).splitlines()

    assert "1 of 2 goals met" in lines[0]
    assert lines[2:8] == [
        "| what | against | ratio | goal | |",
        "|---|---|--:|--:|---|",
        "| latency, p50 | aria2 RPC | 0.5 (0.25 to 2) | ≤ 1 | met |",
        "| catch-up | httpx & aiofiles | 2 | ≤ 0.5 | NOT MET |",
        "| failed | | failed | | no nginx |",
        "| late | | failed | | TimeoutError |",
    ]
    assert lines[8:] == ["", "## good", "", "a table", "", "## bad", "", "b table"]
    assert everything.shortfall(found) == (
        "failed: no nginx\nat all\n"
        "late: TimeoutError\n"
        "bad: catch-up is 2 of httpx & aiofiles, and 0.5 is allowed"
    )


def test_raw_samples_and_goals_can_be_read_again(found: Everything) -> None:
    data: Any = json.loads(json.dumps(everything.data(found)))

    assert data["samples"] == {"good": {"raw": [1]}, "bad": {"raw": [2]}}
    assert [goal["reached"] for goal in data["goals"]] == [0.5, 2.0]
    assert data["machine"]["cores"] > 0


def test_the_picture_has_a_bar_and_a_mark_for_each_goal(found: Everything) -> None:
    drawing = ET.fromstring(everything.drawn(found))  # noqa: S314 -- we made it
    texts = ["".join(text.itertext()) for text in drawing.iter(f"{SVG}text")]
    good, bad = [r for r in drawing.iter(f"{SVG}rect") if r.get("x")]
    one = re.search(r'<text x="([\d.]+)"[^>]*>1</text>', everything.drawn(found))

    assert "latency, p50 / aria2 RPC" in texts
    assert "catch-up / httpx & aiofiles" in texts
    assert good.get("fill") != bad.get("fill"), "a missed goal looks like a met one"
    assert one is not None
    zero = float(good.get("x", "nan"))
    octave = (float(bad.get("width", "nan")) - float(good.get("width", "nan"))) / 2
    assert octave > 0
    assert zero + float(good.get("width", "nan")) + octave == pytest.approx(
        float(one[1]), abs=0.2
    )


def test_what_is_off_the_scale_ends_with_it_and_its_figure_is_exact() -> None:
    far = picture.svg([Goal("a", "b", 1000.0, 1.0), Goal("c", "d", 32.0, 1.0)], "")
    first, second = re.findall(r'<rect x="470" y="\d+" width="([\d.]+)"', far)

    assert first == second
    assert ">1,000<" in far


async def test_the_full_form_of_all_takes_one_round_of_the_downloads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned = []

    async def run_fetch(plan: Any, parts: Any, tell: Tell) -> Outcome:
        planned.append((plan.rounds, plan.big))
        return Outcome("", {})

    monkeypatch.setattr(runs, "run_fetch", run_fetch)
    monkeypatch.setattr(everything, "RUNS", {"fetch": runs.RUNS["fetch"]})
    await everything.measure(lambda _: None, short=False)

    assert planned == [(1, 2 * 2**30)]


def test_what_must_stay_below_a_figure_is_told_as_its_share_of_it() -> None:
    alone = Idle("ours", idle.WAKE_UPS_GOAL, idle.CPU_GOAL * 2, idle.RSS_GOAL / 2, 1)
    with_app = Idle("ours", 0, 0, idle.RSS_GOAL * 3, 1)
    told = further_goals.of_idle([alone, with_app, Idle("peer", 99, 99, 99, 99)])

    assert [(goal.what, goal.reached, goal.met) for goal in told] == [
        ("idle, alone: wake-ups", 1.0, True),
        ("idle, alone: CPU", 2.0, False),
        ("idle, alone: RSS", 0.5, True),
        ("idle, with an app: wake-ups", 0.0, True),
        ("idle, with an app: CPU", 0.0, True),
        ("idle, with an app: RSS", 3.0, False),
    ]


def test_the_goals_of_downloads_are_ratios_round_by_round() -> None:
    costs = {"ours": [Cost(1, 1), Cost(20, 1)], "aria2c -j16": [Cost(4, 1)] * 2}
    samples = [
        Sample("many", "https", "disk", number, client, 1, 1, 0.0, cost)
        for client, rounds in costs.items()
        for number, cost in enumerate(rounds)
    ]
    [told] = further_goals.of_fetch(Result(SHORT, {}, {}, [], samples))

    assert (told.what, told.against) == ("fetch many https disk", "aria2c -j16")
    assert (told.reached, told.spread) == (2.625, (0.25, 5.0))
    assert told.most == 0.5


async def test_what_fails_among_tasks_comes_out_by_itself() -> None:
    async def failing() -> None:
        raise BenchmarkFailed("the first")

    with pytest.raises(BenchmarkFailed, match=r"^the first$"):
        async with together() as tasks:
            tasks.create_task(failing())
    with pytest.raises(ExceptionGroup):
        async with together():
            raise ZeroDivisionError
