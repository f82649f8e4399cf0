from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.history import History
from simulation.many import every
from simulation.memory import in_memory
from simulation.mutants import MUTANTS

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
    "commit undone",
    "download cut",
    "body too short",
    "resumed",
    "link expired",
    "feed dropped",
    "duplicate",
    "account switch",
    "sign-out",
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


def simulated(*flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulation", *flags],
        env=os.environ | {"PYTHONPATH": str(TESTS)} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_every_processor_runs_histories_of_its_own() -> None:
    run = simulated("--first", "7", "--seconds", "0.01")

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith(f"{os.cpu_count()} histories with ")
    assert run.stdout.endswith(": 0 broken\n")


def test_a_broken_history_is_counted_and_names_what_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with MUTANTS["announce_before_commit"]():
        ran, *_, broken, _ = every(first=10, step=5, seconds=5)

    seeds = re.findall(r"scripts/simulate --seed (\d+): Viol", capsys.readouterr().out)
    assert len(seeds) == broken > 0
    assert {int(seed) for seed in seeds} <= {10 + 5 * nth for nth in range(int(ran))}


def test_a_seed_is_the_same_history_in_every_process(state: Path) -> None:
    def trace(hashes: str) -> str:
        run = simulated("--seed", "5", PYTHONHASHSEED=hashes)
        return run.stdout.partition(": ")[0]

    first = trace("1")

    assert "trace " in first
    assert first == trace("2")
