"""Atheris, which sees the branches that an input takes, looks for what does harm.

For another length than 20 seconds each:
STELLA_FUZZ_SECONDS=600 scripts/test --long tests/fuzz
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = int(os.environ.get("STELLA_FUZZ_SECONDS", "20"))
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-len_control=0")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(SECONDS + 120),
    pytest.mark.skipif("sys.platform != 'linux'", reason="atheris is Linux's"),
]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install atheris, which only these tests need, beside the environment."""
    folder = tmp_path_factory.mktemp("atheris")
    pinned = ROOT / "requirements" / "fuzz.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run(
        [*command, "--target", folder, "--requirement", pinned], check=True, timeout=100
    )
    path = os.pathsep.join(map(str, (HERE.parent, ROOT, folder)))
    return os.environ | {"PYTHONPATH": path}


def guided(
    name: str, tmp_path: Path, environ: dict[str, str], seconds: int = SECONDS
) -> subprocess.CompletedProcess[str]:
    new = tmp_path / "new"
    new.mkdir()
    return subprocess.run(
        [
            *(sys.executable, "-m", "fuzz.guided", name, *LIMITS),
            *(f"-max_total_time={seconds}", f"-dict={HERE / 'words.dict'}"),
            *(f"-artifact_prefix={tmp_path}/", new, HERE / "corpus" / name),
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds + 60,
        check=False,
    )


@pytest.mark.parametrize("name", TARGETS)
def test_the_search_finds_nothing(
    name: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    searched = guided(name, tmp_path, environ)
    assert searched.returncode == 0, searched.stderr[-4000:]
    assert "DONE" in searched.stderr


def test_the_search_finds_what_is_there_to_be_found(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Behind some branches, in a project that it has not seen before."""
    trap = tmp_path / "materializer"
    trap.mkdir()
    (trap / "__init__.py").write_text(
        "def read(data):\n"
        "    if data[:1] == b'S':\n"
        "        if data[1:2] == b't':\n"
        "            if data[2:3] == b'e':\n"
        "                raise ValueError('found')\n"
    )
    stage = tmp_path / "fuzz"
    stage.mkdir()
    (stage / "__init__.py").write_text("")
    (stage / "targets.py").write_text(
        "import materializer\n"
        "TARGETS = {'url': materializer.read}\n"
        "def run(target, data):\n"
        "    target(data)\n"
    )
    (stage / "guided.py").write_text((HERE / "guided.py").read_text())
    path = f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"
    searched = guided("url", tmp_path, environ | {"PYTHONPATH": path}, seconds=20)
    assert searched.returncode != 0
    assert "ValueError: found" in searched.stdout + searched.stderr
