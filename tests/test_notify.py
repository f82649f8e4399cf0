"""Under a real notification service where one is installed: dunst, on a display."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import session_desktop
from materializer import notify
from materializer.desktop import Desktop
from materializer.errors import MaterializerError
from materializer.notify import Click, Notifier, Shown
from materializer.wording import Note
from need import need
from session_desktop import TOOLS, Session, session_bus

SHOWN = Shown(shown=True, channel="plyer")

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is Linux's")


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a session bus on which nobody is."""
    need(*TOOLS)
    with session_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session with a notification service."""
    with session_desktop.session(tmp_path_factory.mktemp("session")) as made:
        yield made


@pytest.fixture
def desktop(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name, value in session.environ.items():
        monkeypatch.setenv(name, value)
    return session


async def show(title: str, body: str) -> Shown:
    return await Notifier().show(Note(title, body))


@only_linux
async def test_a_note_is_shown_and_nothing_is_printed(
    desktop: Session,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert await show("Video generation failed", "Quota exceeded") == SHOWN
    assert capfd.readouterr() == ("", "")
    assert desktop.history()[0] == ("Video generation failed", "Quota exceeded")


@only_linux
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
    desktop: Session, title: str, body: str, seen: tuple[str, str]
) -> None:
    assert await show(title, body) == SHOWN
    assert desktop.history()[0] == seen


@only_linux
async def test_long_text_is_cut_and_never_inside_an_escape(desktop: Session) -> None:
    assert await show("t" * 100, "&" * 500) == SHOWN
    assert desktop.history()[0] == ("t" * 79 + "…", "&amp;" * 239 + "…")


@only_linux
@pytest.mark.parametrize(
    ("note", "seen"),
    [
        (Note("--help", "<b>bold</b>"), (" --help", "&lt;b&gt;bold&lt;/b&gt;")),
        (Note("a\\nb", "C:\\new \\x41"), ("a\\nb", "C:\\new \\x41")),
        (Note("one\ntwo", "&" * 500), ("one two", "&amp;" * 239 + "…")),
    ],
)
async def test_a_note_that_can_be_clicked_is_the_same_text_and_does_it(
    desktop: Session, note: Note, seen: tuple[str, str]
) -> None:
    clicked = threading.Event()
    shown = await Notifier().show(note, Click("Open the folder", clicked.set))
    assert shown == Shown(True, "the desktop")
    assert not clicked.is_set()
    desktop.dunst("action")
    assert await asyncio.to_thread(clicked.wait, 10)
    assert desktop.history()[0] == seen


@only_linux
async def test_the_newest_eight_can_be_clicked_and_no_more_is_kept(
    desktop: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.history()
    before = threading.active_count()
    notifier = Notifier()
    for n in range(10):
        assert (await notifier.show(Note(f"n{n}", ""), Click("Open", print))).shown
    async with asyncio.timeout(10):
        while threading.active_count() > before + 8:  # noqa: ASYNC110 -- no bell
            await asyncio.sleep(0.01)
    desktop.history()
    async with asyncio.timeout(10):
        while threading.active_count() > before:  # noqa: ASYNC110 -- no bell
            await asyncio.sleep(0.01)
    assert len(notifier._clickable) == 8


@only_linux
@pytest.mark.usefixtures("desktop")
async def test_a_service_without_actions_gets_it_by_plyer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Desktop, "show", lambda *_: pytest.fail("it has no actions"))
    ask = Desktop.__init__

    def plain(self: Desktop) -> None:
        ask(self)
        self.capabilities -= {"actions"}

    monkeypatch.setattr(Desktop, "__init__", plain)
    assert await Notifier().show(Note("t", "b"), Click("Open", print)) == SHOWN


@only_linux
async def test_a_click_that_leads_nowhere_is_logged_and_stops_nothing(
    desktop: Session, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Event()

    def fail() -> None:
        tried.set()
        raise MaterializerError("Nothing on this computer opens it.")

    desktop.history()
    notifier = Notifier()
    await notifier.show(Note("t", "b"), Click("Open", fail))
    desktop.dunst("action")
    assert await asyncio.to_thread(tried.wait, 10)
    assert await notifier.show(Note("t", "b")) == SHOWN
    async with asyncio.timeout(10):
        while not caplog.records:  # noqa: ASYNC110 -- no bell
            await asyncio.sleep(0.01)
    assert caplog.messages == ["Nothing on this computer opens it."]


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
    await asyncio.to_thread(notifier._hanging.given.wait, 10)
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
