"""Under a real notification service where one is installed: dunst, on a display."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from materializer import notify
from materializer.notify import Notifier, Shown
from materializer.wording import Note
from need import need

TOOLS = ("Xvfb", "dbus-daemon", "dunst", "dunstctl", "gdbus", "notify-send")
SHOWN = Shown(shown=True, channel="plyer")

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is Linux's")

# The system's own configuration would start a service by itself.
BUS_WITHOUT_SERVICES = """
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
</busconfig>
"""


@contextlib.contextmanager
def running(*command: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # type: ignore[call-overload]
        command, text=True, stderr=subprocess.DEVNULL, **options
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def session_bus(directory: Path) -> Iterator[str]:
    config = directory / "session.conf"
    config.write_text(BUS_WITHOUT_SERVICES)
    command = "dbus-daemon", f"--config-file={config}", "--print-address", "--nofork"
    with running(*command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a session bus on which nobody is."""
    need(*TOOLS)
    with session_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a session bus with a notification service."""
    need(*TOOLS)
    with (
        running("Xvfb", "-displayfd", "1", stdout=subprocess.PIPE) as screen,
        session_bus(tmp_path_factory.mktemp("bus")) as address,
    ):
        assert screen.stdout is not None
        environment = {
            **os.environ,
            "DISPLAY": f":{screen.stdout.readline().strip()}",
            "DBUS_SESSION_BUS_ADDRESS": address,
        }
        wait = "gdbus", "wait", "--session", "--timeout=20"
        with running("dunst", stdout=subprocess.DEVNULL, env=environment):
            subprocess.run(
                [*wait, "org.freedesktop.Notifications"], env=environment, check=True
            )
            yield address


@pytest.fixture
def desktop(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", service)


def shown_last() -> tuple[str, str]:
    """What dunst has on its display, title and body, as it was given them."""
    subprocess.run(["dunstctl", "close-all"], check=True)
    history = subprocess.run(
        ["dunstctl", "history"], check=True, capture_output=True, text=True
    )
    newest = json.loads(history.stdout)["data"][0][0]
    return newest["summary"]["data"], newest["body"]["data"]


async def show(title: str, body: str) -> Shown:
    return await Notifier().show(Note(title, body))


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_a_note_is_shown_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert await show("Video generation failed", "Quota exceeded") == SHOWN
    assert capfd.readouterr() == ("", "")
    assert shown_last() == ("Video generation failed", "Quota exceeded")


@only_linux
@pytest.mark.usefixtures("desktop")
@pytest.mark.parametrize(
    ("title", "body", "seen"),
    [
        ("--help", "--version", (" --help", " --version")),
        (
            "<b>t</b>",
            "<b>bold</b> & 'so'",
            ("<b>t</b>", "&lt;b&gt;bold&lt;/b&gt; &amp; 'so'"),
        ),
        ("a\\nb", "C:\\new \\x41\\", ("a\\nb", "C:\\new \\x41\\")),
        ("one\ntwo\x1b[2J", "\tthree\r\n\u202efour", ("one two [2J", "three four")),
        ("$(id) `id`", "; %s ${HOME}", ("$(id) `id`", "; %s ${HOME}")),
        ("ü日本👩‍🎨", "\ud800x", ("ü日本👩‍🎨", "x")),
    ],
)
async def test_text_is_shown_as_text_whatever_is_in_it(
    title: str, body: str, seen: tuple[str, str]
) -> None:
    assert await show(title, body) == SHOWN
    assert shown_last() == seen


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_long_text_is_cut_and_never_inside_an_escape() -> None:
    assert await show("t" * 100, "&" * 500) == SHOWN
    assert shown_last() == ("t" * 79 + "…", "&amp;" * 239 + "…")


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_notes_shown_at_once_are_all_shown() -> None:
    notifier = Notifier()
    async with asyncio.TaskGroup() as tasks:
        shows = [tasks.create_task(notifier.show(Note(f"n{n}", ""))) for n in range(5)]
    assert [task.result() for task in shows] == [SHOWN] * 5


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_without_notify_send_it_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await show("t", "b") == Shown(
        False, "plyer", "unavailable: notify-send is not installed"
    )
    assert capfd.readouterr() == ("", "")


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_a_notify_send_that_hangs_is_given_up_and_not_piled_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate, script = tmp_path / "gate", tmp_path / "notify-send"
    os.mkfifo(gate)
    lay_script(script, f"exec cat {gate}")
    path = os.environ["PATH"]
    monkeypatch.setattr(notify, "_PATIENCE", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}:{path}")
    notifier = Notifier()
    first = await notifier.show(Note("t", "b"))
    second = await notifier.show(Note("t", "b"))
    assert first == Shown(False, "plyer", "no answer in 0.5 seconds")
    assert second == Shown(False, "plyer", "the last notification still hangs")
    await asyncio.to_thread(gate.write_bytes, b"")
    assert notifier._hanging is not None
    await asyncio.to_thread(notifier._hanging.join, 10)
    monkeypatch.setenv("PATH", path)
    assert await notifier.show(Note("t", "b")) == SHOWN


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_where_plyer_lacks_a_library_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notify, "_PLATFORMS", {"linux": "macosx"})
    outcome = await show("t", "b")
    assert (outcome.shown, outcome.reason) == (
        False,
        "failed: ModuleNotFoundError: No module named 'pyobjus'",
    )
    assert capfd.readouterr() == ("", "")


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_plyer_s_portal_that_quotes_nothing_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from plyer.platforms.linux import notification

    monkeypatch.setattr(notification, "instance", notification.NotifyDesktopPortals)
    assert await show("t", "'>, 'x': <'") == Shown(
        False, "plyer", "unavailable: plyer cannot quote text for the desktop portal"
    )


@only_linux
async def test_on_a_bus_without_a_service_it_is_not_shown(
    bus: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
    assert await show("t", "b") == Shown(
        False,
        "plyer",
        "unavailable: no notification service"
        " (org.freedesktop.DBus.Error.ServiceUnknown)",
    )
    assert capfd.readouterr() == ("", "")


@only_linux
@pytest.mark.parametrize(
    "address", [None, "", "unix:path=/nowhere", "nonsense", "tcp:host=x"]
)
async def test_without_a_bus_it_is_not_shown(
    address: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if address is None:
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    else:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    outcome = await show("t", "b")
    assert not outcome.shown
    assert outcome.reason is not None
    assert outcome.reason.startswith("unavailable: no session bus")
    assert capfd.readouterr() == ("", "")


@only_linux
async def test_a_bus_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen()
        assert await show("t", "b") == Shown(
            False, "plyer", "unavailable: the notification service does not answer"
        )


def lay_script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
