from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from pathlib import Path

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from materializer.devserver import accounts, app
from materializer.devserver.app import Backend
from materializer.errors import SettingsInvalid

CAT = {"capability": "text_to_image", "prompt": "a cat"}


async def status(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.get(f"{url}/api/media/v1/job?jobId=none")
    return answer.status_code


async def test_the_token_file_holds_a_good_token_for_its_owner_alone(
    backend: Backend,
) -> None:
    content = json.loads(backend.token_file.read_text())
    assert content["convexUrl"] == backend.convex_url
    assert content["siteUrl"] == backend.site_url
    assert await status(backend.site_url, content["token"]) == 404
    for path in (backend.token_file, backend.token_file.parent / "secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(backend.token_file.parent.stat().st_mode) == 0o700


async def test_the_token_file_is_renewed_while_the_backend_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Noted(accounts.Accounts):
        def write_token_file(self) -> None:
            super().write_token_file()
            number = self.token_file.stat().st_ino
            loop.call_soon_threadsafe(written.put_nowait, number)

    monkeypatch.setattr(app, "Accounts", Noted)
    monkeypatch.setattr(app, "LIFETIME", 0.02)
    async with Backend(tmp_path), asyncio.timeout(10):
        assert await written.get() != await written.get()


async def test_a_token_can_be_fetched_and_verified_with_the_published_key(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    token = (await client.get("/api/auth/convex/token")).json()["token"]
    keys = (await client.get("/api/auth/convex/jwks")).json()
    (key,) = jwt.PyJWKSet.from_dict(keys).keys
    claims = jwt.decode(token, key, ["EdDSA"], audience="convex")
    assert (claims["iss"], claims["sub"]) == (backend.site_url, "dev")
    assert 299 <= claims["exp"] - claims["iat"] <= 301
    assert f"{claims['iss']}|{claims['sub']}" == backend.owner()


async def test_a_restarted_backend_honours_earlier_tokens_and_its_time_goes_on(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path) as backend:
        port = int(backend.site_url.rpartition(":")[2])
        token, ts = backend.token(), backend.deployment.ts
        url = backend.site_url
        link = backend.storage.link("gone")
    async with Backend(tmp_path, port) as backend:
        assert backend.site_url == url
        assert await status(url, token) == 404
        assert backend.deployment.ts > ts
        async with httpx.AsyncClient() as client:
            answer = await client.get(url + link)
        assert answer.json()["code"] == "StorageFileNotFound"


async def generate(url: str, token: str, request: object, key: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        answer = await client.post("/api/media/v1/generate", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


async def test_jobs_their_media_and_their_keys_outlive_a_restart(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path, speed=100) as backend:
        url, token = backend.site_url, backend.token()
        job_id = await generate(url, token, CAT, "once")
        await ended(backend, job_id)
        before = backend.deployment.row(job_id, backend.owner())
    async with Backend(tmp_path, speed=100) as backend:
        assert backend.site_url == url, "it is where it was, or its links were dead"
        after = backend.deployment.row(job_id, backend.owner())
        assert after == before
        assert after is not None
        async with httpx.AsyncClient() as client:
            picture = await client.get(after.output["images"][0]["url"])
        assert picture.content.startswith(b"\x89PNG")
        assert await generate(url, backend.token(), CAT, "once") == job_id
        assert await generate(url, backend.token("ada"), CAT, "once") != job_id


async def test_a_job_that_a_stop_interrupted_is_carried_out_by_the_next_start(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path) as backend:
        request = CAT | {"prompt": "a cat [slow:1]"}
        job_id = await generate(backend.site_url, backend.token(), request)
    async with Backend(tmp_path, speed=100) as backend:
        row = backend.deployment.row(job_id, backend.owner())
        assert row is not None
        assert row.completed_at is None
        await ended(backend, job_id)
        row = backend.deployment.row(job_id, backend.owner())
        assert row is not None
        assert row.status == "succeeded"


async def test_a_dialogue_is_still_understood_after_a_restart(tmp_path: Path) -> None:
    say = {"capability": "text_to_dialogue", "prompt": "Is the tea ready?"}
    async with Backend(tmp_path, speed=100) as backend:
        job_id = await generate(backend.site_url, backend.token(), say)
        await ended(backend, job_id)
        spoken = backend.deployment.row(job_id, backend.owner())
    assert spoken is not None
    hear = {"capability": "speech_to_text", "sourceUrl": spoken.output["audio"]["url"]}
    async with Backend(tmp_path, speed=100) as backend:
        job_id = await generate(backend.site_url, backend.token(), hear)
        await ended(backend, job_id)
        heard = backend.deployment.row(job_id, backend.owner())
    assert heard is not None
    assert heard.output["text"] == "Is the tea ready?"


async def ended(backend: Backend, job_id: str) -> None:
    changed = asyncio.Event()
    backend.deployment.watchers.add(changed.set)
    async with asyncio.timeout(20):
        while True:
            row = backend.deployment.row(job_id, backend.owner())
            if row is not None and row.completed_at is not None:
                return
            await changed.wait()
            changed.clear()


async def test_two_backends_cannot_have_one_directory(
    backend: Backend, tmp_path: Path
) -> None:
    with pytest.raises(SettingsInvalid, match="another backend is using it"):
        async with Backend(backend.token_file.parent):
            pass


async def test_another_backends_token_is_refused(tmp_path: Path) -> None:
    async with Backend(tmp_path / "a") as a, Backend(tmp_path / "b") as b:
        assert await status(a.site_url, b.token()) == 401


async def test_it_stops_within_a_second_whatever_is_going_on(tmp_path: Path) -> None:
    async with Backend(tmp_path) as backend, httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {backend.token()}"}
        url = f"{backend.site_url}/api/media/v1/generate"
        slow = CAT | {"prompt": "[slow:60]"}
        assert (await client.post(url, json=slow, headers=headers)).status_code == 202
        feed = await connect(backend.convex_url.replace("http", "ws", 1) + "/api/sync")
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 1
    with pytest.raises(ConnectionClosed) as caught:
        await feed.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001


async def test_it_stops_although_a_client_does_not_answer_the_close(
    tmp_path: Path,
) -> None:
    async with Backend(tmp_path) as backend:
        port = int(backend.site_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " in await reader.readline()
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 1
    writer.close()


async def test_what_goes_wrong_inside_comes_out_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Backend(tmp_path):
            raise LookupError("mine")


async def test_signals_are_left_to_the_host(backend: Backend) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        assert "uvicorn" not in repr(handler)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])  # noqa: S104  # refused
def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsInvalid, match="loopback only"):
        Backend(tmp_path, host=host)
    assert list(tmp_path.iterdir()) == []


async def test_it_listens_elsewhere_when_that_is_allowed(tmp_path: Path) -> None:
    host = "0.0.0.0"  # noqa: S104  # that is the point
    async with Backend(tmp_path, host=host, allow_remote=True) as backend:
        port = backend.site_url.rpartition(":")[2]
        assert await status(f"http://127.0.0.1:{port}", backend.token()) == 404


async def test_a_port_that_is_taken_is_one_clear_line(
    backend: Backend, tmp_path: Path
) -> None:
    port = int(backend.site_url.rpartition(":")[2])
    with pytest.raises(SettingsInvalid, match=rf"port {port} .*--port"):
        async with Backend(tmp_path / "other", port):
            pass


async def test_a_state_directory_that_is_a_file_is_one_clear_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SettingsInvalid, match=r"cannot be used.*--state"):
        async with Backend(path):
            pass


async def test_a_token_file_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "token.json").mkdir()
    os.close(os.open(tmp_path / "token.json" / "x", os.O_CREAT))
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        async with Backend(tmp_path):
            pass
