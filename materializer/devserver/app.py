"""The embedded backend on its one port: everything joined, started and stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from materializer.devserver.accounts import DEVELOPER, Accounts, secret_of
from materializer.devserver.catalog import Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.gateway import Gateway
from materializer.devserver.http_api import HttpApi
from materializer.devserver.memory import Memory
from materializer.devserver.openapi import document
from materializer.devserver.rules import Rules
from materializer.devserver.storage import Storage
from materializer.devserver.studio import Studio
from materializer.devserver.sync import Conversation
from materializer.devserver.tokens import LIFETIME, Tokens
from materializer.devserver.upgrade import AS_CONVEX, Pace, SyncSocket
from materializer.devserver.verbatim import HttpConnection
from materializer.devserver.weather import CLEAR, Sky, Weather
from materializer.errors import SettingsInvalid


class Backend:
    """Stella's servers in one process; runs between `async with` and its end.

    Args:
        state_dir: keeps the jobs, their media, the secret behind tokens and links,
            and the token file: all of it outlives a restart. Created where missing.
        port: 0 is the one that the directory had last, else any that is free.
        host: an address of this machine.
        allow_remote: permit a host that other machines can reach.
        speed: how many times faster than usual jobs wait and run.
        weather: what the clients of the feed and of the storage are put through.
        pace: how the feed's connections are kept alive.
        rules: which of the hosted gateway's rules hold.
        private_hosts: (host, port) pairs from which sources of orders may be fetched
            although they are private.

    Attributes:
        token_file: JSON `{token, convexUrl, siteUrl}`, mode 0600, renewed in time.
        convex_url: where the feed is.
        site_url: where the gateway is: the same, and the issuer of tokens.
        deployment: the jobs. Tests may add and end some of their own.
        storage: the stored objects.

    Raises:
        SettingsInvalid: the host is not loopback, the port is taken, or the state
            directory cannot be used, such as when another backend does.
    """

    convex_url: str
    site_url: str
    deployment: Deployment
    storage: Storage

    def __init__(
        self,
        state_dir: Path,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        allow_remote: bool = False,
        speed: float = 1.0,
        weather: Weather = CLEAR,
        pace: Pace = AS_CONVEX,
        rules: Rules = Rules(),  # noqa: B008 -- frozen
        private_hosts: Collection[tuple[str, int | None]] = (),
    ) -> None:
        if not allow_remote and not ipaddress.ip_address(host).is_loopback:
            raise SettingsInvalid(
                f"the embedded backend hands a token to whoever asks, so it listens on "
                f"loopback only, not on {host}; --allow-remote permits it"
            )
        self.token_file = state_dir / "token.json"
        self._state_dir = state_dir
        self._address = (host, port)
        self._speed = speed
        self._sky = Sky(weather)
        self._pace = pace
        self._rules = rules
        self._private_hosts = private_hosts
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Listen, and return when clients can connect."""
        self._running: AbstractAsyncContextManager[None] = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection and stop every job, in less than a second."""
        # What the body raised passes by unseen; a TaskGroup would wrap it.
        await self._running.__aexit__(None, None, None)

    @property
    def weather(self) -> Weather:
        """What clients are put through, from when it was set on."""
        return self._sky.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._sky = Sky(weather)

    def token(self, sub: str = DEVELOPER, lifetime: float = LIFETIME) -> str:
        """Return a fresh token for the account `sub`, good for `lifetime` seconds."""
        return self._accounts.token(sub, lifetime)

    def owner(self, sub: str = DEVELOPER) -> str:
        """Return the token identifier of the account `sub`."""
        return f"{self.site_url}|{sub}"

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        secret = await asyncio.to_thread(secret_of, self._state_dir)
        host, port = self._address
        async with Memory(self._state_dir / "memory.db") as memory:
            with _listen(host, port or memory.port) as listener:
                self._build(secret, memory, listener)
                await asyncio.to_thread(self._accounts.write_token_file)
                server = _Server(self._config())
                async with asyncio.TaskGroup() as self._group:
                    serving = self._group.create_task(server.serve([listener]))
                    self._start(self._keep_token_file())
                    for job_id, order in memory.orders.items():
                        self._start(self._studio.perform(job_id, order))
                    yield
                    self._stopping = server.should_exit = True
                    self._cancel_tasks()
                    await asyncio.wait([serving])
                    # What the last requests have started.
                    self._cancel_tasks()

    def _build(self, secret: bytes, memory: Memory, listener: socket.socket) -> None:
        url = self.convex_url = self.site_url = _url(listener)
        memory.keep_port(listener.getsockname()[1])
        self._memory = memory
        self._tokens = Tokens(secret)
        self._accounts = Accounts(self._state_dir, self._tokens, url, url)
        self.deployment = Deployment(
            time.time_ns(), memory.rows, memory.keep_row, self._rules.words
        )
        self.storage = Storage(memory, secret, time.time, lambda: self._sky)
        self._studio = Studio(
            self.deployment,
            self.storage,
            url,
            self._speed,
            spoken=memory.spoken,
            private_hosts=self._private_hosts,
        )

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            Starlette(routes=self._routes()),
            # The one door to a websocket that does not lead through ASGI.
            ws=cast("type[asyncio.Protocol]", self._upgrade),
            http=HttpConnection,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )

    def _routes(self) -> list[Route]:
        gateway = Gateway(self.deployment, self._tokens, self._accept, self._rules)

        async def openapi(_: Request) -> Response:
            return JSONResponse(document(self.site_url))

        return [
            *gateway.routes,
            *self.storage.routes,
            *HttpApi(self.deployment, self._tokens).routes,
            *self._accounts.routes,
            Route("/openapi.json", openapi),
        ]

    def _upgrade(self, **_: object) -> SyncSocket:
        sync = SyncSocket(lambda: not self._stopping, self._sky, self._pace)
        conversation = Conversation(self.deployment, self._tokens.verify)
        self._start(sync.serve(conversation, self.deployment))
        return sync

    async def _accept(
        self, owner: str, job_id: str, order: Order, key: str | None
    ) -> Row:
        # Before its job, so that no job is ever without one.
        self._memory.keep_order(job_id, order)
        row = self._studio.queue(owner, job_id, order, key)
        performing = self._start(self._studio.perform(job_id, order))
        await self._memory.written()
        if not order.at_once:
            return row  # it was queued, however far it has come meanwhile
        await asyncio.wait([performing])
        return self.deployment.row(job_id, owner) or row

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _keep_token_file(self) -> None:
        while True:
            await asyncio.sleep(LIFETIME / 2)
            await asyncio.to_thread(self._accounts.write_token_file)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the process's host."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsInvalid(
            f"the backend cannot listen on port {port} of {host}: {error.strerror}; "
            f"choose another one with --port"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
