from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from materializer.errors import MaterializerError
from materializer.opener import open_on_desktop

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="no programs there")

Desktop = Callable[[str], None]


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    """Let a shell script be what opens things."""
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    program = tmp_path / ("open" if sys.platform == "darwin" else "xdg-open")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))

    def make(script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)

    return make


def test_the_desktop_gets_the_path_as_one_word_and_nothing_more(
    tmp_path: Path, desktop: Desktop
) -> None:
    desktop('printf "%s|" "$#" "$1" >"$MARK"')
    path = tmp_path / "a $(b); 'c'"
    open_on_desktop(path)
    assert (tmp_path / "mark").read_text() == f"1|{path}|"


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_within_a_service_of_systemd_it_is_opened_outside(
    tmp_path: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop("exit 3")
    starter = tmp_path / "systemd-run"
    starter.write_text('#!/bin/sh\nprintf "%s|" "$@" >"$MARK"\n')
    starter.chmod(0o700)
    monkeypatch.setenv("INVOCATION_ID", "ab")
    open_on_desktop(tmp_path)
    said = f"--user|--collect|--quiet|xdg-open|{tmp_path}|"
    assert (tmp_path / "mark").read_text() == said
    starter.unlink()
    with pytest.raises(MaterializerError):
        open_on_desktop(tmp_path)


def test_a_desktop_that_cannot_is_told_of(tmp_path: Path, desktop: Desktop) -> None:
    desktop("exit 3")
    with pytest.raises(MaterializerError, match=f"could not open {tmp_path}"):
        open_on_desktop(tmp_path)


def test_where_nothing_opens_things_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MaterializerError, match=f"opens {tmp_path}"):
        open_on_desktop(tmp_path)


def test_an_opener_that_stays_is_not_waited_for(
    tmp_path: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.opener._PATIENCE", 0.1)
    with subprocess.Popen(["sleep", "30"]) as sleep:
        # It waits for another process, which this test ends.
        desktop(f'while kill -0 {sleep.pid}; do /bin/sleep 0.05; done; >"$MARK"')
        open_on_desktop(tmp_path)
        assert not (tmp_path / "mark").exists()
        sleep.kill()
