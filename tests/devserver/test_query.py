from __future__ import annotations

from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend

LIST = "media_jobs:listFailedSince"


async def ask(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    asked = {"path": LIST, "args": {"since": 0}} | body
    return await client.post("/api/query", json=asked)


@pytest.mark.parametrize("format_", ["json", "convex_encoded_json"])
async def test_a_query_answers_the_bearer_and_writes_numbers_as_floats(
    backend: Backend, client: httpx.AsyncClient, format_: str
) -> None:
    backend.deployment.submit(0, owner=backend.owner(), job_id="j", capability="icon")
    backend.deployment.fail(5_000_000, "j", "no")
    answer = await ask(client, args=[{"since": 0}], format=format_)
    assert answer.status_code == 200
    assert answer.json()["status"] == "success"
    assert answer.json()["value"][0]["jobId"] == "j"
    assert '"completedAt":5.0' in answer.text


async def test_nobody_gets_an_empty_list(backend: Backend) -> None:
    backend.deployment.submit(0, owner=backend.owner(), job_id="j", capability="icon")
    backend.deployment.fail(0, "j", "no")
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        answer = await ask(client)
    assert answer.json() == {"status": "success", "value": []}


async def test_a_functions_error_is_an_answer(client: httpx.AsyncClient) -> None:
    answer = await ask(client, path="x:y")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "error",
        "errorMessage": "Could not find public function for 'x:y'.",
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"path": 5}, "BadJsonBody"),
        ({"args": None}, "BadJsonBody"),
        ({"args": []}, "BadQueryArgs"),
        ({"args": [{}, {}]}, "BadQueryArgs"),
        ({"args": {"$integer": "AAAAAAAAAAA="}}, "BadQueryArgs"),
        ({"args": {"$x": 1, "y": 2}}, "BadQueryArgs"),
        ({"format": "xml"}, "BadFormat"),
    ],
)
async def test_a_body_that_is_no_query_is_refused_with_a_code(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    answer = await ask(client, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"]


async def test_a_token_that_is_not_ours_is_refused(backend: Backend) -> None:
    headers = {"Authorization": "Bearer x.y.z"}
    async with httpx.AsyncClient(base_url=backend.site_url, headers=headers) as client:
        answer = await ask(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidAuthHeader")
