"""The simulation against programs that it must not let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.history import History
from simulation.memory import in_memory
from simulation.mutants import MUTANTS
from simulation.world import Violation

HISTORIES = 300
# What takes a rare history to be caught: a seed after which one comes soon.
FIRST = {"resume_from_holes": 110, "told_before_shown": 40}


def live(state: Path, first: int) -> None:
    for seed in range(first, first + HISTORIES):
        History(seed, state).run()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_program_without_this_promise_is_caught(name: str) -> None:
    with in_memory() as folder, MUTANTS[name](), pytest.raises(Violation):
        live(folder / "state", FIRST.get(name, 0))
