"""The short form of the downloads: not its figures are looked at, but their sense."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from need import need
from scripts.benchmarks import bodies, fetch, fetch_report
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.fetch import PARTS, SHORT, Result, Sample
from scripts.benchmarks.fetch_origin import Origin, origin
from scripts.benchmarks.fetch_peers import Cost, Errand

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 180


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", "fetch", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """What one short run printed and wrote."""
    if sys.platform != "linux":
        pytest.skip("its disks, and the gauges of its processes, are those of Linux")
    need("nginx", "openssl", "wrk", "curl", "aria2c")
    written = tmp_path_factory.mktemp("bench") / "fetch.json"
    done = bench("--short", "--json", str(written))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(written.read_text("utf-8"))


@pytest.mark.timeout(LONGEST)
def test_everybody_runs_once_in_each_comparison(run: tuple[str, Any]) -> None:
    _, data = run
    seen = [
        (sample["part"], sample["scheme"], sample["store"], sample["client"])
        for sample in data["samples"]
    ]

    assert sorted(seen) == sorted(
        (part.name, scheme, store, client)
        for part in PARTS
        for scheme in part.schemes
        for store in part.stores
        for client in part.clients
    )
    assert all(sample["cost"]["seconds"] > 0 for sample in data["samples"])


@pytest.mark.timeout(LONGEST)
def test_the_sizes_are_those_of_the_plan(run: tuple[str, Any]) -> None:
    _, data = run
    sizes = {
        sample["part"]: (sample["files"], sample["size"]) for sample in data["samples"]
    }

    assert sizes == {
        "big": (1, SHORT.big),
        "many": (SHORT.many, SHORT.many * 65536),
        "backlog": (SHORT.backlog, SHORT.backlog * 4096),
        "together": (SHORT.together, SHORT.together * SHORT.big),
        "loop": (1, SHORT.big),
    }


@pytest.mark.timeout(LONGEST)
def test_ours_tells_its_memory_and_how_late_its_loop_was(run: tuple[str, Any]) -> None:
    _, data = run
    ours = [sample for sample in data["samples"] if sample["client"] == "ours"]

    for sample in ours:
        cost = sample["cost"]
        assert 0 < cost["rss_before"] <= cost["rss_peak"]
        assert bool(cost["lateness"]) == (sample["part"] == "loop")


@pytest.mark.timeout(LONGEST)
def test_the_tables_show_each_client_and_what_it_was_measured_on(
    run: tuple[str, Any],
) -> None:
    text, data = run

    assert data["machine"]["python"] in text.splitlines()[0]
    assert "origin: nginx " in text
    assert "The origin alone, 64 KiB over https: " in text
    for part in PARTS:
        comparisons = len(part.schemes) * len(part.stores)
        assert text.count(f"**{part.name}**: ") == comparisons
    for client in {name for part in PARTS for name in part.clients}:
        assert f"\n| {client} | " in text
    assert text.count(" to disk, 1 rounds") == text.count(" to tmpfs, 1 rounds") + 1


def test_a_missing_program_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = bench("--short")

    assert (done.returncode, done.stdout) == (1, "")
    missing = "nginx and openssl and wrk and curl and aria2c"
    assert done.stderr == f"bench: {missing} must be installed\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_only_what_ours_is_sent_announces_its_digest(
    tmp_path: Path, scheme: str
) -> None:
    need("nginx", "openssl")
    (tmp_path / "files").mkdir()
    file = bodies.write_png(tmp_path / "files" / "a.png", 4096, 1)
    announced = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    async with origin(tmp_path, tmp_path / "files", [file]) as source:
        trust = ssl.create_default_context(cafile=source.certificate)
        async with httpx.AsyncClient(verify=trust) as client:
            plain = await client.get(source.url(scheme, file))
            stored = await client.get(source.url(scheme, file, digest=True))

    assert plain.content == stored.content == (tmp_path / "files/a.png").read_bytes()
    assert "digest" not in plain.headers
    assert stored.headers["digest"] == f"sha-256={announced}"


@pytest.mark.parametrize(
    ("left", "words"),
    [(None, r"curl left a\.png away"), (2, r"curl made another file of a\.png")],
)
async def test_a_file_that_is_another_or_is_not_there_ends_the_benchmark(
    tmp_path: Path, left: int | None, words: str
) -> None:
    async def fetched(errand: Errand) -> Cost:
        if left is not None:
            bodies.write_png(errand.folder / "a.png", 4096, left)
        return Cost(1, 1)

    file = bodies.write_png(tmp_path / "a.png", 4096, 1)
    (tmp_path / "to").mkdir()
    source = Origin("", os.getpid(), {}, tmp_path)
    errand = Errand(source, "http", [file], tmp_path / "to", file, tmp_path)
    part = replace(PARTS[0], clients={"curl": fetched})
    turn = fetch._Turn(part, "http", "disk", 0, "curl")

    with pytest.raises(BenchmarkFailed, match=words):
        await fetch._run(turn, errand)


def test_nobody_runs_first_in_two_rounds_that_follow() -> None:
    part = PARTS[0]
    turns = [*fetch._turns(replace(SHORT, rounds=7), [part])]
    firsts = [
        turn.client
        for turn, before in zip(turns, [None, *turns], strict=False)
        if before is None
        or (before.round, before.scheme, before.store)
        != (turn.round, turn.scheme, turn.store)
    ]

    names = [*part.clients]
    assert firsts == [name for name in [*names, names[0]] for _ in range(4)]


def result(part: str, *costs: tuple[str, Cost]) -> Result:
    samples = [
        Sample(part, "https", "disk", number, client, 1, 2**30, 0.0, cost)
        for number, (client, cost) in enumerate(costs)
    ]
    rounds: dict[str, int] = {}
    for at, sample in enumerate(samples):
        rounds[sample.client] = number = rounds.get(sample.client, -1) + 1
        samples[at] = replace(sample, round=number)
    return Result(SHORT, {}, {}, [], samples)


def goals(of: Result) -> list[str]:
    text = fetch_report.markdown(of)
    return text.partition("| goal | reached | |\n|---|--:|---|\n")[2].splitlines()


def test_a_goal_is_judged_by_the_median_of_the_ratios_round_by_round() -> None:
    # By the medians of the seconds it would be 10 to 4, and so missed.
    ours = [Cost(1, 1), Cost(10, 1), Cost(20, 1)]
    theirs = [Cost(4, 1), Cost(40, 1), Cost(2, 1)]
    costs = [("ours", cost) for cost in ours]
    costs += [("aria2c -j16", cost) for cost in theirs]

    assert goals(result("many", *costs)) == [
        "| many https disk ≤ 0.5 of aria2c -j16 | 0.25 | met |"
    ]


def test_a_goal_that_is_missed_says_so() -> None:
    missed = result("many", ("ours", Cost(6, 1)), ("aria2c -j16", Cost(10, 1)))

    assert goals(missed) == ["| many https disk ≤ 0.5 of aria2c -j16 | 0.6 | NOT MET |"]


def test_memory_is_judged_at_its_worst() -> None:
    mib = 2**20
    heavy = result(
        "together",
        ("ours", Cost(1, 1, 40 * mib, 60 * mib)),
        ("ours", Cost(1, 1, 30 * mib, 65 * mib)),
    )

    assert goals(heavy) == [
        "| together https disk: RSS ≤ 64 MiB, at worst | 65 | NOT MET |",
        "| together https disk: RSS grows by ≤ 32 MiB, at worst | 35 | NOT MET |",
    ]


def test_a_loop_that_was_late_once_shows_in_its_worst_only() -> None:
    late = result("loop", ("ours", Cost(1, 1, lateness=[0.0005] * 999 + [0.02])))

    assert goals(late) == [
        "| loop https disk: loop late p99 ≤ 1 ms | 0.5 | met |",
        "| loop https disk: loop late max ≤ 10 ms | 20 | NOT MET |",
    ]
