from __future__ import annotations

import asyncio
import base64
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from home import (
    DAY,
    HOUR,
    IMAGE,
    PNG,
    SOON,
    Home,
    Questions,
    at_home,
    finish,
    submit,
)
from materializer.convex import queries
from materializer.daemon import Manner
from materializer.devserver.app import Backend
from materializer.devserver.deployment import NS_IN_MS
from materializer.devserver.functions import Call, Function
from materializer.gallery import items, ledger
from materializer.ipc.client import Client
from materializer.model import QUERIES, Account, Job, JobRecord, Query, Snapshot
from materializer.plan import OVERLAP_MS
from origin import Origin

SUCCEEDED = "media_jobs:listSucceededSince"
FAILED = "media_jobs:listFailedSince"


async def record(home: Home, backend: Backend, job_id: str) -> JobRecord | None:
    return await home.database.read(items.record, backend.owner(), job_id)


async def ask_and_leave(state: Path, job_id: str) -> None:
    """Ask for a job as `stella-media generate` does that does not wait."""
    async with Client(state) as leaving:
        with suppress(TimeoutError):
            await leaving.call("job.materialize", {"jobId": job_id}, timeout=0)
        await leaving.call("job.get", {"jobId": job_id}, timeout=SOON)


def move_cursors(
    db: sqlite3.Connection, account: Account, cursors: dict[Query, int]
) -> None:
    db.executemany(
        "UPDATE cursors SET since = ? WHERE deployment = ? AND owner = ? AND query = ?",
        [(at, account.deployment, account.owner, q) for q, at in cursors.items()],
    )


def replace_list(
    backend: Backend, path: str, change: Callable[[list[Any]], Any]
) -> Function:
    """Let a list be answered with something else; return what it was."""
    was = backend.deployment.functions[path]

    def run(call: Call) -> Any:
        return change(was.run(call))

    backend.deployment.functions[path] = Function("query", run)
    return was


# --- from when on


async def test_three_days_offline_lose_nothing_and_make_no_noise(
    backend: Backend, state: Path
) -> None:
    account = Account(backend.convex_url, backend.owner())
    then = finish(backend, "before", ago=3 * DAY)
    async with at_home(state, backend.token_file, first_run_lookback="4d") as home:
        await home.event("job", "done", jobId="before")
        assert await home.cursor(account) == then - OVERLAP_MS
    for n in range(180):
        finish(backend, f"j{n}", ago=3 * DAY - n * DAY / 60 - 1)
    finish(backend, "now")
    async with at_home(state, backend.token_file) as home:
        await home.ask("display.subscribe", consumer="app", after=1)
        actions = {}
        for _ in range(181):
            update = await home.update()
            actions[update["payload"]["jobId"]] = update["action"]
        assert actions == {f"j{n}": "register" for n in range(180)} | {"now": "open"}
        status = await home.ask("daemon.status")
        assert status["jobs"] == {"pending": 0, "fetching": 0, "done": 182, "failed": 0}
        assert status["feed"]["gap"] is None
        assert await home.cursor(account) > then + 3 * DAY * 1000 - OVERLAP_MS


async def test_what_was_saved_without_the_feed_hides_nothing_that_it_did_not_show(
    backend: Backend, state: Path
) -> None:
    account = Account(backend.convex_url, backend.owner())
    at = finish(backend, "first", ago=HOUR)
    async with at_home(state, backend.token_file, first_run_lookback="2h") as home:
        await home.event("job", "done", jobId="first")
        assert await home.cursor(account) == at - OVERLAP_MS
        # Nobody may see the list while the later one is asked for by its id.
        was = replace_list(backend, SUCCEEDED, lambda rows: None)
        missed = finish(backend, "missed", ago=HOUR / 2)
        finish(backend, "asked")
        job = await home.ask("job.materialize", jobId="asked")
        assert job["state"] == "done"
        assert await home.cursor(account) == at - OVERLAP_MS
    backend.deployment.functions[SUCCEEDED] = was
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="missed")
        assert await home.cursor(account) > missed


