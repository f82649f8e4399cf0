from __future__ import annotations

import asyncio
import base64
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from materializer import outputs
from materializer.devserver import media, recipes
from materializer.devserver.app import Backend
from materializer.devserver.bench import Bench
from materializer.devserver.catalog import CAPABILITIES, Order
from materializer.devserver.media import Made
from materializer.devserver.studio import Studio
from materializer.model import Remote
from materializer.sniff import HEAD, sniff
from origin import Origin
from senses import ordered, watched

Settle = Callable[[str], Awaitable[dict[str, Any]]]


def inline(made: Made) -> str:
    return f"data:{made.mime_type};base64,{base64.b64encode(made.data).decode()}"


STILL = inline(media.picture("a still", 0, (64, 48), "png"))
CLIP = inline(media.film("a clip", (64, 48), 0.5, sound=True))
TALK = inline(media.speech("hello"))


# What is ordered, and the extensions of the files that come of it.
ORDERS: tuple[tuple[dict[str, Any], list[str]], ...] = (
    ({"capability": "text_to_image", "input": {"num_images": 2}}, ["png", "png"]),
    ({"capability": "icon", "input": {"output_format": "webp"}}, ["webp"]),
    ({"capability": "image_edit", "source": STILL}, ["png"]),
    ({"capability": "realtime", "source": STILL}, ["png"]),
    ({"capability": "text_to_video", "input": {"duration": 4}}, ["mp4"]),
    ({"capability": "image_to_video", "source": STILL}, ["mp4"]),
    ({"capability": "video_extend", "source": CLIP}, ["mp4"]),
    ({"capability": "video_to_video", "source": CLIP}, ["mp4"]),
    ({"capability": "text_to_dialogue"}, ["wav"]),
    ({"capability": "sound_effects", "input": {"duration_seconds": 1}}, ["mp3"]),
    ({"capability": "audio_generation"}, ["mp3"]),
    ({"capability": "speech_to_text", "source": TALK}, []),
    (
        {
            "capability": "audio_visual_separate",
            "sources": {"video": CLIP, "audio": TALK},
        },
        ["wav", "wav"],
    ),
    ({"capability": "text_to_music"}, ["mp3"]),
    ({"capability": "text_to_3d"}, ["glb"]),
)


def another(backend: Backend, speed: float, *hosts: tuple[str, int]) -> Studio:
    """Return a studio for a backend's jobs that works in its own way."""
    return Studio(
        backend.deployment,
        backend.storage,
        backend.site_url,
        speed,
        spoken={},
        private_hosts=hosts,
    )


async def submit(client: httpx.AsyncClient, **body: Any) -> str:
    asked = {"capability": "text_to_image", "prompt": "a cat"} | body
    answer = await client.post("/api/media/v1/generate", json=asked)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


@pytest.mark.parametrize(
    ("body", "types"),
    ORDERS,
    ids=[body["capability"] for body, _ in ORDERS],
)
async def test_every_capability_ends_with_files_that_a_client_finds_and_can_fetch(
    client: httpx.AsyncClient, settle: Settle, body: dict[str, Any], types: list[str]
) -> None:
    row = await settle(await submit(client, **body))
    assert row["status"] == "succeeded", row
    assert row["createdAt"] <= row["startedAt"] <= row["completedAt"]
    found = outputs.extract(row["output"])
    assert found.recognised
    links = [o.source for o in found.outputs if isinstance(o.source, Remote)]
    fetched = [await client.get(link.url) for link in links]
    media_types = [sniff(answer.content[:HEAD]) for answer in fetched]
    assert [kind and kind.extension for kind in media_types] == types
    for answer, kind in zip(fetched, media_types, strict=True):
        assert kind is not None
        assert answer.headers["content-type"] == kind.mime_type
        assert answer.headers["content-type"] in str(row["output"])


def test_no_capability_is_left_out_above() -> None:
    assert {body["capability"] for body, _ in ORDERS} == CAPABILITIES.keys()


