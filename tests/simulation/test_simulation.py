from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.history import History
from simulation.memory import in_memory

TESTS = Path(__file__).parents[1]
SECONDS = 20.0
SEED = 18  # its life has 119 effects, a resumed download and a failing disk
TROUBLES = {
    "kill",
    "power cut",
    "ENOSPC",
    "EIO",
    "short write",
    "transaction refused",
    "download cut",
    "body too short",
    "resumed",
    "link expired",
    "feed dropped",
    "duplicate",
    "account switch",
    "clock jump",
    "item removed",
    "file deleted",
    "consumer crash",
}


@pytest.fixture
def state() -> Iterator[Path]:
    with in_memory() as folder:
        yield folder / "state"


@pytest.mark.timeout(240)
def test_no_history_breaks_a_promise(state: Path) -> None:
    end = time.perf_counter() + SECONDS
    troubles = Counter[str]()
    seed = 0
    while time.perf_counter() < end or seed < 60:
        history = History(seed, state)
        history.run()
        troubles += history.world.troubles
        seed += 1

    assert TROUBLES - troubles.keys() == set()


@pytest.mark.timeout(240)
def test_a_life_may_end_before_any_of_its_effects(state: Path) -> None:
    deaths = 0
    while True:
        history = History(SEED, state, death=deaths + 1)
        history.run()
        if not history.died_as_told:
            break
        deaths += 1

    assert deaths > 40


def test_a_seed_is_the_same_history_in_every_process(state: Path) -> None:
    def trace(hashes: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "5"],
            env=os.environ | {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return run.stdout.partition(": ")[0]

    first = trace("1")

    assert "trace " in first
    assert first == trace("2")
