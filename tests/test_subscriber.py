from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from convex_server import Deployment, Talk, deployed
from convex_side import auth_error, jwt
from home import DAY, IMAGE, PNG, SOON, Home, Questions, at_home, finish, submit
from materializer.daemon import Manner
from materializer.devserver.app import Backend
from materializer.gallery import ledger
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_FOUND, NOT_SIGNED_IN
from materializer.job_methods import PATIENCE
from materializer.model import Account
from materializer.plan import OVERLAP_MS
from origin import Origin


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
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "backend" / "secret", tmp_path / "other")
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


async def test_another_account_is_asked_from_where_it_has_settled_from_the_start(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, float]] = []
    run = backend.deployment.run

    def spy(path: str, args: Any, owner: str | None) -> Any:
        if path == "media_jobs:listSucceededSince":
            asked.append((owner, args["since"]))
        return run(path, args, owner)

    monkeypatch.setattr(backend.deployment, "run", spy)
    me, you = (
        Account(backend.convex_url, backend.owner(sub)) for sub in ("dev", "other")
    )
    async with at_home(state, backend.token_file) as home:
        settled = await home.database.write(ledger.cursors, you, first=7)
        await home.event("feed", "live")
        await home.ask("auth.set", token=backend.token("other"))
        await home.event("auth", "signed_in", owner=you.owner)
        finish(backend, "yours", "other")
        await home.event("job", "done", jobId="yours")
    assert settled["succeeded"] == 7
    assert {since for owner, since in asked if owner == you.owner} == {7}
    assert {since for owner, since in asked if owner == me.owner} != {7}


async def refuse(talk: Talk) -> None:
    """Refuse whoever comes, as a deployment does."""
    while (await talk.hear())["type"] != "Authenticate":
        pass
    await talk.socket.send(auth_error(0, error="The token has expired."))
    await talk.socket.close()


