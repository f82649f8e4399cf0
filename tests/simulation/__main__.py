"""Runs histories, one or as many as there is time for; see docs/simulation.md."""

from __future__ import annotations

import argparse
import sys
import time

from simulation.history import History
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
        error = _broken(history)
    _say(*history.world.last)
    _say(f"trace {history.world.trace}: {error or 'nothing is broken'}")
    return int(error is not None)


def _many(seed: int, seconds: float) -> int:
    first, effects, deaths, broken = seed, 0, 0, 0
    began, worked = time.perf_counter(), time.process_time()
    with in_memory() as folder:
        while (took := time.perf_counter() - began) < seconds:
            history = History(seed, folder / "state")
            if error := _broken(history):
                broken += 1
                _say(f"{history.words}: {error}")
            effects += history.world.effects
            deaths += history.deaths
            seed += 1
    ran, worked = seed - first, time.process_time() - worked
    _say(
        f"{ran} histories with {deaths} deaths and {effects} effects in {took:.0f} s,"
        f" {ran / worked * 60:.0f} a minute of one processor: {broken} broken"
    )
    return int(broken > 0)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _broken(history: History) -> str | None:
    try:
        history.run()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it was not promised
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
