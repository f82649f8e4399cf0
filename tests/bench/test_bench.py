"""The benchmark's short form. Its figures are not looked at: they are the machine's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from need import need

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ("ours", "Python, async", "Python, sync", "npm")
SIZES = (1, 50, 200)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """What one short run printed and wrote."""
    need("node", "npm")
    written = tmp_path_factory.mktemp("bench") / "feed.json"
    done = bench("feed", "--short", "--json", str(written))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(written.read_text("utf-8"))


def test_every_client_is_handed_every_row_of_messages_that_come_in_turn(
    run: tuple[str, Any],
) -> None:
    _, data = run
    turns = [sample for sample in data["samples"] if sample["mode"] == "turns"]

    assert sorted((s["client"], s["jobs"]) for s in turns) == sorted(
        (client, jobs) for client in CLIENTS for jobs in SIZES
    )
    for sample in turns:
        assert sample["delivered"] == sample["messages"] == len(sample["delays"])
        assert sample["rows"] == sample["messages"] * sample["jobs"]
        assert min(sample["delays"]) > 0, "a value was there before it was sent"


def test_the_clients_end_with_the_same_value_however_they_are_fed(
    run: tuple[str, Any],
) -> None:
    _, data = run
    last: dict[tuple[int, str], set[str]] = {}
    for sample in data["samples"]:
        key = (sample["jobs"], sample["mode"])
        last.setdefault(key, set()).add(sample["digest"])

    assert {jobs for jobs, _ in last} == {*SIZES}
    assert len(last) == 2 * len(SIZES)
    assert [len(digests) for digests in last.values()] == [1] * len(last)
    assert len(set.union(*last.values())) == len(last), "phases end differently"


def test_the_tables_show_each_client_and_what_it_was_measured_on(
    run: tuple[str, Any],
) -> None:
    text, data = run

    lines = text.splitlines()
    assert str(data["machine"]["cores"]) in lines[0]
    assert data["machine"]["python"] in lines[0]
    for jobs in SIZES:
        for client in CLIENTS:
            assert any(line.startswith(f"| {jobs} | {client} | ") for line in lines)
    assert [client["name"] for client in data["clients"]] == [*CLIENTS]
    assert lines[-1].startswith("The session alone, 200 jobs a message: ")
    assert len(data["alone"]["session"]) == len(data["alone"]["reading"]) > 0


def test_a_missing_node_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = bench("feed", "--short")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bench: node and npm are needed for the official client\n"
