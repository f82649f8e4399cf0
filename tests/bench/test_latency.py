"""`bench latency`, `catchup` and `film`, in short; figures are not judged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benched import bench
from need import need
from scripts.benchmarks import beside_film, bodies, catchup, latency, places
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.contenders import Arrival

if sys.platform != "linux":
    pytest.skip("these benchmarks run on Linux", allow_module_level=True)

FILM = "pictures beside a film of 4 GiB, p99"
PARTS = ("nginx", "openssl", "aria2c", "node", "npm")
PEERS = ("aria2 RPC", "reference's way")


def test_everybody_gets_every_picture_in_turns_and_is_compared(tmp_path: Path) -> None:
    need(*PARTS)
    text, data = bench("latency", tmp_path)

    cases = [(scheme, size) for scheme in ("https", "http") for size in (65536, 204800)]
    found = {(s["client"], s["scheme"], s["size"]): s for s in data["samples"]}
    names = ("ours", *PEERS, "the disk alone")
    assert {*found} == {(name, *case) for name in names for case in cases}
    for sample in found.values():
        assert len(sample["delays"]) == latency.SHORT.pictures
        assert min(sample["delays"]) > 0, "a picture was there before it was told"
    for scheme, size in cases:
        for rank in ("p50", "p99"):
            for peer in PEERS:
                row = f"| latency {size // 1024} KiB, {scheme}, {rank} | {peer} | "
                assert row in text
    for name in names:
        assert f"\n{name}: {data['versions'][name]}.\n" in text
        assert f"\n| 64 KiB, https | {name} | " in text


def test_all_that_waited_is_fetched_by_ours_and_by_the_others(tmp_path: Path) -> None:
    need(*PARTS)
    text, data = bench("catchup", tmp_path)

    clients = ["ours", "aria2c -j8", "httpx + aiofiles"]
    assert sorted(s["client"] for s in data["samples"]) == sorted(clients)
    assert min(s["seconds"] for s in data["samples"]) > 0
    assert data["size"] == catchup.SHORT.jobs // 2 * (65_536 + 131_072)
    for client in clients:
        assert f"\n| {client} | " in text
    for client in clients[1:]:
        assert f"\n| catch-up of {catchup.SHORT.jobs} jobs | {client} | " in text


def test_pictures_come_alone_and_beside_a_film(tmp_path: Path) -> None:
    need(*PARTS)
    text, data = bench("film", tmp_path)

    alone, beside = data["samples"]
    assert alone["beside"] is None
    assert 0 <= beside["beside"] <= beside_film.SHORT.pictures
    assert min(beside["film"], beside["first"]) > 0
    for sample in (alone, beside):
        assert len(sample["delays"]) == beside_film.SHORT.pictures
        assert min(sample["delays"]) > 0
    assert "\n| pictures beside a film of 16 MiB, p99 | pictures alone | " in text


def test_p50_is_judged_picture_by_picture_and_p99_by_all_pictures() -> None:
    # By the medians of the delays it would be 3 to 2.
    ours, theirs = [[1.0, 3.0], [4.0]], [[2.0, 6.0], [1.0]]
    result = latency.Result(
        {},
        0.0,
        [
            latency.Sample(client, scheme, size, number, delays)
            for client, rounds in {"ours": ours, **dict.fromkeys(PEERS, theirs)}.items()
            for scheme in latency.SCHEMES
            for size in latency.SIZES
            for number, delays in enumerate(rounds)
        ],
    )
    p50, p99 = latency.goals_of(result)[:2]

    assert (p50.reached, p50.most, p50.spread) == (0.5, 1.0, (0.5, 4.0))
    assert p99.reached == pytest.approx(3.98 / 5.92)
    assert {goal.most for goal in latency.goals_of(result)} == {1.0, 0.8}


def test_catching_up_is_judged_round_by_round() -> None:
    # By the medians of the seconds it would be 10 to 4.
    seconds = {
        "ours": [1.0, 10.0, 20.0],
        "aria2c -j8": [4.0, 40.0, 2.0],
        "httpx + aiofiles": [1.0, 10.0, 20.0],
    }
    samples = [
        catchup.Sample(client, number, each, 0.0)
        for client, rounds in seconds.items()
        for number, each in enumerate(rounds)
    ]
    result = catchup.Result(catchup.LONG, 1, {}, samples)

    assert [(g.reached, g.met) for g in catchup.goals_of(result)] == [
        (0.25, True),
        (1.0, False),
    ]


@pytest.mark.parametrize(
    ("beside", "slow", "says"),
    [
        (4, 2.0, None),
        (3, 1.0, "the film had come before all pictures had, in 1 rounds"),
        (4, 2.1, f"{FILM} is 2.1 of pictures alone, and 2 is allowed"),
    ],
)
def test_a_film_that_came_too_early_says_nothing_of_the_pictures(
    beside: int, slow: float, says: str | None
) -> None:
    alone = beside_film.Sample(0, [1.0] * 4, 0.0)
    with_film = beside_film.Sample(0, [slow] * 4, 0.0, beside, 1.8, 9.0)
    result = beside_film.Result(beside_film.LONG, [with_film, alone])

    assert beside_film.shortfall(result) == says


@pytest.mark.parametrize(
    ("left", "words"),
    [(None, r"^there\.png is not there$"), (2, r"^there\.png is not a\.png$")],
)
def test_a_file_that_is_another_or_not_there_ends_the_benchmark(
    tmp_path: Path, left: int | None, words: str
) -> None:
    file = bodies.write_png(tmp_path / "a.png", 4096, 1)
    path = tmp_path / "there.png"
    if left is not None:
        bodies.write_png(path, 4096, left)

    with pytest.raises(BenchmarkFailed, match=words):
        places.check([(file, Arrival("a", 0, (path,)))])
