"""One note to the person through the desktop, and the truth about whether it worked.

plyer runs `notify-send` (or dbus-python) and tells nobody how that went, so on Linux
the notification service is asked first, through jeepney: it must answer. plyer's part
is done by a thread, since it blocks. Its module is loaded past its own proxy, which
prints tracebacks and remembers for ever that something was missing.
"""

from __future__ import annotations

import asyncio
import html
import importlib
import os
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from materializer.wording import Note, shown

_PATIENCE = 3.0
_QUESTION_TIME = 2.0
_TITLE_LENGTH = 80
_BODY_LENGTH = 240
_PLATFORMS = {"linux": "linux", "darwin": "macosx", "win32": "win"}


@dataclass(frozen=True, slots=True)
class Shown:
    """How it went.

    Attributes:
        shown: whether the desktop has taken the note: its service answers, and plyer
            has handed the note over without an error. Whether `notify-send` itself
            failed after that, plyer does not tell.
        channel: what was tried.
        reason: why it was not shown, in words.
    """

    shown: bool
    channel: str
    reason: str | None = None


class _Unavailable(Exception):
    pass


class Notifier:
    """Shows notes, one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._hanging: threading.Thread | None = None

    async def show(self, note: Note) -> Shown:
        """Show a note; takes 3 s at most once it is its turn, and never raises."""
        async with self._turn:
            if self._hanging is not None and self._hanging.is_alive():
                return Shown(False, "plyer", "the last notification still hangs")
            done: asyncio.Future[Shown] = asyncio.get_running_loop().create_future()
            # Not of the executor: a thread that hangs there would hold up our end.
            thread = threading.Thread(target=_work, args=(note, done), daemon=True)
            thread.start()
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await done
            except TimeoutError:
                self._hanging = thread
                return Shown(False, "plyer", f"no answer in {_PATIENCE:g} seconds")


def _work(note: Note, done: asyncio.Future[Shown]) -> None:
    try:
        _show(note)
        outcome = Shown(True, "plyer")
    except _Unavailable as error:
        outcome = Shown(False, "plyer", f"unavailable: {error}")
    except Exception as error:  # noqa: BLE001 - nothing a desktop does may stop us
        outcome = Shown(False, "plyer", f"failed: {type(error).__name__}: {error}")
    with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
        done.get_loop().call_soon_threadsafe(_settle, done, outcome)


def _settle(done: asyncio.Future[Shown], outcome: Shown) -> None:
    if not done.done():
        done.set_result(outcome)


def _show(note: Note) -> None:
    markup = sys.platform == "linux" and "body-markup" in _capabilities()
    title, body = _line(note.title, _TITLE_LENGTH), _line(note.body, _BODY_LENGTH)
    if markup:
        body = html.escape(body, quote=False)
    channel = _plyer()
    kind = type(channel).__name__
    if kind == "Notification":
        raise _Unavailable("notify-send is not installed")
    if kind == "NotifyDesktopPortals":
        raise _Unavailable("plyer cannot quote text for the desktop portal")
    if kind == "NotifySendNotification":
        # notify-send reads backslash escapes in the body.
        body = body.replace("\\", "\\\\")
    channel.notify(title=title, message=body, app_name="Stella")


def _capabilities() -> list[str]:
    """Ask the notification service what it can do, which starts it where need be."""
    from jeepney import DBusAddress, DBusErrorResponse, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.wrappers import unwrap_msg

    service = DBusAddress(
        "/org/freedesktop/Notifications",
        bus_name="org.freedesktop.Notifications",
        interface="org.freedesktop.Notifications",
    )
    try:
        with open_dbus_connection(_bus()) as bus:
            question = new_method_call(service, "GetCapabilities")
            reply = bus.send_and_get_reply(question, timeout=_QUESTION_TIME)
            [capabilities] = unwrap_msg(reply)
    except DBusErrorResponse as error:
        raise _Unavailable(f"no notification service ({error.name})") from error
    except TimeoutError as error:
        raise _Unavailable("the notification service does not answer") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise _Unavailable(f"no session bus ({error})") from error
    return list(capabilities)


def _bus() -> str:
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise _Unavailable("no session bus")
    return f"unix:path={runtime}/bus"


def _plyer() -> Any:
    # plyer warns of each library that it would have liked better.
    warnings.filterwarnings("ignore", module=r"plyer\.")
    platform = _PLATFORMS.get(sys.platform, sys.platform)
    module = importlib.import_module(f"plyer.platforms.{platform}.notification")
    return module.instance()


def _line(text: str, length: int) -> str:
    line = " ".join(shown(text).split())
    if len(line) > length:
        line = line[: length - 1] + "…"
    # What starts with a dash would be an option of notify-send.
    return f" {line}" if line.startswith("-") else line
