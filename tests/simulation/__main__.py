"""Runs histories, one or as many as there is time for; see docs/simulation.md."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from simulation.history import History
from simulation.many import broken_by, every, say
from simulation.memory import in_memory


def main() -> int:
    """Return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Runs histories of the daemon's house."
    )
    parser.add_argument("--seed", type=int, help="this one history, in full")
    parser.add_argument(
        "--death", type=int, help="with one rough life, until this effect"
    )
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    asked = parser.parse_args()
    if asked.seed is None:
        return _many(asked.first, asked.seconds)
    return _one(asked.seed, asked.death)


def _one(seed: int, death: int | None) -> int:
    with in_memory() as folder:
        history = History(seed, folder / "state", death)
        error = broken_by(history)
    say(*history.world.last)
    say(f"trace {history.world.trace}: {error or 'nothing is broken'}")
    return int(error is not None)


def _many(first: int, seconds: float) -> int:
    began = time.perf_counter()
    processors = os.cpu_count() or 1
    with ProcessPoolExecutor(processors, get_context("spawn")) as pool:
        lives = [
            pool.submit(every, first + nth, processors, seconds)
            for nth in range(processors)
        ]
        done = [life.result() for life in lives]
    took = time.perf_counter() - began
    ran, deaths, effects, broken, worked = map(sum, zip(*done, strict=True))
    say(
        f"{ran} histories with {deaths} deaths and {effects} effects in {took:.0f} s,"
        f" {ran / worked * 60:.0f} a minute of one processor: {broken} broken"
    )
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