async def test_a_refused_sign_in_is_a_state_with_words_and_told_once(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.convex.identity.SELDOM", 0.1)
    async with deployed() as deployment:
        deployment.scripts.extend([refuse] * 2)
        url = deployment.url
        async with at_home(state, token=jwt(mark="0"), convex_url=url) as home:
            told = await home.event("notification", "not_shown")
            assert (told["jobId"], told["body"]) == (None, "The token has expired.")
            await home.event("feed", "signed_out", reason="The token has expired.")
            status = await home.ask("daemon.status")
            assert status["feed"]["state"] == "signed_out"
            assert status["feed"]["lastError"] == "The token has expired."
            await home.ask("auth.set", token=jwt(mark="1"))
            await deployment.until(lambda: len(deployment.talks) == 2)
            await home.event("feed", "signed_out", reason="The token has expired.")
            async with asyncio.timeout(1):
                await home.ask("auth.set", token=jwt(mark="2"))
                await home.event("feed", "live")
            assert heard(home, "notification") == []
            sent = [talk.heard[1]["value"] for talk in deployment.talks]
            assert sent == [jwt(mark=mark) for mark in "012"]


async def test_a_sign_in_that_was_good_and_is_refused_again_is_told_again(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.convex.identity.SELDOM", 0.1)
    async with deployed() as deployment:
        deployment.scripts.append(refuse)
        url = deployment.url
        async with at_home(state, token=jwt(mark="0"), convex_url=url) as home:
            await home.event("notification", "not_shown", jobId=None)
            await home.ask("auth.set", token=jwt(mark="1"))
            await home.event("feed", "live")
            deployment.scripts.append(refuse)
            await deployment.talks[-1].socket.close()
            await home.event("notification", "not_shown", jobId=None)


@pytest.mark.parametrize("how", ["emptied", "removed"])
async def test_a_token_file_that_is_emptied_or_removed_signs_out_on_the_wire(
    state: Path, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "token"
    file.write_text(jwt())
    async with deployed() as deployment:
        async with at_home(state, file, convex_url=deployment.url) as home:
            await home.event("feed", "live")
            if how == "emptied":
                file.write_text("")
            else:
                file.unlink()
            await signed_out(deployment, 0)
            await home.event("feed", "signed_out", reason="nobody is signed in")
            assert heard(home, "notification") == []
            file.write_text(jwt(mark="b"))
            await home.event("feed", "live")
        assert len(deployment.talks) == 2


async def test_auth_clear_signs_out_on_the_wire(state: Path) -> None:
    async with (
        deployed() as deployment,
        at_home(state, convex_url=deployment.url) as home,
    ):
        await home.ask("auth.set", token=jwt())
        await home.event("feed", "live")
        await home.ask("auth.clear")
        await signed_out(deployment, 0)


async def test_who_signs_out_while_signing_in_is_told_of_both_in_order(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    record = ledger.signed_in

    def slow(db: Any, owner: str) -> None:
        entered.set()
        go.wait(SOON)
        record(db, owner)

    monkeypatch.setattr(ledger, "signed_in", slow)
    async with (
        deployed() as deployment,
        at_home(state, convex_url=deployment.url) as home,
    ):
        await home.event("feed", "signed_out")
        await home.ask("auth.set", token=jwt())
        await asyncio.to_thread(entered.wait, SOON)
        await home.ask("auth.clear")
        go.set()
        await home.event("auth", "signed_in", owner="https://site.test|ada")
        await home.event("auth", "signed_out", owner=None)
        assert deployment.requests == []


def heard(home: Home, topic: str) -> list[dict[str, Any]]:
    """Return the events of a topic that came so far and were not waited for."""
    events = [sent.params for sent in home._kept if sent.method == "event"]
    return [event["data"] for event in events if event["topic"] == topic]


async def signed_out(deployment: Deployment, talk: int) -> None:
    """Wait until a connection has ended, with signing out as the last word on it."""
    async with asyncio.timeout(SOON):
        await deployment.talks[talk].socket.wait_closed()
    assert deployment.talks[talk].heard[-1]["type"] == "Authenticate"
    assert deployment.talks[talk].heard[-1]["tokenType"] == "None"


async def test_what_is_announced_for_one_account_waits_until_it_is_back(
    backend: Backend, state: Path, source: Origin
) -> None:
    go = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)

    finish(backend, "mine", output={"image": {"url": source.respond("/a", slow)}})
    async with at_home(state, backend.token_file) as home:
        await home.ask("display.subscribe", consumer="app", after=0)
        await home.event("job", "fetching", jobId="mine")
        await home.ask("auth.set", token=backend.token("other"))
        await home.event("auth", "signed_in", owner=backend.owner("other"))
        go.set()
        async with asyncio.timeout(SOON):
            while not await settled(home, backend.owner(), "mine"):
                await home.ask("daemon.status")
        finish(backend, "yours", "other")
        assert (await home.update())["payload"]["jobId"] == "yours"
        await home.event("job", "done", jobId="yours")
        assert {data["jobId"] for data in home.passed_over("job")} == {"yours"}
        await home.ask("auth.clear")
        await home.event("auth", "signed_in", owner=backend.owner())
        assert (await home.update())["payload"]["jobId"] == "mine"


async def settled(home: Home, owner: str, job_id: str) -> bool:
    known = await home.database.read(ledger.known, owner, [job_id])
    return job_id in known and known[job_id].state == "done"


async def test_it_is_known_who_is_signed_in_before_a_deployment_has_answered(
    state: Path,
) -> None:
    ended = asyncio.Event()

    async def say_nothing(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with at_home(state, token=jwt(), convex_url=url) as home:
            # Sooner than a daemon that does not know yet would give up to find out.
            async with asyncio.timeout(PATIENCE / 2):
                assert await home.refusal("job.get", jobId="nothing") == NOT_FOUND
            assert (await home.ask("daemon.status"))["feed"]["state"] == "connecting"
        ended.set()
