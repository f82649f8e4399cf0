from __future__ import annotations

from pathlib import Path

import httpx
import jwt
import pytest

from materializer.devserver.accounts import token_of
from materializer.devserver.app import Backend
from materializer.errors import SettingsInvalid

CAT = {"capability": "text_to_image", "prompt": "a cat"}
JOB = "/api/media/v1/job"


def claims(token: str) -> dict[str, str]:
    found: dict[str, str] = jwt.decode(token, options={"verify_signature": False})
    return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def order(client: httpx.AsyncClient, token: str, **headers: str) -> str:
    answer = await client.post(
        "/api/media/v1/generate", json=CAT, headers=bearer(token) | headers
    )
    assert answer.status_code == 202
    return str(answer.json()["jobId"])


async def test_every_account_has_its_own_jobs(backend: Backend) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        ada, bob = backend.token("ada"), backend.token("bob")
        job_id = await order(client, ada)
        url = f"{JOB}?jobId={job_id}"
        assert (await client.get(url, headers=bearer(ada))).status_code == 200
        assert (await client.get(url, headers=bearer(bob))).status_code == 404
        asked = {"path": "media_jobs:getByJobId", "args": {"jobId": job_id}}
        for owner, seen in ((ada, True), (bob, False)):
            answer = await client.post("/api/query", json=asked, headers=bearer(owner))
            assert bool(answer.json()["value"]) is seen


async def test_an_idempotency_key_counts_for_its_owner_alone(backend: Backend) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        ada, bob = backend.token("ada"), backend.token("bob")
        key = {"Idempotency-Key": "k"}
        first = await order(client, ada, **key)
        assert await order(client, ada, **key) == first
        assert await order(client, bob, **key) != first


async def test_who_signs_in_anonymously_gets_an_account_of_their_own(
    backend: Backend,
) -> None:
    subjects = []
    for _ in range(2):
        async with httpx.AsyncClient(base_url=backend.site_url) as browser:
            answer = await browser.post("/api/auth/sign-in/anonymous", json={})
            user = answer.json()["user"]
            assert user["isAnonymous"] is True
            token = (await browser.get("/api/auth/convex/token")).json()["token"]
            assert claims(token)["sub"] == user["id"]
            await order(browser, token)
            subjects.append(user["id"])
    assert len({*subjects, "dev"}) == 3


async def test_an_anonymous_account_outlives_a_restart(tmp_path: Path) -> None:
    async with Backend(tmp_path) as backend, httpx.AsyncClient() as browser:
        await browser.post(f"{backend.site_url}/api/auth/sign-in/anonymous", json={})
        url = f"{backend.site_url}/api/auth/convex/token"
        before = (await browser.get(url)).json()["token"]
        cookies = dict(browser.cookies)
    async with Backend(tmp_path), httpx.AsyncClient(cookies=cookies) as browser:
        after = (await browser.get(url)).json()["token"]
    assert claims(after)["sub"] == claims(before)["sub"] != "dev"


async def test_a_cookie_that_was_not_given_here_is_worth_nothing(
    backend: Backend,
) -> None:
    for value in ("anonymous-1", backend.token("ada")):
        cookies = {"better-auth.session_token": value}
        async with httpx.AsyncClient(cookies=cookies) as client:
            url = f"{backend.site_url}/api/auth/convex/token"
            token = (await client.get(url)).json()["token"]
        assert claims(token)["sub"] == "dev"


async def test_a_token_is_made_from_the_directory_of_a_backend_alone(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path) as backend:
        ada, late = token_of(tmp_path, "ada", 60), token_of(tmp_path, "ada", 0)
        assert claims(ada)["iss"] == backend.site_url
        async with httpx.AsyncClient(base_url=backend.site_url) as client:
            for token, status in ((ada, 404), (late, 401)):
                answer = await client.get(f"{JOB}?jobId=x", headers=bearer(token))
                assert answer.status_code == status


def test_no_token_is_made_where_no_backend_was(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="not the directory of an embedded"):
        token_of(tmp_path, "ada", 60)
    assert list(tmp_path.iterdir()) == []
