"""Histories one after the other, as each processor runs them."""

from __future__ import annotations

import sys
import time

from simulation.history import History
from simulation.memory import in_memory


def every(first: int, step: int, seconds: float) -> tuple[float, ...]:
    """Run one history after the other, and one at least.

    Returns:
        How many there were, deaths, effects, how many broke a promise, and for how
        many seconds the processor was at work.
    """
    end, worked = time.perf_counter() + seconds, time.process_time()
    ran, deaths, effects, broken = 0, 0, 0, 0
    with in_memory() as folder:
        while not ran or time.perf_counter() < end:
            history = History(first + ran * step, folder / "state")
            if error := broken_by(history):
                broken += 1
                say(f"{history.words}: {error}")
            effects += history.world.effects
            deaths += history.deaths
            ran += 1
    return ran, deaths, effects, broken, time.process_time() - worked


def say(*lines: str) -> None:
    """Write lines, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def broken_by(history: History) -> str | None:
    """Live a history; return what was not as promised, if something was not."""
    try:
        history.run()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it was not promised
        return f"{type(error).__name__}: {error}"
    return None
