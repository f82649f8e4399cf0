"""The notification service of a Linux desktop, over D-Bus, which says what it did.

Everything here blocks. One object is one connection to the session bus: the service
tells clicks on a note to whoever has sent it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jeepney import Message

_PATIENCE = 2.0
_NAME = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"
_DEFAULT = "default"
_NEVER = 0
_NORMAL = 1


class Unavailable(Exception):
    """Nothing here can show a note; the text says why."""


class Desktop:
    """The service, which is started where need be.

    Attributes:
        capabilities: what it says that it can do.

    Raises:
        Unavailable: there is no bus, no service, or no answer.
    """

    def __init__(self) -> None:
        from jeepney.io.blocking import open_dbus_connection

        address = _bus()
        with _reasons("no session bus"):
            self._bus = open_dbus_connection(address)
        try:
            self.capabilities = frozenset(self._ask("GetCapabilities"))
        except Unavailable:
            self._bus.close()
            raise

    def show(self, title: str, body: str, action: str) -> int:
        """Show a note that does `action`, in words, when clicked; return its number.

        It stays until the person has seen it. `body` is markup where the service has
        the capability `body-markup`.

        Raises:
            Unavailable: the service did not take it.
        """
        from jeepney import MatchRule, message_bus

        for signal in ("ActionInvoked", "NotificationClosed"):
            rule = MatchRule(
                type="signal", sender=_NAME, interface=_NAME, member=signal, path=_PATH
            )
            self._call(message_bus.AddMatch(rule))
        hints = {"urgency": ("y", _NORMAL), "category": ("s", "transfer.error")}
        actions = [_DEFAULT, action]
        what = ("Stella", 0, "", title, body, actions, hints, _NEVER)
        return int(self._ask("Notify", "susssasa{sv}i", what))

    def clicked(self, number: int) -> bool:
        """Return when a note was clicked; or with False, when it or the bus is gone."""
        from jeepney import HeaderFields

        while True:
            try:
                said = self._bus.receive()
            except (OSError, ValueError):
                return False
            member = said.header.fields.get(HeaderFields.member)
            if member in ("ActionInvoked", "NotificationClosed") and said.body:
                about, what = said.body
                if about == number:
                    return bool(member == "ActionInvoked" and what == _DEFAULT)

    def hang_up(self) -> None:
        """Let whoever waits in `clicked` go; from any thread."""
        with suppress(OSError):  # it has ended by itself
            self._bus.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection; what is shown stays."""
        self._bus.close()

    def _ask(self, member: str, signature: str | None = None, body: Any = ()) -> Any:
        from jeepney import DBusAddress, new_method_call

        service = DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
        [answer] = self._call(new_method_call(service, member, signature, body))
        return answer

    def _call(self, question: Message) -> Any:
        from jeepney.wrappers import unwrap_msg

        with _reasons("the notification service is gone"):
            reply = self._bus.send_and_get_reply(question, timeout=_PATIENCE)
            return unwrap_msg(reply)


@contextmanager
def _reasons(otherwise: str) -> Iterator[None]:
    from jeepney import DBusErrorResponse

    try:
        yield
    except DBusErrorResponse as error:
        raise Unavailable(f"no notification service ({error.name})") from error
    except TimeoutError as error:
        raise Unavailable("the notification service does not answer") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise Unavailable(f"{otherwise} ({error})") from error


def _bus() -> str:
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise Unavailable("no session bus")
    return f"unix:path={runtime}/bus"
