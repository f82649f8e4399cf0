"""The kept inputs of each target, and what is near them: a few seconds of each."""

from __future__ import annotations

import asyncio
import re
import socket
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import targets
from fuzz.confinement import confined
from fuzz.targets import TARGETS, Target

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MOST_MEMORY = 32 * 2**20


def kept(name: str) -> list[bytes]:
    """Return the kept inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def words() -> list[bytes]:
    """Return what libFuzzer's dictionary holds."""
    lines = (HERE / "words.dict").read_text().splitlines()
    quoted = [line[1:-1] for line in lines if line.startswith('"')]
    return [
        re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), word).encode("latin-1")
        for word in quoted
    ]


EDITS = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.integers(0, 40),
        st.one_of(st.binary(max_size=8), st.sampled_from(words())),
        st.sampled_from([1, 1, 1, 2, 70, 5_000]),
    ),
    max_size=6,
)


@st.composite
def near(draw: st.DrawFn, name: str) -> bytes:
    """Draw a kept input after some edits: removed, put in, repeated, cut off."""
    data = draw(st.sampled_from(kept(name)))
    for at, length, piece, times in draw(EDITS):
        at %= len(data) + 1
        data = data[:at] + piece * times + data[at + length :]
    return data[: draw(st.none() | st.integers(0, 100))]


def test_every_target_has_kept_inputs_and_no_inputs_are_left_over() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept_does_no_harm_and_takes_little_memory(name: str) -> None:
    targets.run(TARGETS[name], b"")
    tracemalloc.start()
    try:
        for data in kept(name):
            targets.run(TARGETS[name], data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY


@pytest.mark.parametrize("name", TARGETS)
def test_nor_does_what_is_near_it(name: str) -> None:
    @settings(
        max_examples=40 if name == "database" else 120,
        deadline=timedelta(seconds=5),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(near(name))
    def check(data: bytes) -> None:
        targets.run(TARGETS[name], data)

    check()


def writes(_: bytes, scratch: Path) -> None:
    (scratch.parent / "fuzz-outside").write_bytes(b"")


def removes(_: bytes, scratch: Path) -> None:
    (scratch.parent / "fuzz-outside").unlink(missing_ok=True)


def links(_: bytes, scratch: Path) -> None:
    (scratch / "link").symlink_to(scratch.parent)
    (scratch / "link" / "fuzz-outside").touch()


def connects(_: bytes, __: Path) -> None:
    with socket.socket() as made:
        made.settimeout(0.1)
        made.connect_ex(("127.0.0.1", 9))


def looks_up(_: bytes, __: Path) -> None:
    socket.getaddrinfo("127.0.0.1", 9)


def starts(_: bytes, __: Path) -> None:
    async def start() -> None:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    asyncio.run(start())


@pytest.mark.parametrize("target", [writes, removes, links, connects, looks_up, starts])
def test_who_reaches_beyond_the_scratch_directory_is_noticed(target: Target) -> None:
    with pytest.raises(AssertionError, match="it reached beyond its directory"):
        targets.run(target, b"")


def test_what_stays_within_is_no_reach(tmp_path: Path) -> None:
    with confined(tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_text("x")
        (tmp_path / "a" / "b").rename(tmp_path / "c")
