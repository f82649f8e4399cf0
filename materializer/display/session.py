"""Who has opened the page: a key that works once, and the cookie it buys."""

from __future__ import annotations

import secrets


class Session:
    """The right to see the page, which one browser gets.

    Attributes:
        key: goes into the address that the person opens.
        cookie: what the browser shows from then on.
    """

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(32)
        self.cookie = secrets.token_urlsafe(32)
        self._redeemed = False

    def redeem(self, key: str) -> bool:
        """Whether this is the key, for the first time."""
        if self._redeemed or not _same(key, self.key):
            return False
        self._redeemed = True
        return True

    def knows(self, cookie: str | None) -> bool:
        """Whether this is the cookie."""
        return cookie is not None and _same(cookie, self.cookie)


def _same(shown: str, secret: str) -> bool:
    return secrets.compare_digest(shown.encode(), secret.encode())
