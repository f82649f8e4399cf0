from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend
from materializer.devserver.catalog import CAPABILITIES, Order

Settle = Callable[[str], Awaitable[dict[str, Any]]]
WAV = "data:audio/wav;base64,UklGRg=="


async def submit(client: httpx.AsyncClient, **body: Any) -> str:
    asked = {"capability": "text_to_image", "prompt": "a cat"} | body
    answer = await client.post("/api/media/v1/generate", json=asked)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


@pytest.mark.parametrize(
    ("body", "path", "starts"),
    [
        ({"capability": "text_to_image"}, ("images", 0), b"\x89PNG"),
        ({"capability": "image_to_video", "source": WAV}, ("video",), b"\0\0\0"),
        ({"capability": "text_to_dialogue"}, ("audio",), b"RIFF"),
        ({"capability": "text_to_music"}, ("audio",), b"ID3"),
        ({"capability": "text_to_3d"}, ("model_mesh",), b"glTF"),
    ],
    ids=lambda value: value.get("capability") if isinstance(value, dict) else "",
)
async def test_a_job_goes_to_success_and_its_output_can_be_fetched(
    client: httpx.AsyncClient,
    settle: Settle,
    body: dict[str, Any],
    path: tuple[str | int, ...],
    starts: bytes,
) -> None:
    row = await settle(await submit(client, **body))
    assert row["status"] == "succeeded"
    assert row["createdAt"] <= row["startedAt"] <= row["completedAt"]
    file: Any = row["output"]
    for step in path:
        file = file[step]
    answer = await client.get(file["url"])
    assert answer.status_code == 200
    assert answer.content.startswith(starts)
    assert answer.headers["content-type"] in file.values()


async def test_a_transcript_comes_with_the_job_itself(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    row = await settle(
        await submit(client, capability="speech_to_text", source=WAV, prompt="")
    )
    assert row["output"]["text"] == "The embedded backend heard this."


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
    assert seen == ["running", "succeeded"]


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


async def test_a_prompt_can_ask_to_be_canceled_or_for_nothing(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    assert (await settle(await submit(client, prompt="[cancel]")))[
        "status"
    ] == "canceled"
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
    backend: Backend, settle: Settle, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Order) -> dict[str, Any]:
        raise RuntimeError("the brush is gone")

    entry = replace(CAPABILITIES["text_to_3d"], make=broken)
    studio = backend._studio
    studio.queue(backend.owner(), "j", order := Order(entry, "default", "", "", {}, {}))
    with caplog.at_level(logging.ERROR):
        await studio.perform("j", order)
    row = await settle("j")
    assert row["error"]["message"] == "Media generation failed upstream."
    assert "the brush is gone" in caplog.text
