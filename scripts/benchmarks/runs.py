"""Every benchmark: how it is run, and what it has to say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks import (
    beside_film,
    catchup,
    cli,
    display,
    fault_report,
    faults,
    feed,
    fetch,
    fetch_report,
    further_goals,
    gallery,
    gallery_report,
    goals,
    growth,
    idle,
    latency,
    report,
    start,
)
from scripts.benchmarks.goals import Goal

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one benchmark has to say.

    Attributes:
        table: for people, in Markdown.
        data: every raw sample.
        goals: that it judges, in ratios.
        shortfall: why ours fell short, in words.
    """

    table: str
    data: dict[str, Any]
    goals: list[Goal] = field(default_factory=list)
    shortfall: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark.

    Attributes:
        help: what it is about.
        run: runs it, in short to see that it does; `Tell` hears how far it is.
    """

    help: str
    run: Callable[[bool, Tell], Awaitable[Outcome]]


async def _feed(short: bool, tell: Tell) -> Outcome:
    result = await feed.measure(feed.SHORT if short else feed.LONG, tell)
    judged = further_goals.of_feed(result)
    return Outcome(report.markdown(result), report.data(result), judged)


async def run_fetch(
    plan: fetch.Plan, parts: Iterable[fetch.Part], tell: Tell
) -> Outcome:
    """Run some parts of the downloads' benchmark."""
    result = await fetch.measure(plan, [*parts], tell)
    judged = further_goals.of_fetch(result)
    return Outcome(fetch_report.markdown(result), fetch_report.data(result), judged)


async def _fetch(short: bool, tell: Tell) -> Outcome:
    return await run_fetch(fetch.SHORT if short else fetch.LONG, fetch.PARTS, tell)


async def _faults(short: bool, tell: Tell) -> Outcome:
    result = await faults.measure(faults.SHORT if short else faults.LONG, tell)
    return Outcome(
        fault_report.markdown(result),
        fault_report.data(result),
        shortfall=fault_report.shortfall(result),
    )


async def _latency(short: bool, tell: Tell) -> Outcome:
    result = await latency.measure(latency.SHORT if short else latency.LONG, tell)
    judged = latency.goals_of(result)
    return _judged(short, latency.markdown(result), latency.data(result), judged)


async def _catchup(short: bool, tell: Tell) -> Outcome:
    result = await catchup.measure(catchup.SHORT if short else catchup.LONG, tell)
    judged = catchup.goals_of(result)
    return _judged(short, catchup.markdown(result), catchup.data(result), judged)


async def _cli(short: bool, tell: Tell) -> Outcome:
    result = await cli.measure(cli.SHORT if short else cli.LONG, tell)
    judged = cli.goals_of(result)
    return _judged(short, cli.markdown(result), cli.data(result), judged)


async def _film(short: bool, tell: Tell) -> Outcome:
    plan = beside_film.SHORT if short else beside_film.LONG
    result = await beside_film.measure(plan, tell)
    return Outcome(
        beside_film.markdown(result),
        beside_film.data(result),
        beside_film.goals_of(result),
        None if short else beside_film.shortfall(result),
    )


async def _growth(short: bool, tell: Tell) -> Outcome:
    plan = growth.SHORT if short else growth.LONG
    found = await growth.measure(plan, tell)
    judged = growth.goals_of(found)
    return _judged(
        short, growth.markdown(plan, found), growth.data(plan, found), judged
    )


async def _gallery(short: bool, tell: Tell) -> Outcome:
    result = await gallery.measure(gallery.SHORT if short else gallery.LONG, tell)
    judged = further_goals.of_gallery(result)
    return Outcome(gallery_report.markdown(result), gallery_report.data(result), judged)


async def _display(short: bool, tell: Tell) -> Outcome:
    plan = display.SHORT if short else display.LONG
    rounds = await display.measure(plan, tell)
    judged = further_goals.of_display(rounds)
    return Outcome(display.markdown(plan, rounds), display.data(plan, rounds), judged)


async def _idle(short: bool, tell: Tell) -> Outcome:
    plan = idle.SHORT if short else idle.LONG
    found = await idle.measure(plan, tell)
    return Outcome(
        idle.markdown(plan, found),
        idle.data(plan, found),
        further_goals.of_idle(found),
        None if short else idle.shortfall(found),
    )


async def _start(short: bool, tell: Tell) -> Outcome:
    rounds = await start.measure(1 if short else 15, tell)
    return Outcome(
        start.markdown(rounds),
        start.data(rounds),
        further_goals.of_start(rounds),
        None if short else start.shortfall(rounds),
    )


def _judged(
    short: bool, table: str, data: dict[str, Any], judged: list[Goal]
) -> Outcome:
    """Return what to say where a missed goal is a failure, but not in short."""
    return Outcome(table, data, judged, None if short else goals.shortfall(judged))


RUNS = {
    "latency": Run("one picture, from the feed to the screen, beside others", _latency),
    "catchup": Run("200 jobs that waited, beside bare downloads", _catchup),
    "cli": Run("stella-media that waits, beside asking every 2 s", _cli),
    "film": Run("pictures that arrive while a film does", _film),
    "fetch": Run("our downloads beside curl, aria2 and httpx", _fetch),
    "feed": Run("our feed beside the official clients", _feed),
    "gallery": Run("our gallery beside a JSON file", _gallery),
    "growth": Run("what ten times as much costs", _growth),
    "start": Run("how long our programs take to answer", _start),
    "idle": Run("what our daemon costs while it waits, beside others", _idle),
    "display": Run("the page with 5,000 outputs", _display),
    "faults": Run("what goes wrong, and who notices", _faults),
}
