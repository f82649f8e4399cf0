"""Every method behind a real socket, over real rooms; only the feed is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from convex_side import jwt
from materializer import config
from materializer.announce import Announcer
from materializer.audience import Audience
from materializer.credentials import Credentials
from materializer.feed import FeedStatus
from materializer.fetch import Fetcher, Guard, Rules
from materializer.gallery import Gallery, ledger
from materializer.inventory import Inventory
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import RpcError
from materializer.ipc.server import IpcServer
from materializer.methods import Methods
from materializer.model import (
    Account,
    Action,
    Job,
    JobError,
    JobState,
    Placed,
    Settlement,
)
from materializer.pipeline import Pipeline
from materializer.place import Places
from materializer.plan import Work, payloads
from materializer.presence import Events, Pages, Presence
from materializer.thumbnails.shelf import Shelf

ME = Account("https://a.test", "https://site.test|me")
YOU = Account("https://a.test", "https://site.test|you")
SOON = 10.0
T0 = 1_760_000_000_000


class Desk:
    """Every method, over real rooms; only the feed is played."""

    def __init__(self, state: Path) -> None:
        settings = config.load({"state_dir": str(state), "min_free_space": "0"}, {})
        paths = settings.paths
        paths.partial.mkdir(parents=True)
        self.state = state
        self.outputs = paths.outputs
        self.presence = Presence(account=ME, last_owner=ME.owner)
        self.gallery = Gallery.open(paths.gallery_db, paths.outputs)
        self.fetcher = Fetcher(Guard(), Rules(), user_agent="t")
        self.events = Events()
        self.audience, self.pages = Audience(), Pages()
        self.credentials = Credentials(value=jwt("me"))
        self.announcer = Announcer(self.gallery, lambda: self.presence.shown_owner)
        self.stop = asyncio.Event()
        self.asked: list[tuple[Account, str]] = []
        self.has_asked = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()
        places = Places(paths.outputs, paths.partial)
        self.pipeline = Pipeline(
            self.gallery,
            self.fetcher,
            places,
            settings,
            emit=lambda _owner, *event: self.events.emit(*event),
            on_announced=self.announcer.wake,
            on_failed=lambda: None,
            is_quiet=self.announcer.is_quiet,
        )
        inventory = Inventory(
            self.gallery,
            places,
            Shelf(paths.thumbnails),
            emit=lambda _owner, *event: self.events.emit(*event),
            on_change=self.announcer.wake,
        )
        self.methods = Methods(
            settings,
            self.presence,
            self.gallery,
            places,
            inventory,
            self.pipeline,
            self.announcer,
            self.events,
            self.credentials,
            audience=self.audience,
            pages=self.pages,
            materialize=self.materialize,
            stop=self.stop,
        )

    def sign_in(self, account: Account) -> None:
        self.presence.account, self.presence.last_owner = account, account.owner
        self.presence.feed = FeedStatus("connecting", account.deployment)
        self.presence.changed()

    def sign_out(self) -> None:
        self.presence.account = None
        self.presence.feed = FeedStatus("signed_out", "")
        self.presence.changed()

    async def materialize(self, account: Account, job_id: str) -> None:
        self.asked.append((account, job_id))
        self.has_asked.set()
        await self.settled.wait()

    async def save(
        self,
        job_id: str,
        *files: Placed,
        at: int = T0,
        account: Account = ME,
        state: JobState = "done",
        error: tuple[str, str] | None = None,
        action: Action = "register",
        retry_at: int | None = None,
    ) -> None:
        """Enter a job as the pipeline does, files, announcements and all."""
        job = Job(
            job_id,
            "succeeded",
            "text_to_image",
            "best",
            f"a picture of {job_id}",
            "16:9",
            created_at=at - 9,
            completed_at=at,
        )
        for file in files:
            Path(file.path).write_bytes(b"x" * file.bytes)
        shown = () if state == "pending" else tuple(payloads(job, files))
        settlement = Settlement(
            job,
            state,
            files,
            shown,
            action,
            attempts=1,
            error=error,
            next_attempt_at=retry_at,
        )
        await self.gallery.write(ledger.remember, account, [Work(job, "open")])
        await self.gallery.write(ledger.settle, account, settlement, at + 5, {})
        self.announcer.wake()

    async def lose(self, job_id: str, say: str = "No.", at: int = T0) -> None:
        """Enter a job that failed where it was made."""
        lost = Job(job_id, "failed", "icon", error=JobError(say), completed_at=at)
        await self.gallery.write(ledger.fail, ME, [(lost, True)])

    def image(self, job_id: str, index: int = 0) -> Placed:
        path = self.outputs / f"{job_id}_{index}.png"
        return Placed(index, "image", str(path), 3, "abc", "image/png", 20, 10)


@asynccontextmanager
async def desk_at(state: Path) -> AsyncIterator[tuple[Desk, Client]]:
    async with AsyncExitStack() as stack:
        desk = Desk(state)
        stack.push_async_callback(desk.gallery.close)
        stack.push_async_callback(desk.fetcher.close)
        server = await stack.enter_async_context(IpcServer(state, "1"))
        server.offer(desk.methods.table())
        yield desk, await stack.enter_async_context(Client(state))


async def ask(client: Client, method: str, /, **params: object) -> Any:
    return await client.call(method, params, SOON)


async def refusal(client: Client, method: str, /, **params: object) -> tuple[int, str]:
    with pytest.raises(RpcError) as refused:
        await ask(client, method, **params)
    return refused.value.rpc_code, str(refused.value)


async def told(client: Client, method: str) -> Any:
    async with asyncio.timeout(SOON):
        sent = await anext(client.notifications())
    assert sent.method == method
    return sent.params
