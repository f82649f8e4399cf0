"""A desktop's session for tests: a bus, a display, and dunst, which shows notes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageGrab

from need import need

TOOLS = ("Xvfb", "dbus-daemon", "dunst", "dunstctl", "gdbus", "notify-send")

# The system's own configuration would start a service by itself.
_BUS_WITHOUT_SERVICES = """
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
</busconfig>
"""


@dataclass(frozen=True)
class Session:
    """Where the bus and the display are."""

    bus: str
    display: str

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to be in this session."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.bus, "DISPLAY": self.display}

    def dunst(self, *words: str) -> str:
        """Tell dunst what to do and return what it answers."""
        return subprocess.run(
            ["dunstctl", *words],
            env=os.environ | self.environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout

    def history(self) -> list[tuple[str, str]]:
        """Return title and body of all notes so far, the newest first.

        They are taken off the display.
        """
        self.dunst("close-all")
        [notes] = json.loads(self.dunst("history"))["data"]
        return [(note["summary"]["data"], note["body"]["data"]) for note in notes]

    def on_display(self) -> int:
        """Return how many notes can be seen."""
        return int(self.dunst("count", "displayed"))

    def screenshot(self, path: Path) -> Image.Image:
        """Keep what the display shows as a picture."""
        picture = ImageGrab.grab(xdisplay=self.display)
        picture.save(path)
        return picture


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, text=True, stderr=subprocess.DEVNULL, **options
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def session_bus(directory: Path) -> Iterator[str]:
    """Run a bus on which nobody is; yield its address."""
    config = directory / "session.conf"
    config.write_text(_BUS_WITHOUT_SERVICES)
    command = "dbus-daemon", f"--config-file={config}", "--print-address", "--nofork"
    with running(*command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def session(directory: Path) -> Iterator[Session]:
    """Run a session in which dunst has the name of the notification service."""
    need(*TOOLS)
    with (
        running("Xvfb", "-displayfd", "1", stdout=subprocess.PIPE) as screen,
        session_bus(directory) as address,
    ):
        assert screen.stdout is not None
        made = Session(address, f":{screen.stdout.readline().strip()}")
        with dunst(made, directory):
            yield made


@contextmanager
def dunst(session: Session, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run dunst in a session until the block ends."""
    rules = {"notification_limit": "0", "markup": "full"}
    config = directory / "dunstrc"
    lines = [f"    {key} = {value}" for key, value in rules.items()]
    config.write_text("\n".join(["[global]", *lines, ""]))
    environ = os.environ | session.environ
    command = "dunst", "-config", str(config)
    with running(*command, stdout=subprocess.DEVNULL, env=environ) as process:
        wait = "gdbus", "wait", "--session", "--timeout=20"
        subprocess.run(
            [*wait, "org.freedesktop.Notifications"], env=environ, check=True
        )
        yield process
