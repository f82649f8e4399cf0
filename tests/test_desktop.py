"""Under a real notification service where one is installed: dunst, on a display."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import session_desktop
from materializer.desktop import Desktop, Unavailable
from need import need
from session_desktop import TOOLS, Session, session_bus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is Linux's")

SOON = 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with session_desktop.session(tmp_path_factory.mktemp("session")) as made:
        yield made


@pytest.fixture
def session(shared: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name, value in shared.environ.items():
        monkeypatch.setenv(name, value)
    shared.history()
    return shared


class Waiting:
    """A thread that waits for a click."""

    def __init__(self, desktop: Desktop, number: int) -> None:
        self._answers: list[bool] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(desktop.clicked(number)), daemon=True
        )
        self._thread.start()

    def answer(self) -> bool:
        self._thread.join(SOON)
        [answer] = self._answers
        return answer


def test_a_click_on_a_note_is_heard(session: Session) -> None:
    with closing(Desktop()) as desktop:
        assert "actions" in desktop.capabilities
        waiting = Waiting(desktop, desktop.show("Title", "body", "Open the folder"))
        session.dunst("action")
        assert waiting.answer() is True
    assert session.history()[0] == ("Title", "body")


def test_a_note_that_is_closed_was_not_clicked(session: Session) -> None:
    with closing(Desktop()) as desktop:
        waiting = Waiting(desktop, desktop.show("Title", "body", "Open the folder"))
        session.dunst("close")
        assert waiting.answer() is False


def test_a_click_on_another_note_is_none_on_this(session: Session) -> None:
    with closing(Desktop()) as desktop, closing(Desktop()) as other:
        first = Waiting(desktop, desktop.show("First", "", "Open"))
        second = Waiting(other, other.show("Second", "", "Open"))
        session.dunst("action")  # of the one that was shown first
        session.dunst("close-all")
        assert {first.answer(), second.answer()} == {True, False}


def test_who_waits_for_a_click_can_be_let_go_and_the_note_stays(
    session: Session,
) -> None:
    with closing(Desktop()) as desktop:
        waiting = Waiting(desktop, desktop.show("Title", "", "Open"))
        desktop.hang_up()
        assert waiting.answer() is False
    desktop.hang_up()
    assert session.on_display() == 1


def test_a_note_stays_until_the_person_has_seen_it(session: Session) -> None:
    with closing(Desktop()) as desktop:
        desktop.show("Title", "", "Open")
    session.dunst("close-all")
    [notes] = json.loads(session.dunst("history"))["data"]
    assert notes[0]["timeout"]["data"] == 0


def test_without_a_service_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(*TOOLS)
    with session_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        with pytest.raises(Unavailable, match="no notification service"):
            Desktop()


def test_a_service_that_goes_is_told_and_ends_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_desktop.session(tmp_path) as made:
        for name, value in made.environ.items():
            monkeypatch.setenv(name, value)
        desktop = Desktop()
        waiting = Waiting(desktop, desktop.show("Title", "", "Open"))
    assert waiting.answer() is False
    with pytest.raises(Unavailable, match="the notification service is gone"):
        desktop.show("Title", "", "Open")
    desktop.close()
