import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "scripts/bench",
    "scripts/build-sidecar",
    "scripts/chaos",
    "scripts/check",
    "scripts/demo",
    "scripts/lock",
    "scripts/packages",
    "scripts/screenshot",
    "scripts/simulate",
    "scripts/soak",
    "scripts/test",
    "scripts/vendor",
    ".ci/run",
)

# Says the least that pip takes for a project, so that nothing is downloaded.
BACKEND = """
import zipfile

def build_editable(directory, settings=None, metadata=None):
    name = "tiny-1-py3-none-any.whl"
    info = "tiny-1.dist-info/"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("tiny.py", "import sys\\ndef main(): print(sys.argv[1:])")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\n"
                       "Version: 1\\nProvides-Extra: dev\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: tiny\\n"
                       "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "entry_points.txt", "[console_scripts]\\n"
                       "stella-materializer = tiny:main\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
posix = pytest.mark.skipif("sys.platform == 'win32'", reason="sh is not there")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the scripts beside a tiny project, to a place with spaces."""
    place = tmp_path / "a place with spaces"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    (place / "pyproject.toml").write_text(PYPROJECT)
    (place / "backend.py").write_text(BACKEND)
    return place


def bootstrap(project: Path, lie: str = "pass") -> subprocess.CompletedProcess[str]:
    script = project / "scripts" / "bootstrap.py"
    code = (
        f"import runpy, sys; del sys.argv[0]; {lie};"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@posix
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_run_and_stops_at_the_first_error(script: str) -> None:
    path = ROOT / script
    first, *rest = path.read_text("utf-8").splitlines()

    assert os.access(path, os.X_OK)
    assert first == "#!/bin/sh -e" or (first, "set -euo pipefail") == (
        "#!/bin/bash",
        next(line for line in rest if not line.startswith("#")),
    )


def test_every_shell_script_is_linted() -> None:
    held = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    shell = {f"scripts/{path.name}" for path in held if not path.suffix}
    check = (ROOT / "scripts/check").read_text("utf-8")

    linted = next(line for line in check.splitlines() if '/shellcheck"' in line)
    assert shell | {".ci/run"} == {*linted.split()[3:]} == {*SCRIPTS}


def test_an_old_python_is_told_which_one_is_needed(project: Path) -> None:
    done = bootstrap(project, "sys.version_info = (3, 9, 2)")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("bootstrap: Python 3.11 or newer is needed, but ")
    assert done.stderr.count("\n") == 1
    assert not (project / ".venv").exists()


def test_a_python_without_environments_is_told_what_to_install(project: Path) -> None:
    done = bootstrap(project, "sys.modules['ensurepip'] = None")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot make virtual environments; on Debian" in done.stderr
    assert done.stderr.rstrip().endswith("apt install python3-venv")
    assert not (project / ".venv").exists()


@posix
def test_the_demo_installs_once_and_passes_its_arguments_on(
    project: Path, tmp_path: Path
) -> None:
    def demo() -> tuple[str, list[str]]:
        done = subprocess.run(
            [project / "scripts" / "demo", "--headless", "two words"],
            cwd=tmp_path,
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        return done.stdout.strip(), done.stderr.splitlines()

    arguments = "['demo', '--headless', 'two words']"
    installs = "bootstrap: installing the project: a minute, this once"
    assert demo() == (arguments, [f"bootstrap: making {project / '.venv'}", installs])
    assert demo() == (arguments, [])

    (project / "pyproject.toml").write_text(f"{PYPROJECT}\n# changed\n")
    assert demo() == (arguments, [installs])


@posix
def test_a_project_that_was_moved_gets_a_new_environment(project: Path) -> None:
    assert bootstrap(project).returncode == 0
    moved = project.rename(project.with_name("moved"))

    done = bootstrap(moved)

    assert done.stdout == f"{moved / '.venv' / 'bin'}\n"
    assert done.stderr.startswith(f"bootstrap: making {moved / '.venv'}\n")
    shebang = (moved / ".venv/bin/stella-materializer").read_bytes()
    assert bytes(moved) in shebang


@posix
def test_what_cannot_be_installed_is_tried_again(project: Path) -> None:
    (project / "backend.py").rename(project / "away.py")
    failed = bootstrap(project)
    (project / "away.py").rename(project / "backend.py")

    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.endswith(
        "pip could not install what is needed; it said why above\n"
    )
    assert bootstrap(project).returncode == 0
