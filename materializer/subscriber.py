"""Keeps the feed subscribed for whoever is signed in, and the pipeline fed.

It stands between credentials and feed: the feed asks it for the token, so that it can
choose the account's queries before the deployment hears of the account. Otherwise one
account would for a moment be asked from where another has settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from materializer import __version__
from materializer.config import Settings
from materializer.convex.token import Token
from materializer.credentials import Credentials
from materializer.errors import SettingsInvalid
from materializer.feed import Feed, FeedStatus
from materializer.gallery import Gallery, ledger
from materializer.model import Account, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import disk_trouble
from materializer.presence import Events, Presence
from materializer.window import Window

log = logging.getLogger(__name__)

NO_DEPLOYMENT = (
    "no Convex deployment is known: give --convex-url, set STELLA_CONVEX_URL, or put"
    " convexUrl into the token file"
)


class Subscriber:
    """The feed's token source and its only listener.

    Args:
        on_account: called when somebody else, or nobody, is signed in.
        on_snapshot: called when a snapshot was offered to the pipeline.
        on_signed_out: called with the reason when the feed has nobody to ask for.
        on_refused: called with the deployment's words when it refuses the sign-in:
            once, until it was good again or somebody has signed out, and then None.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        gallery: Gallery,
        pipeline: Pipeline,
        presence: Presence,
        events: Events,
        window: Window,
        *,
        on_account: Sequence[Callable[[], None]],
        on_snapshot: Callable[[], None],
        on_signed_out: Callable[[str], None],
        on_refused: Callable[[str | None], None],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._gallery = gallery
        self._pipeline = pipeline
        self._presence = presence
        self._events = events
        self._window = window
        self._on_account = on_account
        self._on_snapshot = on_snapshot
        self._on_signed_out = on_signed_out
        self._on_refused = on_refused
        self._refused = False
        self._adopting = asyncio.Lock()
        self._feed: Feed | None = None

    async def run(self) -> None:
        """Keep one feed to the deployment that the sign-in names, until cancelled."""
        changes = self._credentials.changes()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._window.keep())
            running: asyncio.Task[None] | None = None
            while True:
                url = await self._deployment()
                if url and (self._feed is None or self._feed.status.url != url):
                    if running is not None:
                        running.cancel()
                    running = tasks.create_task(self._follow(url))
                await anext(changes)

    async def current(self, *, force: bool) -> Token | None:
        """Return the token for the feed, its account's queries being chosen.

        Raises:
            MaterializerError: it cannot be had just now.
        """
        token = await self._credentials.current(force=force)
        async with self._adopting:  # one after the other, in the order of the answers
            await self._adopt(token)
        return token

    def changes(self) -> AsyncIterator[None]:
        """Yield whenever the token may be another one."""
        return self._credentials.changes()

    async def _deployment(self) -> str | None:
        """Return the URL of the deployment; without one nobody can be signed in."""
        try:
            await self._credentials.ask()
        except SettingsInvalid as error:
            log.warning("%s", error)
        url = self._settings.convex_url or self._credentials.grant.convex_url
        if url is None and self._feed is not None:
            url = self._feed.status.url  # a bare token leaves the feed where it is
        if url is None:
            self._tell(FeedStatus("signed_out", "", last_error=NO_DEPLOYMENT))
        return url

    async def _follow(self, url: str) -> None:
        def on_status(status: FeedStatus) -> None:
            if feed is self._feed:
                self._tell(status)

        def on_snapshot(snapshot: Snapshot) -> None:
            account = Account(url, snapshot.owner)
            self._window.show(account, snapshot)
            self._pipeline.offer(account, snapshot)
            self._on_snapshot()

        self._feed = feed = Feed(
            url, self, __version__, on_snapshot=on_snapshot, on_status=on_status
        )
        await feed.run()

    async def _adopt(self, token: Token | None) -> None:
        """Take note of who is signed in, and choose the queries to ask."""
        feed = self._feed
        account = Account(feed.status.url, token.owner) if feed and token else None
        if account == self._presence.account:
            return
        if feed and account:
            with disk_trouble():
                await self._gallery.write(ledger.signed_in, account.owner)
            await self._window.open(feed, account)
            self._presence.last_owner = account.owner
        self._presence.account = account
        self._presence.changed()
        state = "signed_in" if account else "signed_out"
        log.info("%s", state.replace("_", " "))
        self._events.emit("auth", state, {"owner": self._presence.owner})
        for tell in self._on_account:
            tell()

    def _tell(self, status: FeedStatus) -> None:
        before, self._presence.feed = self._presence.feed, status
        self._presence.changed()
        if status.state in ("live", "signed_out"):
            if status.refused and not self._refused:
                self._on_refused(status.last_error or "the sign-in was refused")
            elif self._refused and not status.refused:
                self._on_refused(None)
            self._refused = status.refused
        if status.state == before.state:
            return
        log.info("feed: %s", status.state)
        data: dict[str, Any] = {"state": status.state}
        if status.last_error:
            data["reason"] = status.last_error
        self._events.emit("feed", status.state, data)
        if status.state == "signed_out":
            self._on_signed_out(status.last_error or "nobody is signed in")
