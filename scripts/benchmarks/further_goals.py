"""The goals of benchmarks whose reports have tables of their own.

They are ratios: what is to stay below a figure is told as its share of that.
"""

from __future__ import annotations

from statistics import median

from scripts.benchmarks import (
    display,
    feed,
    fetch,
    fetch_report,
    gallery,
    goals,
    idle,
    report,
    start,
)
from scripts.benchmarks.goals import Goal

_PEER = "Python, async"
_SESSION_MS = 3.0
_GALLERY = {"insert": 1e-3, "first": 5e-3, "last": 5e-3, "size": 1024.0}
_MIB = 2**20


def of_feed(result: feed.Result) -> list[Goal]:
    """Return what our feed takes beside the official client of a service."""
    found = []
    for jobs in report.sizes(result):
        for name, ratios in report.ratios(result, _PEER, jobs).items():
            # They are written as how many times better ours is.
            what = f"feed, {jobs} jobs: {name.replace('messages/s', 's/message')}"
            worse = [1 / ratio for ratio in ratios]
            found.append(goals.judged(what, _PEER, worse, 1.0))
    session = median(result.alone.session) * 1e3
    return [*found, _below("feed: CPU of the session", session, _SESSION_MS, "ms")]


def of_fetch(result: fetch.Result) -> list[Goal]:
    """Return what our downloads take beside others', and the memory they hold."""
    found = []
    for goal in fetch_report.GOALS:
        for store in goal.stores:
            key = (goal.part, goal.scheme, store)
            ours = _seconds(result, key, "ours")
            theirs = _seconds(result, key, goal.client)
            if ours and theirs:
                ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
                what = f"fetch {' '.join(key)}"
                found.append(goals.judged(what, goal.client, ratios, goal.ratio))
    for part, most in fetch_report.RSS_GOALS.items():
        peaks = [
            sample.cost.rss_peak / _MIB
            for sample in result.samples
            if (sample.part, sample.client) == (part, "ours") and sample.cost.rss_peak
        ]
        if peaks:
            found.append(_below(f"fetch {part}: peak RSS", max(peaks), most, "MiB"))
    return found


def of_gallery(result: gallery.Result) -> list[Goal]:
    """Return what our gallery takes, at its largest."""
    sample = max(
        (sample for sample in result.samples if sample.gallery == "ours"),
        key=lambda sample: sample.items,
    )
    words = {
        "insert": "insert a job",
        "first": "newest page",
        "last": "oldest page",
        "size": "size of an item",
    }
    return [
        Goal(
            f"gallery of {sample.items:,}: {words[name]}",
            f"{most:g} bytes" if name == "size" else f"{most * 1e3:g} ms",
            getattr(sample, name) / most,
            1.0,
        )
        for name, most in _GALLERY.items()
    ]


def of_idle(found: list[idle.Idle]) -> list[Goal]:
    """Return what our daemon costs while it waits, alone and with an app."""
    return [
        _below(f"idle, {when}: {what}", reached, most, unit)
        for when, ours in zip(("alone", "with an app"), found, strict=False)
        for what, reached, most, unit in (
            ("wake-ups", ours.wake_ups, idle.WAKE_UPS_GOAL, "a second"),
            ("CPU", ours.cpu, idle.CPU_GOAL, "ms a minute"),
            ("RSS", ours.rss, idle.RSS_GOAL, "MiB"),
        )
    ]


def of_start(rounds: list[start.Round]) -> list[Goal]:
    """Return how long our programs take to answer, in starts of Python."""
    return [
        goals.judged(
            "start: the daemon answers hello",
            "Python with asyncio and sqlite3",
            [one.greeted / one.libraries for one in rounds],
            start.ANSWER_GOAL,
        ),
        goals.judged(
            "start: stella-media --help",
            "bare Python",
            [one.media_help / one.python for one in rounds],
            start.HELP_GOAL,
        ),
    ]


def of_display(rounds: list[display.Round]) -> list[Goal]:
    """Return how soon the page is there, and its longest frame."""
    paint = max(each.paint for each in rounds)
    frame = max(max(each.frames) for each in rounds)
    return [
        _below("page: first paint", paint, display.FIRST_PAINT_GOAL, "ms"),
        _below("page: longest frame", frame, display.FRAME_GOAL, "ms"),
    ]


def _below(what: str, reached: float, most: float, unit: str) -> Goal:
    return Goal(what, f"{most:g} {unit}", reached / most, 1.0)


def _seconds(
    result: fetch.Result, key: tuple[str, str, str], client: str
) -> list[float]:
    found = [
        sample
        for sample in result.samples
        if (sample.part, sample.scheme, sample.store) == key and sample.client == client
    ]
    return [s.cost.seconds for s in sorted(found, key=lambda sample: sample.round)]
