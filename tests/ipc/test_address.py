import re
from pathlib import Path

import pytest

from materializer.errors import SettingsInvalid
from materializer.ipc import address
from materializer.ipc.address import STDIO, Address


def test_a_chosen_address_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert Address.read("stdio://") == STDIO
    assert Address.read("unix:///run/x.sock") == Address("unix", "/run/x.sock")
    assert Address.read("unix://run/x.sock") == Address("unix", "/run/x.sock")


@pytest.mark.parametrize(
    "listen",
    ["", "stdio", "stdio:", "stdio://x", "unix://", "unix:/run/x", "/run/x", "tcp://x"],
)
def test_what_is_no_address_is_refused_in_words(listen: str) -> None:
    with pytest.raises(SettingsInvalid, match="it should be unix://PATH or stdio://"):
        Address.read(listen)


def test_a_pipe_is_for_windows() -> None:
    with pytest.raises(SettingsInvalid, match="unix://PATH"):
        Address.read("pipe://stella")


def test_on_windows_it_is_a_pipe_named_after_the_state_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(address, "HERE", "pipe")
    usual = Address.usual(Path("/home/a/.stella/state"))
    assert usual.path == r"\\.\pipe\stella-materializer-4a181d4ed76a6591"
    assert usual != Address.usual(Path("/home/b/.stella/state"))
    for listen in ("pipe://x", r"pipe://\\.\pipe\x"):
        assert Address.read(listen) == Address("pipe", r"\\.\pipe\x")
    with pytest.raises(SettingsInvalid, match=re.escape("pipe://NAME or stdio://")):
        Address.read("unix:///run/x.sock")
    assert Address.read("stdio://") == STDIO


def test_the_usual_socket_lies_in_a_directory_that_only_we_can_enter(
    tmp_path: Path,
) -> None:
    usual = Address.usual(tmp_path)
    directory = tmp_path / "materializer"
    assert usual == Address("unix", str(directory / "materializer.sock"), chosen=False)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_the_socket_of_a_long_path_lies_with_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    states = [tmp_path / ("long " * 30) / name for name in ("a", "b")]
    paths = [Path(Address.usual(state).path) for state in states]
    assert paths[0] != paths[1]
    for state, path in zip(states, paths, strict=True):
        assert path.parent.parent == tmp_path
        assert path.parent.stat().st_mode & 0o777 == 0o700
        address.tidy(state)
        assert not path.parent.exists()
        address.tidy(state)


def test_a_directory_that_still_holds_something_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    state = tmp_path / ("long " * 30)
    Path(Address.usual(state).path).write_text("")
    address.tidy(state)
    assert Path(Address.usual(state).path).exists()
