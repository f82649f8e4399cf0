from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend
from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.rules import Rules
from materializer.manual import pages

Settle = Callable[[str], Awaitable[dict[str, Any]]]
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


async def test_an_order_is_told_as_queued_though_it_runs_already(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path, speed=math.inf) as backend:
        headers = {"Authorization": f"Bearer {backend.token()}"}
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.post(f"{backend.site_url}{GENERATE}", json=CAT)
    assert answer.json()["status"] == "queued"


async def test_the_job_can_be_asked_for_until_it_is_done(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    job_id = (await client.post(GENERATE, json=CAT)).json()["jobId"]
    first = (await client.get(JOB, params={"jobId": job_id})).json()
    assert (first["jobId"], first["request"]["prompt"]) == (job_id, "a cat")
    row = await settle(job_id)
    answer = await client.get(JOB, params={"jobId": job_id})
    assert answer.json() == row
    assert row["status"] == "succeeded"
    told = [entry["message"] for entry in row["logs"]]
    assert told == ["Queued.", "Started.", "Processing.", "Ended: succeeded."]


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


async def test_two_orders_with_one_key_at_once_are_one_job(backend: Backend) -> None:
    site, body = httpx.URL(backend.site_url), json.dumps(CAT).encode()
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: dev\r\nIdempotency-Key: k\r\n"
        f"Authorization: Bearer {backend.token()}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    lines = [await asyncio.open_connection(site.host, site.port) for _ in range(2)]
    answers = []
    async with asyncio.timeout(10):
        for reader, writer in lines:
            writer.write(head.encode())
            # Said when the gateway waits for the body, so that both do at once.
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        for _, writer in lines:
            writer.write(body)
        for reader, writer in lines:
            answers.append((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
            await writer.wait_closed()
    first, second = (json.loads(answer)["jobId"] for answer in answers)
    assert first == second


async def test_a_job_can_be_found_by_its_idempotency_key(
    client: httpx.AsyncClient,
) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = (await client.post(GENERATE, json=CAT, headers=headers)).json()["jobId"]
    found = await client.get(JOB, params={"clientRequestKey": "k", "requestHash": "x"})
    assert found.json()["jobId"] == job_id
    unknown = await client.get(JOB, params={"clientRequestKey": "l"})
    assert unknown.status_code == 404


async def test_a_job_can_be_canceled_until_it_has_ended(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    slow = CAT | {"prompt": "[slow:60]"}
    job_id = (await client.post(GENERATE, json=slow)).json()["jobId"]
    canceled = await client.delete(JOB, params={"jobId": job_id})
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert (await settle(job_id))["status"] == "canceled"
    again = await client.delete(JOB, params={"jobId": job_id})
    assert again.json() == canceled.json()


async def test_nobody_cancels_another_owners_job(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    slow = CAT | {"prompt": "[slow:60]"}
    job_id = (await client.post(GENERATE, json=slow)).json()["jobId"]
    headers = {"Authorization": f"Bearer {backend.token('other')}"}
    answer = await client.delete(JOB, params={"jobId": job_id}, headers=headers)
    assert answer.status_code == 404
    unsigned = {"Authorization": ""}
    answer = await client.delete(JOB, params={"jobId": job_id}, headers=unsigned)
    assert answer.status_code == 401
    assert backend.deployment.is_open(job_id)


async def test_music_is_there_with_the_answer(client: httpx.AsyncClient) -> None:
    asked = {"capability": "text_to_music", "prompt": "lofi"}
    headers = {"Idempotency-Key": "k"}
    answer = await client.post(GENERATE, json=asked, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "succeeded")
    sound = await client.get(answer.json()["output"]["audio"]["url"])
    assert sound.headers["content-type"] == "audio/mpeg"
    again = await client.post(GENERATE, json=asked, headers=headers)
    assert again.json() == answer.json()


@pytest.mark.parametrize(
    "asked",
    [
        CAT | {"prompt": "[refuse: Out of order]"},
        {"capability": "text_to_music", "prompt": "[fail: Out of order]"},
    ],
)
async def test_what_the_upstream_does_not_take_is_a_bad_gateway_and_a_failed_job(
    backend: Backend, client: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = await client.post(GENERATE, json=asked, headers=headers)
        assert answer.status_code == 502
        assert answer.json() == {"error": "Out of order"}
    since = {"since": 0.0}
    me = backend.owner()
    failed = backend.deployment.run("media_jobs:listFailedSince", since, me).value
    assert [row["error"] for row in failed] == [{"message": "Out of order"}]


async def test_a_job_that_has_failed_later_is_still_an_accepted_one(
    client: httpx.AsyncClient, settle: Settle
) -> None:
    asked = CAT | {"prompt": "[fail: Unsafe prompt]"}
    headers = {"Idempotency-Key": "k"}
    first = await client.post(GENERATE, json=asked, headers=headers)
    await settle(first.json()["jobId"])
    again = await client.post(GENERATE, json=asked, headers=headers)
    assert (again.status_code, again.json()["status"]) == (202, "failed")


@asynccontextmanager
async def ruled(state: Path, rules: Rules) -> AsyncIterator[httpx.AsyncClient]:
    async with Backend(state, speed=100, rules=rules) as backend:
        headers = {"Authorization": f"Bearer {backend.token()}"}
        async with httpx.AsyncClient(
            base_url=backend.site_url, headers=headers
        ) as client:
            yield client


async def test_a_paid_plan_can_be_required(tmp_path: Path) -> None:
    async with ruled(tmp_path, Rules(paid_plan=True)) as client:
        answer = await client.post(GENERATE, content=b"{bad")
        assert answer.status_code == 402
        assert answer.json()["code"] == "paid_plan_required"
        assert "requires a Stella subscription" in answer.json()["error"]
        unsigned = await client.post(GENERATE, headers={"Authorization": ""})
        assert unsigned.status_code == 401


async def test_the_twenty_first_order_can_be_too_many(tmp_path: Path) -> None:
    async with ruled(tmp_path, Rules(rate_limit=True)) as client:
        key = {"Idempotency-Key": "k"}
        first = await client.post(GENERATE, json=CAT, headers=key)
        for _ in range(19):
            assert (await client.post(GENERATE, json={})).status_code == 400
        answer = await client.post(GENERATE, json=CAT)
        assert answer.status_code == 429
        assert answer.json() == {"error": "Rate limit exceeded"}
        assert answer.headers["retry-after"] == "300"
        # Neither asking for a job nor a lost answer counts.
        again = await client.post(GENERATE, json=CAT, headers=key)
        assert again.json()["jobId"] == first.json()["jobId"]


async def test_orders_are_not_counted_unless_it_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    answers = [await client.post(GENERATE, json={}) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {400}


async def test_the_words_of_the_first_documentation_can_be_had(tmp_path: Path) -> None:
    async with ruled(tmp_path, Rules(first_words=True)) as client:
        answer = await client.post(GENERATE, json=CAT | {"prompt": "[slow:60]"})
        job = {"jobId": answer.json()["jobId"]}
        async with asyncio.timeout(10):
            seen = {""}
            while "in_progress" not in seen:
                seen.add((await client.get(JOB, params=job)).json()["status"])
        assert seen <= {"", "queued", "in_progress"}
        canceled = await client.delete(JOB, params=job)
        assert canceled.json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("rules", "life"),
    [
        (Rules(), ["queued", "running", "running", "succeeded"]),
        (
            Rules(first_words=True),
            ["queued", "in_progress", "processing", "succeeded"],
        ),
    ],
    ids=["current words", "first words"],
)
async def test_the_life_of_a_job_has_the_words_of_its_documentation(
    tmp_path: Path, rules: Rules, life: list[str]
) -> None:
    seen: list[str] = []
    async with Backend(tmp_path, speed=20, rules=rules) as backend:
        deployment, ended = backend.deployment, asyncio.Event()

        def note() -> None:
            row = deployment.keyed(backend.owner(), "k")
            assert row is not None
            seen.append(row.wire(deployment.words)["status"])
            if row.completed_at is not None:
                ended.set()

        deployment.watchers.add(note)
        headers = {
            "Authorization": f"Bearer {backend.token()}",
            "Idempotency-Key": "k",
        }
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.post(f"{backend.site_url}{GENERATE}", json=CAT)
        assert answer.status_code == 202
        async with asyncio.timeout(10):
            await ended.wait()
    assert seen == life


@pytest.mark.parametrize("kind", pages.KINDS)
async def test_the_pages_are_served_to_everybody(backend: Backend, kind: str) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        overview = await client.get("/docs/media")
        answer = await client.get(f"/docs/media/{kind}")
        unknown = await client.get("/docs/media/common")
    assert overview.text == pages.page()
    assert answer.text == pages.page(kind)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert unknown.status_code == 404


async def test_the_capabilities_are_open_to_everybody(backend: Backend) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        answer = await client.get("/api/media/v1/capabilities")
    assert answer.json()["docsUrl"] == "https://stella.sh/docs/media"
    assert answer.json()["data"] == [entry.wire() for entry in CAPABILITIES.values()]
