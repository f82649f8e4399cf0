"""The trials of scripts/chaos: the daemon survives them, and mistakes do not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from need import need, need_root

if sys.platform == "win32":
    pytest.skip("the trials are for POSIX", allow_module_level=True)

from scripts.chaos_trials import gate
from scripts.chaos_trials.command import CAUGHT_BY, FAULT, KINDS, missing
from scripts.chaos_trials.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
QUICK = [name for name, kind in KINDS.items() if kind.short]
GATED = [name for name in QUICK if KINDS[name].gated] if gate.lacking() else []
FREE = [name for name in QUICK if not KINDS[name].needs and name not in GATED]


def chaos(*words: str) -> subprocess.CompletedProcess[str]:
    """Play trials, in a network and with mounts of their own where that can be."""
    command = [sys.executable, "-m", "scripts.chaos_trials", *words]
    apart = ["unshare", "--net", "--mount"]
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pass
    else:
        up = 'ip link set lo up && exec "$@"'
        command = [*apart, "sh", "-c", up, "chaos", *command]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True
    )


def rows(played: subprocess.CompletedProcess[str]) -> dict[str, tuple[int, int]]:
    """Return of each kind how many were played, and how many things went wrong."""
    table = [line.split("|")[1:-1] for line in played.stdout.splitlines()[2:]]
    return {cells[0].strip(): (int(cells[1]), int(cells[3])) for cells in table}


def wait_until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not fact():
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)


def is_there(group: int) -> bool:
    """Whether there are processes of this group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


pytestmark = pytest.mark.timeout(600)


def test_whatever_kills_it_or_runs_out_all_is_there_once_in_the_end() -> None:
    """C2, C3: SIGKILL at any call and moment, two daemons, SIGSTOP, short writes."""
    played = chaos(*FREE, "--trials", "2")

    assert played.returncode == 0, played.stderr
    assert rows(played) == dict.fromkeys(FREE, (2, 0)), played.stderr


def test_a_minute_of_everything_that_can_happen_costs_nothing() -> None:
    """C2, C3: also faults, a full disk, power cuts, clocks, no network, no lock."""
    need_root()
    need("mount", "mkfs.ext4", "faketime", "ip", "unshare")
    played = chaos("--short")

    assert played.returncode == 0, played.stderr
    short = {name: (KINDS[name].short, 0) for name in QUICK}
    found = rows(played)
    faults, flaws = found.pop(FAULT)
    assert found == short, played.stderr
    assert faults > 50
    assert flaws == 0, played.stderr


def test_a_trial_is_played_again_by_its_number() -> None:
    played = chaos("kill", "--first", "7", "--trials", "1")

    assert played.returncode == 0, played.stderr
    assert rows(played) == {"kill": (1, 0)}


def test_who_is_ended_by_request_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "scripts.chaos_trials", "stop for minutes"]
    # Its sockets need a short path.
    with tempfile.TemporaryDirectory() as place:
        environ = {"PYTHONPATH": str(ROOT / "tests"), "TMPDIR": place}
        made, served = Path(place).glob, "chaos-*/*/s/materializer/endpoint.json"
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environ, start_new_session=True
        ) as played:
            wait_until(lambda: any(made(served)))
            played.terminate()
            assert played.wait(60) == 130

        assert not any(made("chaos-*"))
        wait_until(lambda: not is_there(played.pid))


def test_a_mistake_in_the_order_on_disk_is_found() -> None:
    played = chaos("--mutants", "row before rename", "write in place")

    assert played.returncode == 0, played.stderr
    assert all(found > 0 for _, found in rows(played).values())


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_mistake_of_the_list_is_found() -> None:
    need_root()
    need("mount", "mkfs.ext4")
    played = chaos("--mutants")

    assert played.returncode == 0, played.stderr
    assert len(rows(played)) == len(MUTANTS)


def test_a_mistake_that_no_trial_finds_is_a_fault_of_the_trials() -> None:
    played = chaos("--trials", "0", "--mutants", "no file fsync")

    assert played.returncode == 1
    assert "| no file fsync, by cut | 0 | 0 |" in played.stdout


def test_every_mistake_has_a_kind_of_trial_that_finds_it() -> None:
    assert CAUGHT_BY.keys() == MUTANTS.keys()
    assert {*CAUGHT_BY.values()} <= KINDS.keys()


def test_what_cannot_be_played_here_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    lack = missing("cut")

    assert lack is not None
    assert "mkfs.ext4" in lack
