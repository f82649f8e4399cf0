"""How `stella-media` waits: on the live feed, by asking, and when either fails."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from materializer import __version__, config
from materializer.gallery import Gallery, items
from materializer.host import InstanceLock, prepare_directories
from materializer.ipc import contract
from materializer.ipc.connection import Method
from materializer.ipc.server import IpcServer
from origin import Origin
from process.house import (
    MATERIALIZER,
    MEDIA,
    App,
    Held,
    House,
    Running,
    png,
    posix,
    started,
)
from process.scripted_gateway import (
    LOST,
    Answer,
    ScriptedGateway,
    accepted,
    row,
    scripted_gateway,
)

WAIT = (*MEDIA, "generate", "--request", "{}", "--wait")
SAVE = (*MEDIA, "status", "--job-id", "job", "--save")
POLL = "/api/media/v1/job?"
SUBMIT = "/api/media/v1/generate"
# So long a command would wait for its second question, and a test never does.
SELDOM = ("--poll-interval", "60", "--timeout", "120")
SOON = 20.0
NOBODY = "nobody is signed in, so no job can be asked for"
REFUSED = Answer({"error": "No.", "action": "Sign in."}, 401)


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    async with scripted_gateway() as told:
        yield told


@pytest.fixture
def studio(house: House, gateway: ScriptedGateway) -> House:
    """A house whose commands ask the scripted gateway, as the feed's owner."""
    house.environ["STELLA_MEDIA_BASE_URL"] = gateway.url
    house.environ["STELLA_MEDIA_TOKEN_FILE"] = str(house.backend.token_file)
    return house


def made(url: str) -> Answer:
    return row("succeeded", output={"images": [{"url": url}]})


def submitted(house: House, capability: str = "text_to_image") -> None:
    """Let the feed know of the job, as it does before its id is told."""
    owner = house.backend.owner()
    house.backend.deployment.submit(
        time.time_ns(), owner=owner, job_id="job", capability=capability
    )


def succeeded(house: House, url: str) -> None:
    output = {"images": [{"url": url}]}
    house.backend.deployment.succeed(time.time_ns(), "job", output)


async def known(app: App) -> None:
    """Wait until the daemon knows the job that was submitted, of which none tells."""
    async with asyncio.timeout(SOON):
        while not (await app.call("job.list"))["jobs"]:  # noqa: ASYNC110 -- as said
            await asyncio.sleep(0.01)


async def test_with_a_daemon_the_live_feed_ends_the_wait_and_the_daemon_saves(
    studio: House, gateway: ScriptedGateway
) -> None:
    submitted(studio)
    gateway.submits(accepted())
    async with studio.daemon(), App(studio.state) as app:
        await app.subscribe()
        await app.feed("live")
        async with started(studio.root, studio.environ, *WAIT, *SELDOM) as waiting:
            await known(app)
            succeeded(studio, studio.picture("job"))
            finished = time.monotonic()
            end = await waiting.ended()
            took = time.monotonic() - finished
        await app.event("job", jobId="job", state="fetching")
        await app.event("job", jobId="job", state="done")
        assert (await app.update())["payload"]["jobId"] == "job"
    path = studio.outputs / "job_0.png"
    assert (end.code, end.out) == (0, f"Media job job completed.\nimage: {path}\n")
    told = ["submitted", "succeeded"]
    assert end.err.splitlines() == [f"media job job: {status}" for status in told]
    assert path.read_bytes() == png("job")
    assert gateway.to(POLL) == []
    assert took < 5.0  # it takes some tens of milliseconds; a question, a minute


async def test_for_a_program_the_row_is_asked_for_once_when_the_feed_has_ended_it(
    studio: House, gateway: ScriptedGateway
) -> None:
    submitted(studio)
    url = studio.picture("job")
    gateway.submits(accepted())
    gateway.tells(made(url))
    async with studio.daemon(), App(studio.state) as app:
        await app.feed("live")
        command = (*WAIT, *SELDOM, "--json")
        async with started(studio.root, studio.environ, *command) as waiting:
            await known(app)
            assert gateway.to(POLL) == []
            succeeded(studio, url)
            end = await waiting.ended()
    assert (end.code, end.err) == (0, "")
    path = str(studio.outputs / "job_0.png")
    assert json.loads(end.out) == {
        "job": made(url).body,
        "files": [{"kind": "image", "url": url, "path": path}],
    }
    assert len(gateway.to(POLL)) == 1


