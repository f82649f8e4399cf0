"""What cannot be used is one line that says so, exit 2, and nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from process.house import MATERIALIZER, ended, environment

# What is called; with which variables; what its one line must say.
UNUSABLE: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "URL of another scheme": (
        "run --convex-url ftp://happy.example",
        {},
        ("--convex-url", "'ftp://happy.example'", "https"),
    ),
    "URL without a host": ("run --convex-url https://", {}, ("--convex-url", "host")),
    "URL in a variable": (
        "run",
        {"STELLA_CONVEX_URL": "nonsense"},
        ("STELLA_CONVEX_URL", "'nonsense'", "https"),
    ),
    "site that would get the token unencrypted": (
        "run --site-url http://happy.example",
        {},
        ("--site-url", "an https URL"),
    ),
    "state directory that is a file": (
        "run --state-dir a-file",
        {},
        ("a-file cannot hold the state", "Not a directory", "--state-dir"),
    ),
    "state directory below a file": (
        "run --state-dir a-file/state",
        {},
        ("a-file/state cannot hold the state", "--state-dir"),
    ),
    "config file that is no TOML": (
        "run --config broken.toml",
        {},
        ("broken.toml is not usable", "line 1"),
    ),
    "config file with an unknown key": (
        "run --config unknown.toml",
        {},
        ("'opne_policy'", "did you mean open_policy?"),
    ),
    "config file with an unusable value": (
        "run --config value.toml",
        {},
        ("value.toml: open_policy is 'shut'", "'open', 'register' or 'never'"),
    ),
    "config file that is not there": (
        "run --config missing.toml",
        {},
        ("--config", "there is no 'missing.toml'"),
    ),
    "token in a variable": (
        "run",
        {"STELLA_AUTH_TOKEN": "s3cret"},
        ("the token from the environment", "no JWT", "get a fresh one"),
    ),
    "token in a file": (
        "run --token-file garbage",
        {},
        ("the token file", "garbage", "no JWT", "get a fresh one"),
    ),
    "token file with broken JSON": (
        "run --token-file broken.json",
        {},
        ("the token file", "broken.json holds broken JSON"),
    ),
    "token command that fails": (
        "run --token-command false",
        {},
        ("the token command failed with exit code 1",),
    ),
    "duration": (
        "run --fresh-window soon",
        {},
        ("--fresh-window is 'soon'", "a duration such as"),
    ),
    "duration in a variable": (
        "run",
        {"STELLA_MATERIALIZER_IDLE_TIMEOUT": "0"},
        ("STELLA_MATERIALIZER_IDLE_TIMEOUT is '0'", "longer than nothing"),
    ),
    "time to look back": ("run --since yore", {}, ("--since is 'yore'", "ALL")),
    "size": ("run --max-bytes image", {}, ("--max-bytes", "image=20MiB")),
    "unknown variable": (
        "run",
        {"STELLA_MATERIALIZER_OPEN_POLICI": "open"},
        ("'STELLA_MATERIALIZER_OPEN_POLICI'", "STELLA_MATERIALIZER_OPEN_POLICY?"),
    ),
    "flag": ("run --frob", {}, ("Unknown argument: --frob",)),
    "flag without its value": ("run --since", {}, ("--since", "argument")),
    "argument too many": ("run frob", {}, ("too many", "--help")),
    "command": ("frob", {}, ("Unknown command: frob",)),
    "command of a family": ("gallery frob", {}, ("Unknown command: frob",)),
    "page size": ("gallery list --limit 0", {}, ("--limit", "0", "500")),
    "directory of the demo": ("demo --state-dir a-file", {}, ("a-file", "file")),
    "directory of the backend": ("dev --state a-file", {}, ("a-file", "file")),
}
FILES = {
    "a-file": "",
    "broken.toml": 'open_policy = = "open"',
    "unknown.toml": 'opne_policy = "open"',
    "value.toml": 'open_policy = "shut"',
    "garbage": "s3cret",
    "broken.json": '{"token": "s3cret"',
}


def tree(root: Path) -> dict[str, str | None]:
    return {
        path.relative_to(root).as_posix(): path.read_text() if path.is_file() else None
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("name", UNUSABLE)
async def test_what_is_unusable_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    command, variables, words = UNUSABLE[name]
    for file, content in FILES.items():
        (tmp_path / file).write_text(content)
    before = tree(tmp_path)
    environ = environment(tmp_path) | variables
    end = await ended(tmp_path, environ, *MATERIALIZER, *command.split())
    assert (end.code, end.out) == (2, ""), end.err
    [line] = end.err.splitlines()
    assert [word for word in words if word not in line] == [], line
    assert "s3cret" not in line
    assert tree(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs a /proc that nobody fills")
async def test_a_directory_that_takes_nothing_is_told_in_one_line(
    tmp_path: Path,
) -> None:
    command = (*MATERIALIZER, "run", "--state-dir", "/proc/stella")
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert (end.code, end.out) == (2, "")
    [line] = end.err.splitlines()
    assert line.startswith("/proc/stella cannot hold the state: ")
    assert line.endswith("choose another directory with --state-dir")


@pytest.mark.parametrize(
    "command", ["status", "status --json", "watch", "watch --json"]
)
async def test_without_a_daemon_it_is_told_how_to_start_one(
    tmp_path: Path, command: str
) -> None:
    end = await ended(tmp_path, environment(tmp_path), *MATERIALIZER, *command.split())
    assert (end.code, end.out) == (1, "")
    [line] = end.err.splitlines()
    assert "no daemon runs here" in line
    assert "stella-materializer run" in line
    assert tree(tmp_path) == {}
