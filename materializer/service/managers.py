"""Who runs login services here: systemd, launchd, or the Windows task scheduler.

Each is asked through its own command; what that says in refusal is told as it came.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from materializer.errors import MaterializerError
from materializer.service import LABEL, files

_PATIENCE = 60.0
_TASK_NAME = "Stella Materializer"
_TASK_RUNS = "267009"
_FACTS = ("ActiveState", "MainPID", "StatusText", "Result", "ExecMainStatus")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service is doing, for a program and, in `words`, for a person."""

    installed: bool
    running: bool
    words: str


_ABSENT = Standing(installed=False, running=False, words="not installed")


class Manager(Protocol):
    """Whoever starts the daemon at login. Everything may be asked for repeatedly.

    Its methods raise MaterializerError, in the words of the system, when that refuses.
    """

    def text(self, command: Sequence[str]) -> str:
        """Return the file that describes the service."""

    def install(self, text: str) -> str:
        """Let every login start what the file describes; return where it is now."""

    def uninstall(self) -> None:
        """Stop the service, and let no login start it."""

    def start(self) -> None:
        """Start the service now."""

    def stop(self) -> None:
        """Stop the service until the next login, or start."""

    def standing(self) -> Standing:
        """Return how it is doing."""


class Systemd:
    """The user's systemd.

    Args:
        environ: says where its units are.
    """

    def __init__(self, environ: Mapping[str, str], home: Path) -> None:
        config = environ.get("XDG_CONFIG_HOME") or home / ".config"
        self._path = Path(config, "systemd", "user", files.UNIT)
        self._systemctl = _Tool("systemctl", "--user")

    def text(self, command: Sequence[str]) -> str:
        """Return the unit."""
        return files.unit(command)

    def install(self, text: str) -> str:
        """Write and enable the unit; return its path."""
        # Without a manager that answers, nothing is left lying about.
        self._systemctl.do("show", "--property=Version")
        _write(self._path, text)
        self._systemctl.do("daemon-reload")
        self._systemctl.do("enable", files.UNIT)
        return str(self._path)

    def uninstall(self) -> None:
        """Disable, stop and remove the unit."""
        if self._path.exists():
            self._systemctl.do("disable", "--now", files.UNIT)
            self._path.unlink()
            self._systemctl.do("daemon-reload")

    def start(self) -> None:
        """Start the unit; returns when clients are served."""
        self._systemctl.do("start", files.UNIT)

    def stop(self) -> None:
        """Stop the unit; returns when it has ended."""
        self._systemctl.do("stop", files.UNIT)

    def standing(self) -> Standing:
        """Return how the unit is doing."""
        if not self._path.exists():
            return _ABSENT
        asked = f"--property={','.join(_FACTS)}"
        told = self._systemctl.do("show", files.UNIT, asked).splitlines()
        facts = dict.fromkeys(_FACTS, "unknown")
        facts |= dict(line.split("=", 1) for line in told if "=" in line)
        state = facts["ActiveState"]
        words = {
            "active": f"running, process {facts['MainPID']}: {facts['StatusText']}",
            "failed": f"failed: {facts['Result']}, exit code {facts['ExecMainStatus']}",
        }
        return Standing(
            installed=True, running=state == "active", words=words.get(state, state)
        )


