"""Whose conversation it is: the token, and what became of it."""

from __future__ import annotations

from math import inf

from materializer.convex import requests
from materializer.convex.events import Moment
from materializer.convex.messages import AuthError
from materializer.convex.token import SELDOM, Token
from materializer.errors import FeedMisspoke

REFUSALS = 3
PATIENCE = 300.0


class Identity:
    """The token in use and the identities sent on the connection.

    Attributes:
        token: the newest one, or None.
        refresh_at: the `mono` at which to ask for the next one.
    """

    def __init__(self) -> None:
        self.token: Token | None = None
        self.refresh_at = inf
        self._forced_at = -inf
        self._holds = 0
        self._owners: list[str | None] = [None]
        self._refused: str | None = None
        self._refusals = 0

    def open(self, token: Token) -> str:
        """Return the first Authenticate of a connection."""
        self._owners = [None]
        return self.change(token)

    def change(self, token: Token | None) -> str:
        """Return the Authenticate that makes this token, or nobody, count."""
        base = len(self._owners) - 1
        self.token, self.refresh_at = token, inf
        self._owners.append(token.owner if token else None)
        return requests.authenticate(base, token.value if token else None)

    def confirm(self, now: Moment) -> None:
        """Note that the deployment took the token, and plan the next one."""
        wait = self.token.good_for(now.wall) if self.token else inf
        self.refresh_at = now.mono + wait

    def refresh_later(self, now: Moment) -> None:
        """Plan the next question after one that brought nothing new."""
        self.confirm(now)
        if self.token and self.token.expires_at:
            half = (self.token.expires_at - now.wall) / 2
            self.refresh_at = max(self.refresh_at, now.mono + half)

    def ask(self, mono: float, *, fresh: bool) -> bool:
        """Note that a token is asked for; return whether only a new one will do."""
        self.refresh_at = inf
        fresh = fresh or self.refused
        if fresh:
            self._forced_at = mono
        return fresh

    def may_ask(self, mono: float) -> float:
        """Return the first `mono` from this on at which to ask for a new token."""
        return max(mono, self._forced_at + SELDOM)

    def hold(self) -> float:
        """Return the seconds to wait for a token, more each time in a row."""
        wait = min(SELDOM * 2.0 ** min(self._holds, 16), PATIENCE)
        self._holds += 1
        return PATIENCE if self.exhausted else wait

    def owner(self, version: int) -> str | None:
        """Return the account of an identity version, None for nobody.

        Raises:
            FeedMisspoke: it was never sent.
        """
        if version >= len(self._owners):
            raise FeedMisspoke("the server confirmed an identity that was never sent")
        return self._owners[version]

    def newest(self, version: int) -> bool:
        """Whether that identity version is the last one sent."""
        return version == len(self._owners) - 1

    def concerned(self, error: AuthError, confirmed: int) -> bool:
        """Whether the error is about the token in use, not an earlier one."""
        if error.attempted:
            return (error.base_version or 0) + 2 >= len(self._owners)
        return self.newest(confirmed)

    def refuse(self) -> None:
        """Note that the deployment will not have the token in use."""
        self._refused = self.token.value if self.token else None
        self._refusals += 1

    def accept(self) -> None:
        """Note that the deployment works with the token in use."""
        self._refused, self._refusals, self._holds = None, 0, 0

    def usable(self, token: Token) -> bool:
        """Whether it is another token than the one refused last."""
        return token.value != self._refused

    def mended_by(self, token: Token) -> bool:
        """Whether the one in use was refused and this one was not."""
        return self.refused and self.usable(token)

    @property
    def refused(self) -> bool:
        """Whether the deployment will not have the token in use."""
        return self.token is not None and not self.usable(self.token)

    @property
    def exhausted(self) -> bool:
        """Whether so many tokens were refused that asking for more is no use."""
        return self._refusals >= REFUSALS
