"""What was to be reached, what was, and how both are written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from scripts.benchmarks.report import figure


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: less is better, and `most` is allowed.

    Attributes:
        what: is measured.
        against: whom or what ours is compared with; the goal is a ratio to that.
        reached: by ours.
        spread: the least and the most that single rounds reached, where there are some.
    """

    what: str
    against: str
    reached: float
    most: float
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.reached <= self.most


def judged(what: str, against: str, ratios: Sequence[float], most: float) -> Goal:
    """Return a goal that is judged by the median of the rounds' ratios."""
    spread = (min(ratios), max(ratios)) if len(ratios) > 1 else None
    return Goal(what, against, median(ratios), most, spread)


def table(goals: Iterable[Goal]) -> Iterator[str]:
    """Yield the lines of a table with one goal a row."""
    yield "| what | against | ratio | goal | |"
    yield "|---|---|--:|--:|---|"
    for goal in goals:
        reached = figure(goal.reached)
        if goal.spread is not None:
            reached += f" ({figure(goal.spread[0])} to {figure(goal.spread[1])})"
        verdict = "met" if goal.met else "NOT MET"
        cells = (goal.what, goal.against, reached, f"≤ {goal.most:g}", verdict)
        yield f"| {' | '.join(cells)} |"


def shortfall(goals: Iterable[Goal]) -> str | None:
    """Return in words which were missed."""
    missed = [
        f"{goal.what} is {figure(goal.reached)} of {goal.against},"
        f" and {goal.most:g} is allowed"
        for goal in goals
        if not goal.met
    ]
    return "; ".join(missed) or None


def p99(samples: Sequence[float]) -> float:
    """Return what 99 of 100 samples do not exceed."""
    return quantiles(samples, n=100, method="inclusive")[98]