async def test_a_failure_that_the_feed_tells_is_worded_with_what_the_row_says(
    studio: House, gateway: ScriptedGateway
) -> None:
    submitted(studio, "icon")
    gateway.submits(accepted())
    error = {"message": "Later.", "code": "runner_disconnected"}
    gateway.tells(row("failed", error=error))
    async with studio.daemon(), App(studio.state) as app:
        await app.feed("live")
        async with started(studio.root, studio.environ, *WAIT, *SELDOM) as waiting:
            await known(app)
            failing = time.time_ns(), "job", "Later.", "runner_disconnected"
            studio.backend.deployment.fail(*failing)
            end = await waiting.ended()
    assert (end.code, end.out) == (1, "")
    assert end.err.splitlines()[-3:] == [
        "media job job: failed",
        "Image service is busy",
        "Later.",
    ]


async def test_a_failure_that_was_told_without_a_daemon_is_told_by_no_later_one(
    studio: House, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(row("failed", error={"message": "No."}))
    end = await studio.command(*WAIT)
    assert (end.code, end.err.splitlines()[-1]) == (1, "No.")
    paths = config.load({"state_dir": str(studio.state)}, {}).paths
    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    record = await gallery.read(items.record, studio.backend.owner(), "job")
    await gallery.close()
    assert record is not None
    assert record.state == "failed"
    assert record.told not in (None, "due")


async def test_when_the_daemon_goes_away_the_wait_goes_on_by_asking(
    studio: House, gateway: ScriptedGateway, source: Origin
) -> None:
    submitted(studio)
    gateway.submits(accepted())
    gateway.tells(row("running"), made(source.serve("/a.png", png("a"))))
    command = (*WAIT, "--poll-interval", "0.05")
    async with studio.daemon() as daemon, App(studio.state) as app:
        await app.feed("live")
        async with started(studio.root, studio.environ, *command) as waiting:
            await known(app)
            assert gateway.to(POLL) == []
            await daemon.killed()
            end = await waiting.ended()
    path = studio.outputs / "job_0.png"
    assert (end.code, end.out) == (0, f"Media job job completed.\nimage: {path}\n")
    assert end.err.splitlines()[-1] == "media job job: succeeded"
    assert path.read_bytes() == png("a")
    assert len(gateway.to(POLL)) == 2
    listed = await studio.command(*MATERIALIZER, "gallery", "list", "--json")
    assert [item["id"] for item in json.loads(listed.out)["items"]] == ["job_0"]


async def test_a_job_that_the_feed_never_ends_takes_too_long(
    studio: House, gateway: ScriptedGateway
) -> None:
    submitted(studio, "text_to_3d")
    gateway.submits(accepted(capability="text_to_3d"))
    async with studio.daemon(), App(studio.state) as app:
        await app.feed("live")
        end = await studio.command(*WAIT, "--timeout", "0.5")
    assert (end.code, end.out) == (124, "")
    assert end.err.splitlines()[-1] == "3D model generation took too long"
    assert gateway.to(POLL) == []


async def test_a_job_that_only_waits_to_be_saved_has_not_taken_too_long(
    studio: House, gateway: ScriptedGateway, source: Origin
) -> None:
    held = Held(source, "/a.png", png("a"))
    gateway.submits(accepted())
    async with studio.daemon(), App(studio.state) as app:
        await app.feed("live")
        studio.finish("job", {"images": [{"url": held.url}]})
        await held.halfway()
        command = (*WAIT, "--timeout", "0.2")
        async with started(studio.root, studio.environ, *command) as waiting:
            await gateway.heard(SUBMIT, 1, SOON)
            with pytest.raises(TimeoutError):
                await waiting.ended(within=1.5)
            held.let_go()
            end = await waiting.ended()
    assert end.code == 0, end.err


async def test_a_daemon_that_is_signed_out_is_named_and_exit_77(
    studio: House, gateway: ScriptedGateway, source: Origin
) -> None:
    gateway.submits(accepted())
    gateway.tells(made(source.serve("/a.png", png("a"))))
    nobody = studio.root / "nobody"
    nobody.write_text("")
    async with studio.daemon(token_file=nobody), App(studio.state) as app:
        await app.feed("signed_out")
        end = await studio.command(*WAIT)
    assert (end.code, end.out) == (77, "")
    assert end.err.splitlines() == [
        "media job job: submitted",
        f"job is not looked after on this computer: {NOBODY}",
        "media job job: succeeded",
        "The running daemon is not signed in to Stella.",
    ]


async def test_questions_that_fail_are_asked_again_later_each_time(
    studio: House, gateway: ScriptedGateway, source: Origin
) -> None:
    gateway.submits(accepted())
    gateway.tells(
        Answer({"error": "Too many."}, 429, ("Retry-After: 1",)),
        Answer(b"<html>", 503),
        LOST,
        row("running"),
        made(source.serve("/a.png", png("a"))),
    )
    end = await studio.command(*WAIT, "--poll-interval", "0.2")
    assert end.code == 0, end.err
    told = ["submitted", "running", "succeeded"]
    assert end.err.splitlines() == [f"media job job: {status}" for status in told]
    times = [asked.at for asked in gateway.to(POLL)]
    waits = [later - asked for asked, later in itertools.pairwise(times)]
    assert len(waits) == 4
    floors = [1.0, 0.2 * 2**2 / 2, 0.2 * 2**3 / 2, 0.2]
    for waited, floor in zip(waits, floors, strict=True):
        assert waited > floor - 0.02


async def test_a_gateway_that_asks_for_more_time_than_there_is_ends_the_wait(
    studio: House, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(Answer({"error": "Too many."}, 429, ("Retry-After: 300",)))
    end = await studio.command(*WAIT, *SELDOM)
    assert (end.code, end.out) == (124, "")
    assert end.err.splitlines()[1:] == [
        "Image generation took too long",
        "Too many.",
        "Wait 5 minutes, then send the same request again.",
    ]
    assert len(gateway.to(POLL)) == 1


async def test_the_last_question_is_asked_as_the_time_is_up(
    studio: House, gateway: ScriptedGateway, source: Origin
) -> None:
    gateway.submits(accepted())
    gateway.tells(row("running"), made(source.serve("/a.png", png("a"))))
    end = await studio.command(*WAIT, "--poll-interval", "60", "--timeout", "2")
    assert end.code == 0, end.err
    [submit] = gateway.to(SUBMIT)
    _, last = gateway.to(POLL)
    assert last.at - submit.at > 1.9


def jwt(number: int, good_for: int) -> str:
    """Return a token that ends soon; who made it is for a real gateway to judge."""
    now = int(time.time())
    claims = {"iss": "i", "sub": "s", "iat": now - 300, "exp": now + good_for}
    parts = [{"alg": "none"}, claims | {"number": number}]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in parts
    ]
    return ".".join((*encoded, "c2lnbmVk"))


async def test_a_token_file_that_changes_during_a_wait_counts_at_once(
    studio: House, gateway: ScriptedGateway, source: Origin, tmp_path: Path
) -> None:
    tokens = tmp_path / "token"
    studio.environ["STELLA_MEDIA_TOKEN_FILE"] = str(tokens)
    gateway.submits(accepted())
    gateway.tells(row("running"))
    tokens.write_text(jwt(0, 300))
    command = (*WAIT, "--poll-interval", "0.05")
    async with started(studio.root, studio.environ, *command) as waiting:
        await gateway.heard(POLL, 1, SOON)
        tokens.write_text(fresh := jwt(1, 300))
        async with asyncio.timeout(SOON):
            while bearer(gateway) != fresh:
                await gateway.heard(POLL, len(gateway.to(POLL)) + 1, SOON)
        gateway.tells(made(source.serve("/a.png", png("a"))))
        end = await waiting.ended()
    assert end.code == 0, end.err
    assert bearer(gateway) == fresh


def bearer(gateway: ScriptedGateway) -> str:
    return gateway.asked[-1].headers["authorization"].removeprefix("Bearer ")


def printing(tokens: list[str], folder: Path) -> str:
    """Return a command that prints one token after the other; the last stays."""
    for i, token in enumerate(tokens):
        (folder / f"token-{i}").write_text(token)
    script = folder / "print_token.py"
    script.write_text(
        "from pathlib import Path\n"
        "folder = Path(__file__).parent\n"
        "first, *more = sorted(folder.glob('token-*'))\n"
        "print(first.read_text())\n"
        "if more: first.unlink()\n"
    )
    return shlex.join((sys.executable, str(script)))


@pytest.mark.parametrize(
    ("good_for", "second"),
    [(60, row("running")), (300, REFUSED)],
    ids=["about to end", "refused"],
)
async def test_a_token_command_is_run_again_when_its_token_ends(
    studio: House,
    gateway: ScriptedGateway,
    source: Origin,
    tmp_path: Path,
    good_for: int,
    second: Answer,
) -> None:
    tokens = [jwt(i, good_for) for i in range(4)]
    del studio.environ["STELLA_MEDIA_TOKEN_FILE"]
    studio.environ["STELLA_MEDIA_TOKEN_COMMAND"] = printing(tokens, tmp_path)
    gateway.submits(accepted())
    gateway.tells(row("running"), second, made(source.serve("/a.png", png("a"))))
    end = await studio.command(*WAIT, "--poll-interval", "0.05")
    assert end.code == 0, end.err
    used = [asked.headers["authorization"] for asked in gateway.asked]
    assert used[0] == f"Bearer {tokens[0]}"
    assert used[-1] != used[1]
    assert used[-1].removeprefix("Bearer ") in tokens[1:]


async def test_who_signs_out_during_a_wait_is_told_so(
    studio: House, gateway: ScriptedGateway, tmp_path: Path
) -> None:
    tokens = tmp_path / "token"
    studio.environ["STELLA_MEDIA_TOKEN_FILE"] = str(tokens)
    gateway.submits(accepted())
    gateway.tells(row("running"))
    tokens.write_text(jwt(0, 300))
    command = (*WAIT, "--poll-interval", "0.05")
    async with started(studio.root, studio.environ, *command) as waiting:
        await gateway.heard(POLL, 1, SOON)
        tokens.unlink()
        end = await waiting.ended()
    assert end.code == 77
    assert end.err.splitlines()[-1].startswith("stella-media requires Stella sign-in.")


async def test_a_submit_whose_answer_is_lost_is_sent_again_under_the_same_key(
    studio: House, gateway: ScriptedGateway
) -> None:
    command = (*MEDIA, "generate", "--request", '{"prompt": "a lamp"}')
    gateway.submits(LOST, Answer(b"<html>", 202), accepted())
    end = await studio.command(*command)
    assert (end.code, end.err) == (0, "")
    assert json.loads(end.out)["jobId"] == "job"
    first, *again = gateway.to(SUBMIT)
    assert len(again) == 2
    for asked in again:
        assert asked.body == first.body
        assert asked.headers["idempotency-key"] == first.headers["idempotency-key"]
    await studio.command(*command)
    other = gateway.to(SUBMIT)[-1]
    assert other.headers["idempotency-key"] != first.headers["idempotency-key"]


@pytest.mark.parametrize("status", [400, 402, 429, 500, 502])
async def test_a_submit_that_is_refused_is_not_sent_again(
    studio: House, gateway: ScriptedGateway, status: int
) -> None:
    gateway.submits(Answer({"error": "No."}, status))
    end = await studio.command(*WAIT)
    assert (end.code, end.out) == (1, "")
    assert end.err.splitlines()[0] == "No."
    assert len(gateway.asked) == 1


async def test_a_submit_that_never_gets_an_answer_is_given_up(
    studio: House, gateway: ScriptedGateway
) -> None:
    gateway.submits(LOST)
    end = await studio.command(*WAIT)
    assert (end.code, end.out) == (1, "")
    assert "127.0.0.1 did not answer" in end.err
    assert len(gateway.to(SUBMIT)) == 4


@posix
async def test_an_interrupted_wait_exits_130_and_the_job_stays_looked_after(
    studio: House, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(row("running"))
    async with started(studio.root, studio.environ, *WAIT, *SELDOM) as waiting:
        await gateway.heard(POLL, 1, SOON)
        waiting.send(signal.SIGINT)
        end = await waiting.ended()
    assert (end.code, end.out) == (130, "")
    assert "Traceback" not in end.err
    async with studio.daemon(), App(studio.state) as app:
        assert (await app.call("job.get", jobId="job"))["state"] == "pending"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "no daemon"])
