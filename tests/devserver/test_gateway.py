from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend

CAT = {"capability": "text_to_image", "prompt": "a cat"}
GENERATE, JOB = "/api/media/v1/generate", "/api/media/v1/job"


async def test_an_order_is_accepted_as_a_queued_job(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATE, json=CAT)
    job_id = answer.json()["jobId"]
    assert answer.status_code == 202
    assert answer.json() == {
        "jobId": job_id,
        "capability": "text_to_image",
        "profile": "best",
        "status": "queued",
        "upstreamStatus": "IN_QUEUE",
        "subscription": {
            "query": "api.media_jobs.getByJobId",
            "args": {"jobId": job_id},
        },
    }


async def test_the_job_can_be_asked_for_until_it_is_done(
    client: httpx.AsyncClient, settle: Callable[[str], Awaitable[dict[str, Any]]]
) -> None:
    job_id = (await client.post(GENERATE, json=CAT)).json()["jobId"]
    first = (await client.get(JOB, params={"jobId": job_id})).json()
    assert (first["jobId"], first["request"]) == (job_id, {"prompt": "a cat"})
    row = await settle(job_id)
    answer = await client.get(JOB, params={"jobId": job_id})
    assert answer.json() == row
    assert row["status"] == "succeeded"


async def test_the_same_idempotency_key_means_the_same_job(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    async def submit(key: str, sub: str = "dev") -> str:
        headers = {
            "Idempotency-Key": key,
            "Authorization": f"Bearer {backend.token(sub)}",
        }
        answer = await client.post(GENERATE, json=CAT, headers=headers)
        assert answer.status_code == 202
        return str(answer.json()["jobId"])

    first = await submit("k1")
    assert await submit("k1") == first
    assert await submit("k2") != first
    assert await submit("k1", "other") != first


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer x.y.z", "Basic abc"])
async def test_without_a_good_token_the_answer_says_what_to_do(
    backend: Backend, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=backend.site_url, headers=headers) as client:
        answers = [await client.post(GENERATE, json=CAT), await client.get(JOB)]
    for answer in answers:
        body = answer.json()
        assert answer.status_code == 401
        assert "signed-in" in body["error"]
        assert body["code"] == "auth_required"
        assert "sign in" in body["action"]
        assert body["docsUrl"] == "https://stella.sh/docs/media"
        assert 'Bearer realm="stella-media"' in answer.headers["www-authenticate"]


async def test_an_expired_token_is_no_good_token(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {backend.token(lifetime=-1)}"}
    answer = await client.post(GENERATE, json=CAT, headers=headers)
    assert answer.status_code == 401


async def test_a_wrong_order_is_answered_with_what_is_wrong(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(GENERATE, json={"capability": "text_to_image"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "prompt is required for this capability"}


async def test_another_owners_job_is_not_found(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    job_id = (await client.post(GENERATE, json=CAT)).json()["jobId"]
    headers = {"Authorization": f"Bearer {backend.token('other')}"}
    answer = await client.get(JOB, params={"jobId": job_id}, headers=headers)
    assert answer.status_code == 404
    assert answer.json() == {"error": "Media job not found."}


async def test_the_capabilities_are_open_to_everybody(backend: Backend) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        answer = await client.get("/api/media/v1/capabilities")
    assert answer.json()["docsUrl"] == "https://stella.sh/docs/media"
    assert {entry["id"] for entry in answer.json()["data"]} == {
        "text_to_image",
        "image_to_video",
        "text_to_dialogue",
        "speech_to_text",
        "text_to_music",
        "text_to_3d",
    }