class Launchd:
    """The user's launchd."""

    def __init__(self, home: Path, uid: int) -> None:
        self._path = home / "Library" / "LaunchAgents" / files.AGENT
        self._errors = home / "Library" / "Logs" / "stella-materializer.log"
        self._domain = f"gui/{uid}"
        self._launchctl = _Tool("launchctl")

    @property
    def _service(self) -> str:
        return f"{self._domain}/{LABEL}"

    def text(self, command: Sequence[str]) -> str:
        """Return the agent."""
        return files.agent(command, self._errors)

    def install(self, text: str) -> str:
        """Write and enable the agent; return its path."""
        self._launchctl.do("enable", self._service)
        _write(self._path, text)
        return str(self._path)

    def uninstall(self) -> None:
        """Stop and remove the agent."""
        self.stop()
        self._path.unlink(missing_ok=True)

    def start(self) -> None:
        """Start the agent, which needs a person who is logged in at the screen."""
        if self._launchctl.ask("print", self._service) is None:
            self._launchctl.do("bootstrap", self._domain, str(self._path))
        else:
            self._launchctl.do("kickstart", self._service)

    def stop(self) -> None:
        """Stop the agent."""
        if self._launchctl.ask("print", self._service) is not None:
            self._launchctl.do("bootout", self._service)

    def standing(self) -> Standing:
        """Return how the agent is doing."""
        if not self._path.exists():
            return _ABSENT
        told = self._launchctl.ask("print", self._service) or ""
        if process := re.search(r"^\s*pid = (\d+)", told, re.MULTILINE):
            words = f"running, process {process[1]}"
        elif code := re.search(r"last exit code = (\d+)", told):
            words = f"not running, exit code {code[1]}; why: {self._errors}"
        else:
            words = "not running"
        return Standing(installed=True, running=bool(process), words=words)


class TaskScheduler:
    """The task scheduler of Windows.

    Args:
        user: at whose login, as DOMAIN\\NAME.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._schtasks = _Tool("schtasks")

    def text(self, command: Sequence[str]) -> str:
        """Return the task."""
        return files.task(command, self._user)

    def install(self, text: str) -> str:
        """Enter the task; return its name."""
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, files.TASK)
            path.write_text(text, "utf-16")
            self._schtasks.do("/Create", "/TN", _TASK_NAME, "/XML", str(path), "/F")
        return f"the task {_TASK_NAME!r}"

    def uninstall(self) -> None:
        """End and remove the task."""
        if self.standing().installed:
            self.stop()
            self._schtasks.do("/Delete", "/TN", _TASK_NAME, "/F")

    def start(self) -> None:
        """Run the task."""
        self._schtasks.do("/Run", "/TN", _TASK_NAME)

    def stop(self) -> None:
        """End the task, which kills; what was under way is gone on with later."""
        if self.standing().running:
            self._schtasks.do("/End", "/TN", _TASK_NAME)

    def standing(self) -> Standing:
        """Return how the task is doing."""
        query = ("/Query", "/TN", _TASK_NAME, "/V", "/FO", "CSV", "/NH")
        told = self._schtasks.ask(*query)
        if told is None:
            return _ABSENT
        # The state is a word of the system's language; the last result is a number.
        result = next(csv.reader(told.splitlines()), [""] * 7)[6]
        running = result == _TASK_RUNS
        words = "running" if running else f"not running, last result {result}"
        return Standing(installed=True, running=running, words=words)


class _Tool:
    """A command of the system."""

    def __init__(self, *command: str) -> None:
        self._command = command

    def do(self, *arguments: str) -> str:
        """Return what it says; raise MaterializerError with its words if it fails."""
        code, told, complaint = self._run(arguments)
        if code != 0:
            asked = " ".join((*self._command, *arguments[:1]))
            words = " ".join((complaint or told).split())
            raise MaterializerError(f"{asked}: {words or f'exit code {code}'}")
        return told

    def ask(self, *arguments: str) -> str | None:
        """Return what it says, or None when it fails."""
        code, told, _ = self._run(arguments)
        return told if code == 0 else None

    def _run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        name, *options = self._command
        path = shutil.which(name)
        if path is None:
            raise MaterializerError(
                f"There is no {name} here. `service --print` shows the file, for"
                " whatever starts programs at login on this computer."
            )
        try:
            done = subprocess.run(  # noqa: S603 -- the system's own, and no shell
                [path, *options, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MaterializerError(f"{name} does not work: {error}") from error
        return done.returncode, done.stdout, done.stderr


def _write(path: Path, text: str) -> None:
    """Write a file, which only this user can read: it may hold the token's command."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise MaterializerError(f"cannot write {path}: {error.strerror}") from error
