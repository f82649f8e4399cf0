from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from materializer.devserver.app import Backend
from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.openapi import document
from materializer.devserver.rules import LIMIT, Rules

GENERATE = "/api/media/v1/generate"
JOB = "/api/media/v1/job"
CAT = {"capability": "text_to_image", "prompt": "a cat"}
# Left out: whether what the schema forbids is refused. The hosted gateway takes a
# member of the wrong type for one that is missing, and so does this one.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)


class Described:
    """A client that holds every answer against the description that was served."""

    def __init__(self, client: httpx.AsyncClient, description: dict[str, Any]) -> None:
        self._client = client
        self._description = description

    async def ask(
        self, method: str, path: str, operation: str = "", **options: Any
    ) -> httpx.Response:
        answer = await self._client.request(method, path, **options)
        operations = self._description["paths"][operation or path]
        responses = operations[method.lower()]["responses"]
        response = responses[str(answer.status_code)]
        for name in response.get("headers", ()):
            assert name in answer.headers
        [(media_type, content)] = response["content"].items()
        assert answer.headers["content-type"].startswith(media_type)
        if media_type == "application/json":
            schema = content["schema"] | {"components": self._description["components"]}
            jsonschema.validate(answer.json(), schema)
        return answer


@pytest.fixture
async def described(backend: Backend) -> AsyncIterator[Described]:
    async for client in clients(backend):
        yield client


async def clients(backend: Backend) -> AsyncIterator[Described]:
    headers = {"Authorization": f"Bearer {backend.token()}"}
    async with httpx.AsyncClient(
        base_url=backend.site_url, headers=headers, timeout=20
    ) as client:
        yield Described(client, (await client.get("/openapi.json")).json())


async def test_the_description_is_served_and_names_where(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/openapi.json")
    assert answer.json() == document(backend.site_url)
    assert answer.json()["servers"] == [{"url": backend.site_url}]


async def test_every_job_is_as_it_is_described_from_its_order_to_its_end(
    described: Described, backend: Backend
) -> None:
    for prompt in ("a cat", "[fail:policy No cats.]", "[cancel]", "[empty]"):
        request = CAT | {"prompt": prompt}
        accepted = await described.ask("POST", GENERATE, json=request)
        assert accepted.status_code == 202
        where = {"jobId": accepted.json()["jobId"]}
        async with asyncio.timeout(20):
            changed = asyncio.Event()
            backend.deployment.watchers.add(changed.set)
            while "completedAt" not in (
                (await described.ask("GET", JOB, params=where)).json()
            ):
                await changed.wait()
                changed.clear()


async def test_an_order_that_is_carried_out_at_once_is_as_described(
    described: Described,
) -> None:
    request = {"capability": "text_to_music", "prompt": "slow keys"}
    accepted = await described.ask("POST", GENERATE, json=request)
    assert accepted.json()["status"] == "succeeded"
    assert accepted.json()["output"]["audio"]["url"]


async def test_a_canceled_job_is_as_described(described: Described) -> None:
    request = CAT | {"prompt": "[slow:60]"}
    accepted = await described.ask("POST", GENERATE, json=request)
    where = {"jobId": accepted.json()["jobId"]}
    row = await described.ask("DELETE", JOB, params=where)
    assert row.json()["status"] == "canceled"


@pytest.mark.parametrize(
    ("status", "method", "path", "options"),
    [
        (400, "POST", GENERATE, {"json": {"capability": "none"}}),
        (401, "POST", GENERATE, {"json": CAT, "headers": {"Authorization": ""}}),
        (401, "GET", JOB, {"headers": {"Authorization": "Bearer x"}}),
        (401, "DELETE", JOB, {"headers": {"Authorization": "Bearer x"}}),
        (404, "GET", JOB, {"params": {"jobId": "none"}}),
        (404, "DELETE", JOB, {"params": {"clientRequestKey": "none"}}),
        (502, "POST", GENERATE, {"json": CAT | {"prompt": "[refuse: Not now.]"}}),
    ],
)
async def test_every_refusal_is_as_described(
    described: Described, status: int, method: str, path: str, options: dict[str, Any]
) -> None:
    assert (await described.ask(method, path, **options)).status_code == status


@pytest.mark.parametrize(
    ("rules", "status", "orders"),
    [(Rules(paid_plan=True), 402, 1), (Rules(rate_limit=True), 429, LIMIT + 1)],
)
async def test_what_a_rule_refuses_is_as_described(
    tmp_path: Path, rules: Rules, status: int, orders: int
) -> None:
    async with Backend(tmp_path, speed=100, rules=rules) as backend:
        async for described in clients(backend):
            told = [
                (await described.ask("POST", GENERATE, json={})).status_code
                for _ in range(orders)
            ]
            assert told == [400] * (orders - 1) + [status]


async def test_the_catalogue_and_the_pages_are_as_described(
    described: Described,
) -> None:
    listed = (await described.ask("GET", "/api/media/v1/capabilities")).json()["data"]
    assert {entry["id"] for entry in listed} == {*CAPABILITIES}
    assert (await described.ask("GET", "/docs/media")).text
    of_a_kind = "/docs/media/{kind}"
    page = await described.ask("GET", "/docs/media/images", of_a_kind)
    assert page.status_code == 200
    page = await described.ask("GET", "/docs/media/none", of_a_kind)
    assert page.status_code == 404


async def test_what_is_not_described_is_noticed(described: Described) -> None:
    job = described._description["components"]["schemas"]["Accepted"]
    del job["properties"]["profile"]
    with pytest.raises(jsonschema.ValidationError, match="profile"):
        await described.ask("POST", GENERATE, json=CAT)


@pytest.mark.timeout(180)
async def test_whatever_is_sent_the_answer_is_one_that_is_described(
    tmp_path: Path,
) -> None:
    """schemathesis makes up requests, good ones and bad ones."""
    async with Backend(tmp_path / "backend", speed=100) as backend:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            *("--checks", ",".join(CHECKS), "--max-examples", "10", "--seed", "1"),
            *("--header", f"Authorization: Bearer {backend.token()}"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--no-color"),
            f"{backend.site_url}/openapi.json",
        ]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