async def test_the_words_of_a_dialogue_come_back_from_its_link_and_from_its_bytes(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    words = "Welcome to Stella. How can I help today?"
    row = await settle(
        await submit(client, capability="text_to_dialogue", prompt=words)
    )
    link = row["output"]["audio"]["url"]
    copy = inline(Made((await client.get(link)).content, "audio/wav", "wav"))
    for source in (link, copy):
        row = await settle(
            await submit(client, capability="speech_to_text", source=source, prompt="")
        )
        assert row["output"]["text"] == words
    row = await settle(await submit(client, capability="speech_to_text", source=TALK))
    assert row["output"]["text"] == recipes.UNKNOWN_SPEECH


async def test_a_film_can_be_continued_from_its_own_link_again_and_again(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    body = {"capability": "text_to_video", "input": {"duration": 4}}
    counts = []
    for _ in range(2):
        row = await settle(await submit(client, **body))
        link = row["output"]["video"]["url"]
        counts.append(len(watched((await client.get(link)).content)))
        body = {"capability": "video_extend", "sourceUrl": link}
    assert counts == [96, 144]


async def test_no_source_is_fetched_from_a_private_address(
    client: httpx.AsyncClient, settle: Settle, source: Origin
) -> None:
    url = source.serve("/still.png", media.picture("a", 0, (9, 9), "png").data)
    row = await settle(await submit(client, capability="image_to_video", sourceUrl=url))
    assert row["status"] == "failed"
    assert row["error"]["code"] == "bad_source"
    assert "is not on the public internet" in row["error"]["message"]
    assert source.requests == []


async def test_an_allowed_host_may_be_asked_although_it_is_private(
    backend: Backend, settle: Settle, source: Origin
) -> None:
    url = source.serve("/still.png", media.picture("a", 0, (9, 9), "png").data)
    studio = another(backend, 100, ("127.0.0.1", source.port))
    order = ordered("image_edit", image_urls=[url])
    studio.queue(backend.owner(), "j", order)
    await studio.perform("j", order)
    assert (await settle("j"))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            {"capability": "image_edit", "source": TALK},
            "The source cannot be used: it cannot be read as a picture.",
        ),
        (
            {"capability": "video_extend", "source": "data:video/mp4;base64,aGk="},
            "The source cannot be used: it cannot be read as a film.",
        ),
        (
            {"capability": "speech_to_text"},
            "The source cannot be used: no sound was given.",
        ),
    ],
    ids=["picture", "film", "none"],
)
async def test_a_source_of_the_wrong_kind_makes_the_job_fail_in_words(
    client: httpx.AsyncClient, settle: Settle, body: dict[str, Any], says: str
) -> None:
    row = await settle(await submit(client, **body))
    assert row["error"] == {"message": says, "code": "bad_source"}


async def test_a_job_is_queued_then_runs_then_ends(
    backend: Backend, client: httpx.AsyncClient, settle: Settle
) -> None:
    seen: list[str] = []

    def note() -> None:
        args = {"jobId": job_id}
        row = backend.deployment.run("media_jobs:getByJobId", args, me).value
        seen.append(row["status"])

    me = backend.owner()
    job_id = await submit(client)
    backend.deployment.watchers.add(note)
    await settle(job_id)
    assert seen == ["running", "running", "succeeded"]


async def test_music_is_there_at_once(backend: Backend, settle: Settle) -> None:
    studio = another(backend, 1e-9)
    order = ordered("text_to_music", prompt="[empty]", at_once=True)
    studio.queue(backend.owner(), "j", order)
    async with asyncio.timeout(5):
        await studio.perform("j", order)
    assert (await settle("j"))["status"] == "succeeded"


