"""`stella-materializer dev` from outside: its memory, and its accounts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from process.house import MATERIALIZER, SOON, Running, ended, environment, started

GENERATE = "/api/media/v1/generate"
CAT = {"capability": "text_to_image", "prompt": "a cat"}


@asynccontextmanager
async def dev(root: Path, *flags: str) -> AsyncIterator[tuple[Running, Any]]:
    command = (*MATERIALIZER, "dev", "--state", str(root / "backend"), *flags)
    async with started(root, environment(root), *command) as process:
        yield process, json.loads(await process.line())


def client(ready: dict[str, str], token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token or ready['token']}"}
    return httpx.AsyncClient(base_url=ready["siteUrl"], headers=headers, timeout=20)


async def order(http: httpx.AsyncClient, prompt: str, key: str) -> str:
    headers = {"Idempotency-Key": key}
    answer = await http.post(GENERATE, json=CAT | {"prompt": prompt}, headers=headers)
    assert answer.status_code == 202
    return str(answer.json()["jobId"])


async def row(http: httpx.AsyncClient, job_id: str) -> Any:
    return (await http.get("/api/media/v1/job", params={"jobId": job_id})).json()


async def row_at_its_end(http: httpx.AsyncClient, job_id: str) -> Any:
    async with asyncio.timeout(SOON):
        while "completedAt" not in (found := await row(http, job_id)):  # noqa: ASYNC110 -- HTTP rings no bell
            await asyncio.sleep(0.05)
    return found


async def test_what_dev_has_answered_survives_its_being_killed(tmp_path: Path) -> None:
    async with dev(tmp_path) as (process, ready), client(ready) as http:
        done = await order(http, "a cat", "done")
        before = await row_at_its_end(http, done)
        open_ = await order(http, "a dog [slow:2]", "open")
        await process.killed()
    async with dev(tmp_path) as (_, again), client(again) as http:
        assert again["siteUrl"] == ready["siteUrl"]
        assert await row(http, done) == before
        picture = await http.get(before["output"]["images"][0]["url"])
        assert picture.content.startswith(b"\x89PNG")
        assert await order(http, "a cat", "done") == done
        assert await order(http, "a dog [slow:2]", "open") == open_
        assert (await row_at_its_end(http, open_))["status"] == "succeeded"


async def token(root: Path, *flags: str, **environ: str) -> str:
    command = (*MATERIALIZER, "dev", "token", *flags)
    end = await ended(root, environment(root) | environ, *command)
    assert (end.code, end.err) == (0, "")
    return end.out.strip()


async def test_dev_token_signs_in_whoever_is_named_and_not_for_ever(
    tmp_path: Path,
) -> None:
    async with dev(tmp_path) as (_, ready):
        told = {"STELLA_MEDIA_TOKEN_FILE": ready["tokenFile"]}
        ada = await token(tmp_path, "--owner", "ada", "--expires", "5m", **told)
        late = await token(tmp_path, "--owner", "ada", "--expires", "0s", **told)
        same = await token(tmp_path, "--state", "backend")
        async with client(ready, ada) as http:
            job_id = await order(http, "a cat", "k")
            assert (await row(http, job_id))["jobId"] == job_id
        async with client(ready, same) as http:
            assert await row(http, job_id) == {"error": "Media job not found."}
        async with client(ready, late) as http:
            assert (await row(http, job_id))["code"] == "auth_required"


@pytest.mark.parametrize(
    ("flags", "say"),
    [
        ((), "token requires --state or STELLA_MEDIA_TOKEN_FILE."),
        (("--state", "nowhere"), "nowhere is not the directory of an embedded"),
        (("--state", ".", "--expires", "soon"), "it should be a duration such as"),
    ],
)
async def test_dev_token_says_what_it_lacks(
    tmp_path: Path, flags: tuple[str, ...], say: str
) -> None:
    command = (*MATERIALIZER, "dev", "token", *flags)
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert (end.code, end.out) == (2, "")
    assert say in end.err


async def test_a_second_dev_in_one_directory_is_told(tmp_path: Path) -> None:
    async with dev(tmp_path):
        command = (*MATERIALIZER, "dev", "--state", str(tmp_path / "backend"))
        end = await ended(tmp_path, environment(tmp_path), *command)
    assert (end.code, end.out) == (2, "")
    assert "another backend is using it; name another directory with --state" in end.err