async def test_a_job_older_than_the_cursor_is_saved_and_the_cursor_stays(
    backend: Backend, state: Path
) -> None:
    account = Account(backend.convex_url, backend.owner())
    at = finish(backend, "new")
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="new")
        finish(backend, "skewed", ago=60)
        await home.event("job", "done", jobId="skewed")
        assert await home.cursor(account) == at - OVERLAP_MS
    finish(backend, "linked", ago=DAY)
    async with at_home(state, backend.token_file, Manner(since=0)) as home:
        await home.event("job", "done", jobId="linked")
        assert await home.cursor(account) == at - OVERLAP_MS


async def test_a_completion_dated_by_a_wrong_clock_hides_nothing(
    backend: Backend, state: Path
) -> None:
    finish(backend, "future", ago=-DAY)
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="future")
    finish(backend, "now")
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="now")


async def test_since_counts_until_the_first_answer_is_in_the_ledger(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(backend, monkeypatch)
    at = finish(backend, "old", ago=DAY)
    async with at_home(state, backend.token_file, Manner(since=5)) as home:
        await home.event("job", "done", jobId="old")
        assert questions.sinces[0] == 5
        await home.ask("auth.set", token=backend.token("other"))
        await home.event("auth", "signed_in", owner=backend.owner("other"))
        finish(backend, "yours", "other")
        await home.event("job", "done", jobId="yours")
        assert questions.sinces[-1] > at
        questions.sinces.clear()
        await home.ask("auth.clear")
        await home.event("auth", "signed_in", owner=backend.owner())
        finish(backend, "mine")
        await home.event("job", "done", jobId="mine")
        assert 5 not in questions.sinces


async def test_an_answer_that_is_not_in_the_ledger_yet_changes_no_question(
    backend: Backend, state: Path
) -> None:
    account = Account(backend.convex_url, backend.owner())
    async with at_home(state, backend.token_file) as home:
        finish(backend, "j")
        await home.event("job", "done", jobId="j")
        window, pipeline = home.daemon._subscriber._window, home.daemon._pipeline
        asked = window._question
        assert asked is not None
        cursors = dict.fromkeys(QUERIES, asked.succeeded + 5)
        await home.database.write(move_cursors, account, cursors)
        rows = (Job("old", "succeeded", completed_at=asked.succeeded),)
        window.show(account, Snapshot(account.owner, rows, ()))
        pipeline.has_looked = False
        await window._ask()
        assert window._question == asked
        pipeline.has_looked = True
        await window._ask()
        assert window._question.succeeded == asked.succeeded + 5


# --- how much is sent again


class Relay:
    """Passes on what a deployment sends, and counts it."""

    def __init__(self, to: str) -> None:
        self.received = 0
        self._to = urlsplit(to)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = await asyncio.open_connection(self._to.hostname, self._to.port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(reader, there[1]))
            tasks.create_task(self._pump(there[0], writer, count=True))

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        count: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                self.received += len(data) if count else 0
                writer.write(data)
                await writer.drain()
        writer.close()


def signed(chance: Random) -> dict[str, Any]:
    """Return an output with as much that cannot be guessed as a signed link has."""
    data = base64.b64encode(PNG + chance.randbytes(300)).decode()
    return {"images": [{"url": f"data:image/png;base64,{data}"}]}


@pytest.mark.parametrize(
    "count",
    [300, pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_a_long_session_receives_no_more_than_thrice_what_is_new(
    backend: Backend, state: Path, count: int
) -> None:
    minutes = 3
    relay = Relay(backend.convex_url)
    chance = Random(1)  # noqa: S311 -- makes data, guards nothing
    received, sizes = [], []
    async with (
        relay.open() as url,
        at_home(
            state, backend.token_file, convex_url=url, first_run_lookback="20d"
        ) as home,
    ):
        await home.event("feed", "live")
        for n in range(count):
            before, ago = relay.received, (count - n) * minutes * 60
            finish(backend, f"j{n}", ago=ago, output=signed(chance))
            await home.event("job", "done", jobId=f"j{n}")
            received.append(relay.received - before)
            row = backend.deployment.row(f"j{n}", backend.owner())
            assert row is not None
            sizes.append(len(json.dumps(row.wire(), separators=(",", ":"))))
    assert sum(received[-100:]) <= 3 * sum(sizes[-100:])
    assert max(received) <= 10 * max(sizes)


async def test_a_list_does_not_grow_with_the_session(
    backend: Backend, state: Path
) -> None:
    longest = {SUCCEEDED: 0, FAILED: 0}

    def watch(path: str) -> None:
        def note(rows: list[Any]) -> list[Any]:
            longest[path] = max(longest[path], len(rows))
            return rows

        replace_list(backend, path, note)

    watch(SUCCEEDED)
    watch(FAILED)
    async with at_home(state, backend.token_file, first_run_lookback="2d") as home:
        await home.event("feed", "live")
        for n in range(30):
            finish(backend, f"s{n}", ago=DAY - n * 300)
            await home.event("job", "done", jobId=f"s{n}")
            at = submit(backend, f"f{n}", ago=DAY - n * 300)
            backend.deployment.fail(at, f"f{n}", "No.")
            await home.event("job", "failed", jobId=f"f{n}")
        assert (await home.ask("daemon.status"))["jobs"]["done"] == 30
    assert max(longest.values()) <= 5


# --- the gap


async def test_a_full_page_is_told_as_a_gap_and_what_it_shows_settles(
    backend: Backend, state: Path
) -> None:
    at = [finish(backend, f"j{n}", ago=300 - n) for n in range(210)]
    async with at_home(state, backend.token_file) as home:
        gap = await home.event("feed", "gap")
        assert gap == {"state": "gap", "reason": gap["reason"], "before": at[10]}
        assert "full" in gap["reason"]
        for n in range(10, 210):
            await home.event("job", "done", jobId=f"j{n}")
        status = await home.ask("daemon.status")
        assert (status["jobs"]["done"], status["jobs"]["pending"]) == (200, 0)
        assert status["feed"]["gap"] == at[10]
        # The page stays full, but now it reaches back to what it has shown before.
        finish(backend, "next")
        await home.event("job", "done", jobId="next")
        gaps = [s for s in home._kept if s.params.get("type") == "gap"]
        assert gaps == []
        assert (await home.ask("daemon.status"))["feed"]["gap"] == at[10]
        # Whatever a later connection shows first from the cursor on hides nothing.
        account = Account(backend.convex_url, backend.owner())
        first = Snapshot(account.owner, (), (), backlog=True)
        home.daemon._subscriber._window.show(account, first)
        assert (await home.ask("daemon.status"))["feed"]["gap"] is None


async def test_exactly_a_full_page_may_hide_something_and_one_row_less_does_not(
    backend: Backend, state: Path
) -> None:
    for n in range(199):
        finish(backend, f"j{n}", ago=DAY - n)
    async with at_home(state, backend.token_file, Manner(since=0)) as home:
        for n in range(199):
            await home.event("job", "done", jobId=f"j{n}")
        assert (await home.ask("daemon.status"))["feed"]["gap"] is None
    at = finish(backend, "oldest", ago=2 * DAY)
    async with at_home(state, backend.token_file, Manner(since=0)) as home:
        assert (await home.event("feed", "gap"))["before"] == at


async def test_jobs_submitted_here_are_asked_for_by_id_over_a_gap(
    backend: Backend, state: Path
) -> None:
    submit(backend, "mine", ago=DAY)
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        await ask_and_leave(state, "mine")
        job = await home.ask("job.get", jobId="mine")
        assert (job["state"], job["status"]) == ("pending", "submitted")
    at = time.time_ns() - 300 * 10**9
    backend.deployment.succeed(at, "mine", IMAGE)
    for n in range(200):
        finish(backend, f"j{n}", ago=250 - n)
    async with at_home(state, backend.token_file) as home:
        assert (await home.event("feed", "gap"))["before"] > at // NS_IN_MS
        await home.event("job", "done", jobId="mine")
        for n in range(200):
            await home.event("job", "done", jobId=f"j{n}")
        assert (
            await home.database.read(
                ledger.open_jobs, Account(backend.convex_url, backend.owner())
            )
            == []
        )


async def test_a_submitted_job_that_still_runs_holds_nothing_up(
    backend: Backend, state: Path
) -> None:
    account = Account(backend.convex_url, backend.owner())
    submit(backend, "runs", ago=HOUR)
    async with at_home(state, backend.token_file) as home:
        await home.event("auth", "signed_in")
        await ask_and_leave(state, "runs")
        at = finish(backend, "done")
        await home.event("job", "done", jobId="done")
        assert await home.cursor(account) == at - OVERLAP_MS
        backend.deployment.fail(time.time_ns() - HOUR * 10**9, "runs", "No.")
        await home.event("job", "failed", jobId="runs", error="No.")


async def test_a_job_that_vanishes_before_it_is_here_is_given_up_and_told(
    backend: Backend, state: Path, source: Origin
) -> None:
    busy = source.raw("/a", "503 Busy")
    finish(backend, "j", ago=DAY, output={"image": {"url": busy}})
    async with at_home(state, backend.token_file) as home:
        await home.event("auth", "signed_in")
        await ask_and_leave(state, "j")
        await home.event("job", "pending", jobId="j")
        del backend.deployment._rows["j"]
        finish(backend, "next")
        await home.event("notification", "not_shown", jobId="j")
        job = await home.ask("job.get", jobId="j")
        assert (job["state"], job["error"]) == ("failed", ledger.GONE[1])


# --- links that are gone

GET = "media_jobs:getByJobId"


@pytest.fixture
def no_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retry is due before the test has ended."""
    monkeypatch.setattr("materializer.retry._CALENDAR", (600.0,) * 9)
    monkeypatch.setattr("materializer.retry._FLOOR", 600.0)


class Signer:
    """Signs a new link when a job is asked for by its id, while a list keeps the old.

    Attributes:
        links: those still to be given; the last one is given for ever.
        asked: how often it was asked.
    """

    def __init__(self, backend: Backend, *links: str) -> None:
        self.links = list(links)
        self.asked = 0
        self._was = backend.deployment.functions[GET]
        backend.deployment.functions[GET] = Function("query", self._run)

    def _run(self, call: Call) -> Any:
        self.asked += 1
        row = self._was.run(call)
        link = self.links.pop(0) if len(self.links) > 1 else self.links[0]
        return row | {"output": {"image": {"url": link}}}


async def test_a_job_whose_link_is_gone_is_asked_for_by_id_and_saved_at_once(
    backend: Backend, state: Path, source: Origin, no_calendar: None
) -> None:
    old, new = source.raw("/old", "403 Expired"), source.serve("/new", PNG)
    signer = Signer(backend, new)
    finish(backend, "j", output={"image": {"url": old}})
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="j")
        assert [head.split(" ")[1] for head in source.requests] == ["/old", "/new"]
        assert signer.asked == 1
        # The list goes on showing the old link, and nobody cares.
        finish(backend, "next")
        await home.event("job", "done", jobId="next")
        assert (await home.ask("job.get", jobId="j"))["attempts"] == 2


@pytest.mark.usefixtures("at_once")
async def test_a_new_link_is_asked_for_after_each_attempt_at_one_that_is_gone(
    backend: Backend, state: Path, source: Origin
) -> None:
    gone = [source.raw(f"/{n}", "404 Gone") for n in range(4)]
    signer = Signer(backend, *gone[1:], source.serve("/new", PNG))
    finish(backend, "j", output={"image": {"url": gone[0]}})
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="j")
        assert signer.asked == 4
        asked = [head.split(" ")[1] for head in source.requests]
        assert [path for path in ("/0", "/1", "/2", "/3", "/new") if path in asked] == [
            *dict.fromkeys(asked)
        ]


async def test_a_link_that_was_gone_before_a_restart_is_asked_for_after_it(
    backend: Backend, state: Path, source: Origin, no_calendar: None
) -> None:
    old = source.raw("/old", "410 Gone")
    signer = Signer(backend, old)
    finish(backend, "j", output={"image": {"url": old}})
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "pending", jobId="j")
    signer.links = [source.serve("/new", PNG)]
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="j")


async def test_a_deployment_that_tells_of_no_single_job_fails_in_that_alone(
    backend: Backend, state: Path, source: Origin, no_calendar: None
) -> None:
    del backend.deployment.functions[GET]
    old, new = source.raw("/old", "403 Expired"), source.serve("/new", PNG)
    at = finish(backend, "j", output={"image": {"url": old}})
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "pending", jobId="j")
        finish(backend, "next")
        await home.event("job", "done", jobId="next")
        feed = (await home.ask("daemon.status"))["feed"]
        assert feed["state"] == "live"
        assert "getByJobId" in feed["lastError"]
        assert (await home.ask("job.get", jobId="j"))["state"] == "pending"
        backend.deployment.succeed(at * NS_IN_MS, "j", {"image": {"url": new}})
        await home.event("job", "done", jobId="j")


async def test_following_the_ledger_writes_nothing_to_it(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        written: list[Any] = []

        def noting(hand_in: Callable[..., Awaitable[Any]]) -> Any:
            async def note(do: Any, *args: Any, **kwargs: Any) -> Any:
                written.append(do)
                return await hand_in(do, *args, **kwargs)

            return note

        for kind in ("note", "write"):
            hand_in = getattr(home.database, kind)
            monkeypatch.setattr(home.database, kind, noting(hand_in))
        for n in range(3):
            finish(backend, f"j{n}")
            await home.event("job", "done", jobId=f"j{n}")
    assert {*written} == {ledger.take_up, ledger.settle}
    assert written.count(ledger.settle) == 3


# --- a job that changes its mind


async def test_a_success_after_a_failure_replaces_the_notice(
    backend: Backend, state: Path
) -> None:
    at = submit(backend, "j")
    async with at_home(state, backend.token_file) as home:
        await home.ask("display.subscribe", consumer="app", after=0)
        backend.deployment.fail(at, "j", "No.")
        await home.event("notification", "not_shown", jobId="j")
        backend.deployment.succeed(at, "j", IMAGE)
        assert (await home.update())["payload"]["jobId"] == "j"
        found = await record(home, backend, "j")
        assert found is not None
        assert (found.state, found.job.status) == ("done", "succeeded")
        assert (found.error, found.told) == (None, None)


async def test_a_failure_after_a_success_keeps_the_files_and_is_no_news(
    backend: Backend, state: Path
) -> None:
    at = submit(backend, "j")
    async with at_home(state, backend.token_file) as home:
        backend.deployment.succeed(at, "j", IMAGE)
        await home.event("job", "done", jobId="j")
        backend.deployment.fail(at, "j", "No.")
        finish(backend, "next")
        await home.event("job", "done", jobId="next")
        found = await record(home, backend, "j")
        assert found is not None
        assert (found.state, found.job.status, found.told) == (
            "done",
            "succeeded",
            None,
        )
        assert Path(found.files[0]).exists()
        assert await home.gallery() == ["next_0", "j_0"]


async def test_a_failure_before_the_files_came_ends_the_attempts(
    backend: Backend, state: Path, source: Origin
) -> None:
    busy = source.raw("/a", "503 Busy")
    at = submit(backend, "j")
    async with at_home(state, backend.token_file) as home:
        backend.deployment.succeed(at, "j", {"image": {"url": busy}})
        await home.event("job", "pending", jobId="j")
        backend.deployment.fail(at, "j", "No.")
        await home.event("notification", "not_shown", jobId="j")
        job = await home.ask("job.get", jobId="j")
        assert (job["state"], job["status"], job["error"]) == (
            "failed",
            "failed",
            "No.",
        )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["success", "failure"])
async def test_a_job_in_both_lists_succeeded_whichever_comes_first(
    backend: Backend, state: Path, order: tuple[int, int]
) -> None:
    finish(backend, "j")
    row = backend.deployment.row("j", backend.owner())
    assert row is not None
    lost = row.wire() | {"status": "failed", "error": {"message": "No."}}
    lists = [(SUCCEEDED, row.wire()), (FAILED, lost)]

    def show(path: str, *rows: Any) -> None:
        replace_list(backend, path, lambda _: [*rows])

    for path, _ in lists:
        show(path)
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        for path, shown in (lists[n] for n in order):
            show(path, shown)
            submit(backend, f"{path} changes")
        await home.event("job", "done", jobId="j")
        submit(backend, "and once more")
        assert (await home.ask("job.get", jobId="j"))["state"] == "done"


# --- what the deployment cannot, or says oddly


async def test_a_list_that_the_deployment_does_not_have_fails_alone(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.convex.queries.RETRY", 0.2)
    functions = backend.deployment.functions
    was = functions.pop(FAILED)
    at = submit(backend, "lost")
    async with at_home(state, backend.token_file) as home:
        finish(backend, "j")
        await home.event("job", "done", jobId="j")
        feed = (await home.ask("daemon.status"))["feed"]
        assert feed["state"] == "live"
        assert feed["lastError"].startswith("the list of failed jobs cannot be had: ")
        assert "listFailedSince" in feed["lastError"]
        functions[FAILED] = was
        backend.deployment.fail(at, "lost", "No.")
        await home.event("job", "failed", jobId="lost")
        assert (await home.ask("daemon.status"))["feed"]["lastError"] is None


async def test_a_list_that_failed_is_asked_for_again_at_the_next_connection(
    backend: Backend, state: Path
) -> None:
    functions = backend.deployment.functions
    was = functions.pop(FAILED)
    at = submit(backend, "lost")
    backend.deployment.fail(at, "lost", "No.")
    async with at_home(state, backend.token_file) as home:
        finish(backend, "j")
        await home.event("job", "done", jobId="j")
        functions[FAILED] = was
        feed = home.daemon._subscriber._feed
        assert feed is not None
        assert feed._line is not None
        assert feed._line._socket is not None
        asked = asyncio.get_running_loop().time()
        feed._line._socket.transport.abort()
        await home.event("job", "failed", jobId="lost")
        assert asyncio.get_running_loop().time() - asked < queries.RETRY
        status = (await home.ask("daemon.status"))["feed"]
        assert (status["reconnects"], status["lastError"]) == (1, None)


async def test_a_list_that_throws_is_not_an_empty_list(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.convex.queries.RETRY", 0.2)
    account = Account(backend.convex_url, backend.owner())

    def throw(call: Call) -> Any:
        raise ValueError("out of order")

    functions = backend.deployment.functions
    was, functions[SUCCEEDED] = functions[SUCCEEDED], Function("query", throw)
    finish(backend, "j", ago=60)
    at = submit(backend, "lost")
    backend.deployment.fail(at, "lost", "No.")
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        await home.event("job", "failed", jobId="lost")
        status = await home.ask("daemon.status")
        assert "succeeded" in status["feed"]["lastError"]
        assert not home.running.done()
        assert await home.cursor(account) < at // NS_IN_MS - OVERLAP_MS
        functions[SUCCEEDED] = was
        await home.event("job", "done", jobId="j")
        async with asyncio.timeout(SOON):
            await home.running


async def test_bad_rows_hide_no_others_and_are_told_once(
    backend: Backend, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad: list[Any] = [
        None,
        5.0,
        "row",
        [],
        {"jobId": "no status"},
        {"status": "succeeded"},
    ]
    replace_list(backend, SUCCEEDED, lambda rows: [*bad, *rows])
    with caplog.at_level(logging.WARNING, "materializer.window"):
        async with at_home(state, backend.token_file) as home:
            for n in range(3):
                finish(backend, f"j{n}")
                await home.event("job", "done", jobId=f"j{n}")
            status = await home.ask("daemon.status")
    assert status["feed"]["lastError"] == "6 rows of the feed cannot be read"
    assert [r.getMessage() for r in caplog.records] == [status["feed"]["lastError"]]


@pytest.mark.parametrize("status", ["canceled", "cancelled", "unknown", "expired"])
async def test_every_word_in_the_failed_list_ends_a_job(
    backend: Backend, state: Path, status: str
) -> None:
    row = {"jobId": "j", "status": status}
    replace_list(backend, FAILED, lambda rows: [row])
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "failed", jobId="j")
        job = await home.ask("job.get", jobId="j")
        assert (job["state"], job["status"]) == ("failed", status)
        found = await record(home, backend, "j")
        assert found is not None
        assert (found.told is None) == status.startswith("cancel")


async def test_what_an_event_tells_can_be_asked_for_at_once(
    backend: Backend, state: Path
) -> None:
    async with at_home(state, backend.token_file) as home:
        for n in range(20):
            finish(backend, f"j{n}")
            await home.event("job", "done", jobId=f"j{n}")
            assert (await home.ask("job.get", jobId=f"j{n}"))["state"] == "done"
            assert (await home.ask("daemon.status"))["jobs"]["fetching"] == 0
