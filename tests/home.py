"""A whole daemon in this process, at home with the embedded backend."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer import config
from materializer.credentials import Credentials
from materializer.daemon import Daemon, Manner
from materializer.devserver.app import Backend
from materializer.devserver.deployment import NS_IN_MS
from materializer.gallery import Gallery, ledger
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import Request, RpcError
from materializer.ipc.server import IpcServer
from materializer.model import Account

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3" + b"\0" * 20
IMAGE = {"images": [{"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}]}
SOON = 10.0
HOUR, DAY = 3600, 86400


class Home:
    """A daemon in this process, and a client that hears all its events."""

    def __init__(
        self,
        daemon: Daemon,
        database: Gallery,
        credentials: Credentials,
        server: IpcServer,
        client: Client,
        running: asyncio.Task[None],
    ) -> None:
        self.daemon = daemon
        self.database = database
        self.server = server
        self.credentials = credentials
        self.client = client
        self.running = running
        self._news = client.notifications()
        self._kept: list[Request] = []

    async def ask(self, method: str, **params: object) -> Any:
        return await self.client.call(method, params, SOON)

    async def refusal(self, method: str, **params: object) -> int:
        with pytest.raises(RpcError) as refused:
            await self.ask(method, **params)
        return refused.value.rpc_code

    async def _find(self, wanted: Callable[[Request], bool]) -> Any:
        async with asyncio.timeout(SOON):
            while True:
                for sent in self._kept:
                    if wanted(sent):
                        self._kept.remove(sent)
                        return sent.params
                self._kept.append(await anext(self._news))

    def passed_over(self, topic: str) -> list[dict[str, Any]]:
        """Return the data of the events of a topic that nobody has asked for so far."""
        return [
            sent.params["data"]
            for sent in self._kept
            if sent.method == "event" and sent.params["topic"] == topic
        ]

    async def event(self, topic: str, type_: str, **data: object) -> dict[str, Any]:
        """Return the data of the next event that is like this."""

        def wanted(sent: Request) -> bool:
            return (
                sent.method == "event"
                and (sent.params["topic"], sent.params["type"]) == (topic, type_)
                and data.items() <= sent.params["data"].items()
            )

        found: dict[str, Any] = (await self._find(wanted))["data"]
        return found

    async def update(self) -> dict[str, Any]:
        """Return the next display update."""
        found: dict[str, Any] = await self._find(
            lambda sent: sent.method == "display.update"
        )
        return found

    async def gallery(self) -> list[str]:
        page = await self.ask("gallery.list")
        return [item["id"] for item in page["items"]]

    async def alone(self) -> None:
        """Return when every other client has gone, and what it asked for is undone."""
        async with asyncio.timeout(SOON):
            while len(self.server._connections) > 1:
                await self.ask("daemon.status")

    async def cursor(self, account: Account) -> int:
        """Return from when on succeeded jobs of an account will be asked for."""
        cursors = await self.database.write(ledger.cursors, account, first=0)
        return cursors["succeeded"]


@asynccontextmanager
async def opened(settings: config.Settings) -> AsyncIterator[Gallery]:
    paths = settings.paths
    gallery = Gallery.open(paths.gallery_db, paths.outputs, mend=True)
    try:
        yield gallery
    finally:
        await gallery.close()


@asynccontextmanager
async def at_home(
    state: Path,
    token_file: Path | None = None,
    manner: Manner = Manner(),  # noqa: B008 -- frozen
    *,
    token: str | None = None,
    **flags: str,
) -> AsyncIterator[Home]:
    """Run a daemon within the block, in the order in which `run` does it."""
    switched_off = {"notifications": "no", "thumbnails": "no"}
    flags = {"state_dir": str(state), **switched_off, **flags}
    if token_file is not None:
        flags["token_file"] = str(token_file)
    settings = config.load(
        flags | {"min_free_space": "0"}, {"STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1"}
    )
    settings.paths.partial.mkdir(parents=True, exist_ok=True)
    credentials = Credentials(file=settings.token_file, value=token)
    stop = asyncio.Event()
    async with (
        opened(settings) as gallery,
        IpcServer(state, "1") as server,
        Daemon.open(settings, manner, credentials, gallery, stop) as daemon,
        Client(state) as client,
        asyncio.TaskGroup() as tasks,
    ):
        server.offer(daemon.methods)
        await client.call("events.subscribe", timeout=SOON)
        running = tasks.create_task(daemon.run())
        yield Home(daemon, gallery, credentials, server, client, running)
        stop.set()


def submit(backend: Backend, job_id: str, sub: str = "dev", ago: float = 0) -> int:
    """Queue a job of `sub`, `ago` seconds in the past; return when that was, in ns."""
    now = time.time_ns() - int(ago * 1e9)
    owner = backend.owner(sub)
    deployment, capability = backend.deployment, "text_to_image"
    deployment.submit(now, owner=owner, job_id=job_id, capability=capability)
    return now


def finish(
    backend: Backend,
    job_id: str,
    sub: str = "dev",
    ago: float = 0,
    output: object = IMAGE,
) -> int:
    """Add a succeeded job; return its completion in ms."""
    now = submit(backend, job_id, sub, ago)
    backend.deployment.succeed(now, job_id, output)
    return now // NS_IN_MS


class Questions:
    """What a backend's functions are asked, and how to wait for it."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sinces: list[float] = []
        self._asked: dict[str, asyncio.Event] = {}
        run = backend.deployment.run

        def spy(path: str, args: Any, owner: str | None) -> Any:
            if path == "media_jobs:listSucceededSince":
                self.sinces.append(args["since"])
            self._event(str(args.get("jobId"))).set()
            return run(path, args, owner)

        monkeypatch.setattr(backend.deployment, "run", spy)

    async def asked_for(self, job_id: str) -> None:
        async with asyncio.timeout(SOON):
            await self._event(job_id).wait()

    def _event(self, job_id: str) -> asyncio.Event:
        return self._asked.setdefault(job_id, asyncio.Event())