async def test_the_event_loop_goes_on_while_something_is_made(
    backend: Backend, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, seen = threading.Event(), threading.Event()

    def slow(_: Order, __: Bench) -> dict[str, Any]:
        making.set()
        assert seen.wait(10)  # which the loop has to do
        return {}

    monkeypatch.setitem(recipes.RECIPES, "text_to_3d", slow)
    studio, order = backend._studio, ordered("text_to_3d")
    studio.queue(backend.owner(), "j", order)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(studio.perform("j", order))
        await asyncio.to_thread(making.wait, 10)
        seen.set()
    assert (await settle("j"))["status"] == "succeeded"


@pytest.mark.parametrize("prompt", ["a cat", "[fail: Too late]", "[cancel]", "[empty]"])
@pytest.mark.parametrize("when", ["queued", "running"])
async def test_what_was_canceled_stays_so(
    backend: Backend, when: str, prompt: str
) -> None:
    deployment, studio = backend.deployment, backend._studio
    order = ordered("icon", prompt=prompt)

    def cancel() -> None:
        row = deployment.row("j", backend.owner())
        if row and row.status == when:
            deployment.cancel(time.time_ns(), "j")

    deployment.watchers.add(cancel)
    studio.queue(backend.owner(), "j", order)
    await studio.perform("j", order)
    row = deployment.row("j", backend.owner())
    assert row is not None
    assert (row.status, row.output, row.error) == ("canceled", None, None)
    assert (row.started_at is None) == (when == "queued")


async def test_what_is_canceled_while_it_is_made_is_not_delivered(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    cancel = backend.deployment.cancel
    canceled = threading.Event()

    def stop() -> None:
        cancel(time.time_ns(), "j")
        canceled.set()

    def too_late(_: Order, __: Bench) -> dict[str, Any]:
        loop.call_soon_threadsafe(stop)
        assert canceled.wait(10)
        return {"images": []}

    monkeypatch.setitem(recipes.RECIPES, "icon", too_late)
    order = ordered("icon")
    backend._studio.queue(backend.owner(), "j", order)
    await backend._studio.perform("j", order)
    row = backend.deployment.row("j", backend.owner())
    assert row is not None
    assert (row.status, row.output) == ("canceled", None)


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("[fail: Unsafe prompt]", {"message": "Unsafe prompt"}),
        ("[fail:BUSY Try later]", {"message": "Try later", "code": "BUSY"}),
    ],
)
async def test_a_prompt_can_ask_for_a_failure(
    client: httpx.AsyncClient, settle: Settle, prompt: str, error: dict[str, str]
) -> None:
    row = await settle(await submit(client, prompt=prompt))
    assert (row["status"], row["error"]) == ("failed", error)
    assert "output" not in row


async def test_a_prompt_can_ask_that_the_job_is_not_even_taken(
    backend: Backend, settle: Settle
) -> None:
    order = ordered("icon", prompt="[refuse: No room]")
    backend._studio.queue(backend.owner(), "j", order)
    await backend._studio.perform("j", order)
    row = await settle("j")
    assert (row["status"], row["error"]["message"]) == ("failed", "No room")
    assert "startedAt" not in row


async def test_a_prompt_can_ask_to_be_canceled_or_for_nothing(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    row = await settle(await submit(client, prompt="[cancel]"))
    assert row["status"] == "canceled"
    row = await settle(await submit(client, prompt="[empty]"))
    assert (row["status"], row["output"]) == ("succeeded", {})


async def test_a_prompt_can_ask_for_links_that_have_expired(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    row = await settle(await submit(client, prompt="[expire]"))
    answer = await client.get(row["output"]["images"][0]["url"])
    assert answer.status_code == 403


async def test_a_prompt_can_ask_for_time(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    row = await settle(await submit(client, prompt="[slow:0.3][cancel]"))
    assert row["completedAt"] - row["startedAt"] >= 300


async def test_a_maker_that_breaks_makes_the_job_fail_and_is_logged(
    backend: Backend,
    settle: Settle,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Order, __: Bench) -> dict[str, Any]:
        raise RuntimeError("the brush is gone")

    monkeypatch.setitem(recipes.RECIPES, "text_to_3d", broken)
    order = ordered("text_to_3d")
    backend._studio.queue(backend.owner(), "j", order)
    with caplog.at_level(logging.ERROR):
        await backend._studio.perform("j", order)
    row = await settle("j")
    assert row["error"]["message"] == "Media generation failed upstream."
    assert "the brush is gone" in caplog.text
