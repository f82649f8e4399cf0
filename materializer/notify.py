"""One note to the person through the desktop, and the truth about whether it worked.

plyer runs `notify-send` (or dbus-python) and tells nobody how that went, so on Linux
the notification service is asked first: it must answer. Where it also lets a note be
clicked, it gets the note from us, since plyer knows nothing of clicks. All that is
done by a thread, since it blocks. plyer's module is loaded past its own proxy, which
prints tracebacks and remembers for ever that something was missing.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from materializer.desktop import Desktop, Unavailable
from materializer.wording import Note, shown

log = logging.getLogger(__name__)

_PATIENCE = 3.0
_TITLE_LENGTH = 80
_BODY_LENGTH = 240
_PLATFORMS = {"linux": "linux", "darwin": "macosx", "win32": "win"}
# Each note that can be clicked keeps a thread and a connection.
_CLICKABLE = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """How it went.

    Attributes:
        shown: whether the desktop has taken the note: its service has given it a
            number; or it answers, and plyer has handed the note over without an error.
            Whether `notify-send` itself failed after that, plyer does not tell.
        channel: what was tried.
        reason: why it was not shown, in words.
    """

    shown: bool
    channel: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Click:
    """What happens when a note is clicked: in words, and, in any thread, indeed."""

    words: str
    do: Callable[[], None]


class _Answer:
    """What a thread has to say to a loop, which may have ended meanwhile."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Shown] = asyncio.get_running_loop().create_future()
        self.given = threading.Event()

    def give(self, outcome: Shown) -> None:
        self.given.set()
        with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            self.outcome.get_loop().call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Shown) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Notifier:
    """Shows notes, one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._hanging: _Answer | None = None
        self._clickable: deque[Desktop] = deque()

    async def show(self, note: Note, click: Click | None = None) -> Shown:
        """Show a note; takes 3 s at most once it is its turn, and never raises.

        It can be clicked where the desktop knows of clicks, the newest eight at least.
        """
        async with self._turn:
            if self._hanging is not None and not self._hanging.given.is_set():
                return Shown(False, "plyer", "the last notification still hangs")
            answer = _Answer()
            # Not of the executor: a thread that hangs there would hold up our end.
            threading.Thread(
                target=self._work, args=(note, click, answer), daemon=True
            ).start()
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await answer.outcome
            except TimeoutError:
                self._hanging = answer
                return Shown(False, "plyer", f"no answer in {_PATIENCE:g} seconds")

    def _work(self, note: Note, click: Click | None, answer: _Answer) -> None:
        try:
            if sys.platform == "linux":
                with closing(Desktop()) as desktop:
                    self._show_there(desktop, note, click, answer)
            else:
                _show_by_plyer(note, markup=False)
                answer.give(Shown(True, "plyer"))
        except Unavailable as error:
            answer.give(Shown(False, "plyer", f"unavailable: {error}"))
        except Exception as error:  # noqa: BLE001 - nothing a desktop does may stop us
            reason = f"failed: {type(error).__name__}: {error}"
            answer.give(Shown(False, "plyer", reason))

    def _show_there(
        self, desktop: Desktop, note: Note, click: Click | None, answer: _Answer
    ) -> None:
        markup = "body-markup" in desktop.capabilities
        if click is None or "actions" not in desktop.capabilities:
            _show_by_plyer(note, markup=markup)
            answer.give(Shown(True, "plyer"))
            return
        number = desktop.show(*_fit(note, markup=markup), click.words)
        answer.give(Shown(True, "the desktop"))
        self._clickable.append(desktop)
        while len(self._clickable) > _CLICKABLE:
            self._clickable.popleft().hang_up()
        if desktop.clicked(number):
            try:
                click.do()
            except Exception as error:  # noqa: BLE001 - as above
                log.warning("%s", error)


def obstacle() -> str | None:
    """Return why a Linux desktop shows no notes, in words, or None; it blocks."""
    try:
        with closing(Desktop()):
            _channel()
    except Unavailable as error:
        return str(error)
    return None


def _show_by_plyer(note: Note, *, markup: bool) -> None:
    title, body = _fit(note, markup=markup)
    channel = _channel()
    if type(channel).__name__ == "NotifySendNotification":
        # notify-send reads backslash escapes in the body.
        body = body.replace("\\", "\\\\")
    channel.notify(title=title, message=body, app_name="Stella")


def _channel() -> Any:
    channel = _plyer()
    kind = type(channel).__name__
    if kind == "Notification":
        raise Unavailable("notify-send is not installed")
    if kind == "NotifyDesktopPortals":
        raise Unavailable("plyer cannot quote text for the desktop portal")
    return channel


def _plyer() -> Any:
    # plyer warns of each library that it would have liked better.
    warnings.filterwarnings("ignore", module=r"plyer\.")
    platform = _PLATFORMS.get(sys.platform, sys.platform)
    module = importlib.import_module(f"plyer.platforms.{platform}.notification")
    return module.instance()


def _fit(note: Note, *, markup: bool) -> tuple[str, str]:
    title, body = _line(note.title, _TITLE_LENGTH), _line(note.body, _BODY_LENGTH)
    if markup:
        # Its table of entities takes half a MiB, and most notes go to no desktop.
        from html import escape

        body = escape(body, quote=False)
    return title, body


def _line(text: str, length: int) -> str:
    line = " ".join(shown(text).split())
    if len(line) > length:
        line = line[: length - 1] + "…"
    # What starts with a dash would be an option of notify-send.
    return f" {line}" if line.startswith("-") else line
