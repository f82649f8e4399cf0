"""Makes the project's virtual environment, once; for every system.

    python3 scripts/bootstrap.py [DEPENDENCY-GROUP ...]

Tells on standard error what it does, and prints the directory of the environment's
programs on standard output. The second time there is nothing to do.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Older Pythons must get this far, so there is no newer syntax in this file.
if sys.version_info < (3, 11):  # noqa: UP036 - the project's metadata is not read yet
    sys.exit(
        f"bootstrap: Python 3.11 or newer is needed, but {sys.executable} is"
        f" {sys.version.split()[0]}; name a newer one: PYTHON=python3.12 scripts/demo"
    )

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "bootstrap.json"


def main(groups: list[str]) -> None:
    """Bring the environment up to date and print where its programs are."""
    made = {"place": str(VENV), "python": sys.version}
    wanted = hashlib.sha256((PROJECT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = json.loads(STAMP.read_text("utf-8")) if STAMP.exists() else {}

    if not PYTHON.exists() or (stamp and stamp["made"] != made):
        make()
        stamp = {}
    if stamp.get("wanted") != wanted or not {*groups} <= {*stamp["groups"]}:
        groups = sorted({*groups, *stamp.get("groups", [])})
        STAMP.unlink(missing_ok=True)
        install(groups)
        stamp = {"made": made, "wanted": wanted, "groups": groups}
        STAMP.write_text(json.dumps(stamp), "utf-8")
    sys.stdout.write(f"{PROGRAMS}\n")


def make() -> None:
    """Make an empty environment, in place of a broken or moved one."""
    say(f"making {VENV}")
    if not importlib.util.find_spec("ensurepip"):
        give_up(
            f"{sys.executable} cannot make virtual environments;"
            " on Debian and Ubuntu: apt install python3-venv"
        )
    if not run(sys.executable, "-m", "venv", "--clear", str(VENV)):
        shutil.rmtree(VENV, ignore_errors=True)
        give_up(f"{sys.executable} -m venv failed; it said why above")


def install(groups: list[str]) -> None:
    """Install the project with what it can need, and some dependency groups."""
    pip = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    project = ["--editable", ".[dev]", *(f"--group={group}" for group in groups)]
    say(f"installing {', '.join(['the project', *groups])}: a minute, this once")
    # Dependency groups are newer than the pip of many an environment.
    if (groups and not run(*pip, "pip>=25.1")) or not run(*pip, *project):
        give_up("pip could not install what is needed; it said why above")


def run(*command: str) -> bool:
    """Run a program in the project's directory; tell whether it succeeded."""
    done = subprocess.run(  # noqa: S603 - the commands are the ones above
        command, cwd=PROJECT, stdout=sys.stderr, check=False
    )
    return done.returncode == 0


def say(line: str) -> None:
    """Tell the person what happens."""
    sys.stderr.write(f"bootstrap: {line}\n")


def give_up(line: str) -> None:
    """Tell the person why nothing more happens."""
    say(line)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
