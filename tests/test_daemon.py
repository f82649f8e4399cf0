from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer import config, errand
from materializer.credentials import Credentials
from materializer.daemon import Daemon, Manner
from materializer.devserver.app import Backend
from materializer.devserver.deployment import NS_IN_MS
from materializer.errors import SignInNeeded
from materializer.gallery import ledger
from materializer.gateway import Gateway
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_FOUND, NOT_SIGNED_IN, Request, RpcError
from materializer.ipc.server import IpcServer
from materializer.model import Account, Job, JobError
from materializer.plan import OVERLAP_MS
from origin import Origin, origin

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3" + b"\0" * 20
IMAGE = {"images": [{"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}]}
SOON = 10.0
HOUR, DAY = 3600, 86400


class Home:
    """A daemon in this process, and a client that hears all its events."""

    def __init__(
        self,
        daemon: Daemon,
        credentials: Credentials,
        server: IpcServer,
        client: Client,
        running: asyncio.Task[None],
    ) -> None:
        self.daemon = daemon
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
        gallery = self.daemon._gallery
        return await gallery.write(ledger.since, account, "succeeded", first=0)


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
    flags = {"state_dir": str(state), "notifications": "no", **flags}
    if token_file is not None:
        flags["token_file"] = str(token_file)
    settings = config.load(
        flags | {"min_free_space": "0"}, {"STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1"}
    )
    settings.paths.partial.mkdir(parents=True, exist_ok=True)
    credentials = Credentials(file=settings.token_file, value=token)
    stop = asyncio.Event()
    async with (
        IpcServer(state, "1") as server,
        Daemon.open(settings, manner, credentials, stop) as daemon,
        Client(state) as client,
        asyncio.TaskGroup() as tasks,
    ):
        server.offer(daemon.methods)
        await client.call("events.subscribe", timeout=SOON)
        running = tasks.create_task(daemon.run())
        yield Home(daemon, credentials, server, client, running)
        stop.set()


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with Backend(tmp_path / "backend", speed=100) as backend:
        yield backend


@pytest.fixture
async def source() -> AsyncIterator[Origin]:
    async with origin() as served:
        yield served


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


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


async def test_a_token_file_is_all_it_needs_and_an_order_ends_on_disk(
    backend: Backend, state: Path
) -> None:
    order = {"capability": "text_to_image", "prompt": "a kite"}
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        await home.ask("display.subscribe", consumer="app")
        async with Gateway(backend.site_url, backend.token()) as gateway:
            job_id = (await gateway.generate(order, idempotency_key="k"))["jobId"]
        await home.event("job", "done", jobId=job_id)
        update = await home.update()
        [path] = update["payload"]["asset"]["filePaths"]
        assert update["action"] == "open"
        assert Path(path).read_bytes().startswith(b"\x89PNG")
        assert Path(path).name == f"{job_id}_0.png"
        assert await home.gallery() == [f"{job_id}_0"]
        status = await home.ask("daemon.status")
        assert status["owner"] == backend.owner()
        assert status["feed"]["state"] == "live"
        assert status["feed"]["url"] == backend.convex_url
        assert status["jobs"]["done"] == 1


async def test_a_failed_job_is_told_in_words(backend: Backend, state: Path) -> None:
    now = submit(backend, "j")
    backend.deployment.fail(now, "j", "No kites today.")
    async with at_home(state, backend.token_file) as home:
        told = await home.event("notification", "not_shown", jobId="j")
        assert told["body"] == "No kites today."
        assert (await home.ask("job.get", jobId="j"))["state"] == "failed"


async def test_a_failure_that_an_errand_recorded_is_told_at_the_next_start(
    backend: Backend, state: Path
) -> None:
    lost = Job("j", "failed", error=JobError("No kites today."), completed_at=5)
    account = Account(backend.convex_url, backend.owner())
    await errand.save(config.load({"state_dir": str(state)}, {}), account, lost)
    async with at_home(state, backend.token_file) as home:
        told = await home.event("notification", "not_shown", jobId="j")
        assert told["body"] == "No kites today."


async def test_another_account_sees_only_its_own_and_has_its_own_cursor(
    backend: Backend, state: Path
) -> None:
    mine_at = finish(backend, "mine", ago=300)
    yours_at = finish(backend, "yours", "other")
    async with at_home(state, backend.token_file) as home:
        await home.event("auth", "signed_in", owner=backend.owner())
        await home.event("job", "done", jobId="mine")
        result = await home.ask("auth.set", token=backend.token("other"))
        assert result == {"owner": backend.owner("other")}
        await home.event("auth", "signed_in", owner=backend.owner("other"))
        await home.event("job", "done", jobId="yours")
        assert await home.gallery() == ["yours_0"]
        assert await home.refusal("job.get", jobId="mine") == NOT_FOUND
        await home.ask("display.subscribe", consumer="app", after=0)
        assert (await home.update())["payload"]["jobId"] == "yours"
        cursors = [
            await home.cursor(Account(backend.convex_url, backend.owner(sub)))
            for sub in ("dev", "other")
        ]
        assert cursors == [mine_at - OVERLAP_MS, yours_at - OVERLAP_MS]
        await home.ask("auth.clear")
        await home.event("auth", "signed_in", owner=backend.owner())
        assert await home.gallery() == ["mine_0"]


async def test_without_a_deployment_it_says_what_to_do_and_goes_on_when_told(
    backend: Backend, state: Path
) -> None:
    finish(backend, "j")
    async with at_home(state, token=backend.token()) as home:
        reason = (await home.event("feed", "signed_out"))["reason"]
        assert "--convex-url" in reason
        status = await home.ask("daemon.status")
        assert status["feed"]["lastError"] == reason
        assert await home.refusal("job.materialize", jobId="j") == NOT_SIGNED_IN
        url = backend.convex_url
        await home.ask("auth.set", token=backend.token(), convexUrl=url)
        await home.event("job", "done", jobId="j")


async def test_another_deployment_gets_the_feed(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    finish(backend, "here")
    # With the same secret the one left behind would take the new token too.
    shutil.copytree(tmp_path / "backend", tmp_path / "other")
    async with Backend(tmp_path / "other", speed=100) as other:
        finish(other, "there")
        async with at_home(state, backend.token_file) as home:
            await home.event("job", "done", jobId="here")
            url = other.convex_url
            await home.ask("auth.set", token=other.token(), convexUrl=url)
            await home.event("job", "done", jobId="there")
            finish(other, "again")
            await home.event("job", "done", jobId="again")
            feed = (await home.ask("daemon.status"))["feed"]
            assert (feed["state"], feed["url"]) == ("live", url)
            assert await home.gallery() == ["again_0", "there_0"]
            async with asyncio.timeout(SOON):
                while backend.deployment.watchers:  # somebody is still connected
                    await home.ask("daemon.status")


async def test_an_emptied_token_file_signs_out_and_a_good_one_in_again(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    finish(backend, "j")
    file = tmp_path / "token"
    file.write_text(good := backend.token_file.read_text())
    async with at_home(state, file) as home:
        await home.event("auth", "signed_in", owner=backend.owner())
        await home.event("job", "done", jobId="j")
        file.write_text("")
        home.credentials.source_changed()
        await home.event("auth", "signed_out", owner=None)
        await home.event("feed", "signed_out", reason="nobody is signed in")
        assert await home.gallery() == ["j_0"]
        assert await home.refusal("job.materialize", jobId="j") == NOT_SIGNED_IN
        file.write_text(good)
        home.credentials.source_changed()
        await home.event("auth", "signed_in", owner=backend.owner())
        finish(backend, "k")
        await home.event("job", "done", jobId="k")


async def test_signed_out_from_the_start_the_last_owner_s_items_are_shown(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    finish(backend, "j")
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        await home.running
    async with at_home(state, tmp_path / "none", convex_url=backend.convex_url) as home:
        await home.event("feed", "signed_out", reason="nobody is signed in")
        assert (await home.ask("hello", client="t", protocol=1))["owner"] is None
        assert await home.gallery() == ["j_0"]


async def test_a_job_outside_the_feed_s_window_is_fetched_when_asked_for(
    backend: Backend, state: Path
) -> None:
    finish(backend, "old", ago=DAY)
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        assert await home.gallery() == []
        job = await home.ask("job.materialize", jobId="old")
        assert (job["state"], len(job["files"])) == ("done", 1)
        assert await home.ask("job.materialize", jobId="old") == job


async def test_a_job_that_is_not_there_or_not_ours_is_not_found(
    backend: Backend, state: Path
) -> None:
    finish(backend, "theirs", "other")
    async with at_home(state, backend.token_file) as home:
        await home.event("auth", "signed_in")
        for job_id in ("nothing", "theirs"):
            assert await home.refusal("job.materialize", jobId=job_id) == NOT_FOUND


async def test_a_job_that_still_runs_is_waited_for(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(backend, monkeypatch)
    submit(backend, "j")
    async with at_home(state, backend.token_file) as home, asyncio.TaskGroup() as tasks:
        await home.event("auth", "signed_in")
        asking = tasks.create_task(home.ask("job.materialize", jobId="j"))
        await questions.asked_for("j")
        await home.ask("daemon.status")
        assert not asking.done()
        backend.deployment.succeed(time.time_ns(), "j", IMAGE)
        job = await asking
    assert (job["state"], job["status"]) == ("done", "succeeded")


async def test_a_job_that_fails_while_it_is_waited_for_is_told_as_failed(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(backend, monkeypatch)
    submit(backend, "j")
    async with at_home(state, backend.token_file) as home, asyncio.TaskGroup() as tasks:
        await home.event("auth", "signed_in")
        asking = tasks.create_task(home.ask("job.materialize", jobId="j"))
        await questions.asked_for("j")
        backend.deployment.fail(time.time_ns(), "j", "No kites today.")
        job = await asking
    assert (job["state"], job["error"]) == ("failed", "No kites today.")


async def test_whoever_stops_waiting_for_a_job_takes_nothing_from_others(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(backend, monkeypatch)
    old = submit(backend, "j", ago=DAY)
    async with at_home(state, backend.token_file) as home, asyncio.TaskGroup() as tasks:
        await home.event("auth", "signed_in")
        async with Client(state) as leaving:
            with pytest.raises(TimeoutError):
                await leaving.call("job.materialize", {"jobId": "j"}, timeout=0)
            await questions.asked_for("j")
            staying = tasks.create_task(home.ask("job.materialize", jobId="j"))
            await home.ask("daemon.status")
        await home.alone()
        backend.deployment.succeed(old, "j", IMAGE)
        assert (await staying)["state"] == "done"


async def test_once_it_leaves_when_everything_has_settled(
    backend: Backend, state: Path
) -> None:
    for n in range(3):
        finish(backend, f"j{n}", ago=n)
    lost = submit(backend, "lost")
    backend.deployment.fail(lost, "lost", "No.")
    submit(backend, "runs")
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        async with asyncio.timeout(SOON):
            await home.running
        status = await home.ask("daemon.status")
        assert status["jobs"] == {"pending": 0, "fetching": 0, "done": 3, "failed": 1}


async def test_once_and_signed_out_it_leaves_with_that(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    with pytest.RaisesGroup(SignInNeeded):
        async with at_home(
            state,
            tmp_path / "none",
            Manner(once=True),
            convex_url=backend.convex_url,
        ) as home:
            async with asyncio.timeout(SOON):
                await home.running


async def test_the_first_start_looks_back_a_little_and_since_further(
    backend: Backend, state: Path
) -> None:
    finish(backend, "old", ago=DAY)
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        await home.running
        assert await home.gallery() == []
    manner = Manner(since=0, once=True)
    async with at_home(state, backend.token_file, manner) as home:
        await home.running
        assert await home.gallery() == ["old_0"]


async def test_a_full_page_is_told_as_a_gap_and_what_it_shows_settles(
    backend: Backend, state: Path
) -> None:
    at = [finish(backend, f"j{n}", ago=300 - n) for n in range(210)]
    async with at_home(state, backend.token_file) as home:
        gap = await home.event("feed", "gap")
        assert "full" in gap["reason"]
        assert gap["before"] == at[10]
        for n in range(10, 210):
            await home.event("job", "done", jobId=f"j{n}")
        status = await home.ask("daemon.status")
        assert (status["jobs"]["done"], status["jobs"]["pending"]) == (200, 0)


async def test_a_result_full_of_settled_jobs_is_asked_for_from_later_on(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.daemon.RESUBSCRIBE_AT", 3)
    questions = Questions(backend, monkeypatch)
    at = [finish(backend, f"j{n}", ago=HOUR - n * 300) for n in range(4)]
    async with at_home(state, backend.token_file, first_run_lookback="2h") as home:
        for n in range(4):
            await home.event("job", "done", jobId=f"j{n}")
        assert max(questions.sinces) < at[0]
        questions.sinces.clear()
        finish(backend, "next")
        await home.event("job", "done", jobId="next")
        finish(backend, "last")
        await home.event("job", "done", jobId="last")
        assert questions.sinces[-1] >= at[3] - OVERLAP_MS
        assert (await home.ask("daemon.status"))["jobs"]["done"] == 6


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry is due soon, and there are many."""
    monkeypatch.setattr("materializer.plan._CALENDAR", (0.05,) * 99)


@pytest.mark.usefixtures("at_once")
async def test_a_job_whose_asker_has_gone_is_still_tried_until_it_is_here(
    backend: Backend, state: Path, source: Origin
) -> None:
    busy = source.raw("/a", "503 Busy")
    finish(backend, "old", ago=DAY, output={"image": {"url": busy}})
    async with at_home(state, backend.token_file) as home:
        await home.event("auth", "signed_in")
        async with Client(state) as leaving:
            with pytest.raises(TimeoutError):
                await leaving.call("job.materialize", {"jobId": "old"}, timeout=0)
            await home.event("job", "pending", jobId="old")
        await home.alone()
        source.serve("/a", PNG)
        await home.event("job", "done", jobId="old")


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_waits_for_a_retry_is_taken_up_again_after_a_restart(
    backend: Backend, state: Path, source: Origin
) -> None:
    busy = source.raw("/a", "503 Busy")
    finish(backend, "old", ago=DAY, output={"image": {"url": busy}})
    async with at_home(state, backend.token_file, Manner(since=0)) as home:
        await home.event("job", "pending", jobId="old")
    source.serve("/a", PNG)
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="old")


async def test_a_token_file_with_an_unusable_deployment_is_a_state_with_words(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    finish(backend, "j")
    file = tmp_path / "token"
    grant = {"token": backend.token(), "convexUrl": "ftp://a.test"}
    file.write_text(json.dumps(grant))
    async with at_home(state, file) as home:
        await home.event("feed", "signed_out")
        file.write_text(json.dumps(grant | {"convexUrl": backend.convex_url}))
        home.credentials.source_changed()
        await home.event("job", "done", jobId="j")
