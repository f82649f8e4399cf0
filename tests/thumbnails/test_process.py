from __future__ import annotations

import asyncio
import io
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from PIL import Image

from materializer.thumbnails import process

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="it has no limits")


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[list[int]]:
    path = tmp_path / "picture.png"
    Image.new("RGB", (900, 300)).save(path)
    files = [path.open("rb") for _ in range(3)]
    yield [file.fileno() for file in files]
    for file in files:
        file.close()


def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str) -> None:
    """Let something else stand in for the interpreter that runs the maker."""
    play_it = tmp_path / "play.py"
    play_it.write_text(f"import os, sys, time\n{does}\n")
    actor = tmp_path / "actor"
    run = shlex.join((sys.executable, str(play_it)))
    actor.write_text(f'#!/bin/sh\nexec {run} "$@"\n')
    actor.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(actor))


async def heard(of: AsyncGenerator[bytes, None]) -> list[bytes]:
    async with asyncio.timeout(20), aclosing(of) as previews:
        return [preview async for preview in previews]


async def test_every_picture_gets_its_preview_from_one_process(
    pictures: list[int],
) -> None:
    previews = await heard(process.previews(pictures))
    assert len(previews) == 3
    for preview in previews:
        assert Image.open(io.BytesIO(preview)).size == (512, 171)


async def test_the_process_is_told_no_token(
    pictures: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLA_TOKEN", "secret")
    told = tmp_path / "told"
    play(monkeypatch, tmp_path, f"open({str(told)!r}, 'w').write(str(os.environ))")
    assert await heard(process.previews(pictures)) == []
    assert "PATH" in told.read_text()
    assert "secret" not in told.read_text()


async def test_what_lies_about_is_not_taken_for_a_library(
    pictures: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PIL.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert len(await heard(process.previews(pictures))) == 3


async def test_nothing_is_heard_of_a_maker_that_cannot_start(
    pictures: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, tmp_path, "raise ImportError('PIL is broken')")
    assert await heard(process.previews(pictures)) == []


@pytest.mark.parametrize(
    "does",
    [
        "os.kill(os.getpid(), 9)",
        "print(2**40, flush=True); time.sleep(60)",
        "print(9, flush=True)",
        "print('ha', flush=True); time.sleep(60)",
        "time.sleep(60)",
    ],
    ids=["it is killed", "too long", "cut short", "no number", "silent"],
)
async def test_the_picture_over_which_it_fails_is_the_last_that_is_heard_of(
    pictures: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    monkeypatch.setattr(process, "PATIENCE", 2.0)
    play(
        monkeypatch,
        tmp_path,
        f"print('ready\\n2\\nok', end='', flush=True); {does}",
    )
    assert await heard(process.previews(pictures)) == [b"ok", b""]


async def test_it_does_not_outlive_who_stops_listening(
    pictures: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path / "number"
    play(
        monkeypatch,
        tmp_path,
        f"open({str(number)!r}, 'w').write(str(os.getpid()))\n"
        "print('ready\\n2\\nok', end='', flush=True); time.sleep(60)",
    )
    async with aclosing(process.previews(pictures)) as previews:
        assert await anext(previews) == b"ok"
        os.kill(int(number.read_text()), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), signal.SIGKILL)


def test_without_pillow_none_are_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.is_possible()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert not process.is_possible()
