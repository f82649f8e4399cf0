"""The Display page with thousands of outputs: its first paint, and every frame."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from materializer.config import Paths
from materializer.model import Account
from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed
from scripts.benchmarks.programs import require
from scripts.benchmarks.report import figure, machine
from scripts.browser import crowd
from scripts.browser.chromium import PROGRAMS, chromium
from scripts.browser.commands import running

FIRST_PAINT_GOAL, FRAME_GOAL = 1500, 100  # ms

_ACCOUNT = Account("http://nowhere.test", "https://nowhere.test|bench")
_PAINTED = """
const done = arguments[0];
function look() {
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const pictures = [...document.querySelectorAll(".card img")];
  if (!paint || !pictures.length || !pictures.every((it) => it.complete))
    return requestAnimationFrame(look);
  done({ paint: paint.startTime, pictures: performance.now() });
}
look();
"""
_SCROLLED = """
const [step, items, patience, done] = arguments;
const frames = [], until = performance.now() + patience;
let before = null, most = 0;
function frame(now) {
  if (before !== null) frames.push(now - before);
  before = now;
  const cards = [...document.querySelectorAll(".card")];
  most = Math.max(most, cards.length);
  const seen = Number(cards.at(-1).ariaPosInSet);
  if (seen === items || now > until) return done({ frames, most, seen });
  scrollBy(0, step);
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);
"""


_COLUMNS = (
    "first paint ms",
    "pictures ms",
    "frame p50 ms",
    "frame p99 ms",
    "longest frame ms",
    f"over {FRAME_GOAL} ms",
    "frames",
    "cards at most",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many outputs, how often, and how many pixels a frame scrolls."""

    items: int
    rounds: int
    step: int = 240


LONG, SHORT = Plan(5000, 3), Plan(300, 1)


@dataclass(frozen=True, slots=True)
class Round:
    """One opening of the page, and one way down to its end; in ms.

    Attributes:
        paint: when anything was there.
        pictures: when all pictures in sight were.
        frames: how long each frame took.
        most: cards that were in the page at once.
    """

    paint: float
    pictures: float
    frames: list[float]
    most: int


async def measure(plan: Plan, tell: Callable[[str], None]) -> list[Round]:
    """Open and scroll the page, each time in a new browser.

    Raises:
        BenchmarkFailed: a program is missing or failed, or the end was not reached.
    """
    require(PROGRAMS)
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths.of(Path(folder, "state"))
        tell(f"making {plan.items} outputs")
        await crowd.fill(paths, _ACCOUNT, plan.items, time.time_ns() // 1_000_000)
        rounds = []
        async with running("run", paths, "--ready-json", "--no-thumbnails"):
            for number in range(plan.rounds):
                tell(f"round {number + 1} of {plan.rounds}")
                async with running("display", paths, "--no-browser") as url:
                    rounds.append(await asyncio.to_thread(_look, plan, url))
    return rounds


def _look(plan: Plan, url: str) -> Round:
    # A card that the processor plays would be measured, not the page.
    with chromium(card=False) as browser:
        browser.set_script_timeout(PATIENCE)
        browser.get(url)
        painted = browser.execute_async_script(_PAINTED)
        patience = PATIENCE * 900
        arguments = (plan.step, plan.items, patience)
        scrolled = browser.execute_async_script(_SCROLLED, *arguments)
    if scrolled["seen"] != plan.items:
        raise BenchmarkFailed(f"only {scrolled['seen']} outputs came into sight")
    return Round(**painted, frames=scrolled["frames"], most=scrolled["most"])


def markdown(plan: Plan, rounds: list[Round]) -> str:
    """Return a table with a line for each round, and whether the goals were met."""
    here = machine()
    cores = f"{here['cores']} cores ({here['processor']})"
    lines = [
        f"{plan.items:,} outputs; {cores}, drawn without a graphics card.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'--:|' * len(_COLUMNS)}",
    ]
    for each in rounds:
        slow = sum(frame > FRAME_GOAL for frame in each.frames)
        figures = (
            each.paint,
            each.pictures,
            median(each.frames),
            quantiles(each.frames, n=100)[98],
            max(each.frames),
        )
        cells = [*map(figure, figures), slow, len(each.frames), each.most]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", _verdict(rounds)])


def _verdict(rounds: list[Round]) -> str:
    paint = max(each.paint for each in rounds)
    frame = max(max(each.frames) for each in rounds)
    return (
        f"Goals: first paint under {FIRST_PAINT_GOAL} ms:"
        f" {'met' if paint < FIRST_PAINT_GOAL else 'MISSED'};"
        f" no frame over {FRAME_GOAL} ms: {'met' if frame <= FRAME_GOAL else 'MISSED'}."
    )


def data(plan: Plan, rounds: list[Round]) -> dict[str, Any]:
    """Return every raw figure, and on what it was taken."""
    return {"machine": machine(), **asdict(plan), "rounds": list(map(asdict, rounds))}