async def test_twenty_that_save_one_job_at_once_make_one_download(
    studio: House, gateway: ScriptedGateway, source: Origin, *, with_daemon: bool
) -> None:
    held = Held(source, "/a.png", png("a"))
    output = {"images": [{"url": held.url}]}
    gateway.tells(row("succeeded", output=output))
    studio.finish("job", output)
    async with AsyncExitStack() as house:
        if with_daemon:
            await house.enter_async_context(studio.daemon())
        saving: list[Running] = [
            await house.enter_async_context(started(studio.root, studio.environ, *SAVE))
            for _ in range(20)
        ]
        await gateway.heard(POLL, 20, 150)
        await held.halfway()
        held.let_go()
        ends = [await running.ended(within=150) for running in saving]
    path = studio.outputs / "job_0.png"
    told = f"Media job job completed.\nimage: {path}\n"
    assert {(end.code, end.out, end.err) for end in ends} == {(0, told, "")}
    assert len(source.requests) == 1
    assert path.read_bytes() == png("a")


async def test_who_waits_for_the_lock_goes_to_the_daemon_that_took_it(
    studio: House, gateway: ScriptedGateway
) -> None:
    gateway.tells(made("http://127.0.0.1:9/never"))
    paths = config.load({"state_dir": str(studio.state)}, {}).paths
    prepare_directories(paths)
    asked: list[str] = []

    async def materialize(_: object, params: contract.OneJob) -> dict[str, Any]:
        asked.append(params.job_id)
        return {"state": "done", "error": None, "outputs": []}

    method = Method(contract.reader(contract.OneJob), materialize)
    server = IpcServer(paths.state, __version__, asyncio.Event())
    with InstanceLock(paths.lock):
        async with started(studio.root, studio.environ, *SAVE) as saving:
            await gateway.heard(POLL, 1, SOON)
            with pytest.raises(TimeoutError):
                await saving.ended(within=1.5)
            async with server:
                server.offer({"job.materialize": method})
                end = await saving.ended()
    assert (end.code, end.out, end.err) == (0, "Media job job completed.\n", "")
    assert asked == ["job"]
