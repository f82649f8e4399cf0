from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from materializer.devserver.app import Backend
from materializer.errors import GatewayError, SignInNeeded
from materializer.gateway import Gateway
from origin import Origin

ORDER = {"capability": "text_to_image", "prompt": "a red kite"}
TOKEN = "aaa.secret-of-the-person.ccc"
ROW = b'{"jobId": "j", "status": "queued"}'
JOB = "/api/media/v1/job?jobId=j"


async def refusal(source: Origin) -> GatewayError:
    async with Gateway(source.url(""), TOKEN) as gateway:
        with pytest.raises(GatewayError) as refused:
            await gateway.job("j")
    return refused.value


async def sign_in_needed(source: Origin, body: bytes) -> SignInNeeded:
    source.serve(JOB, body, status="401 Unauthorized")
    async with Gateway(source.url(""), TOKEN) as gateway:
        with pytest.raises(SignInNeeded) as needed:
            await gateway.job("j")
    return needed.value


async def test_an_order_is_accepted_and_its_job_can_be_asked_for(
    backend: Backend,
) -> None:
    async with Gateway(backend.site_url, backend.token()) as gateway:
        accepted = await gateway.generate(ORDER, idempotency_key="k")
        job = await gateway.job(accepted["jobId"])
    assert accepted["status"] == "queued"
    assert job["jobId"] == accepted["jobId"]
    assert job["request"]["prompt"] == "a red kite"


async def test_the_same_key_again_is_the_same_job(backend: Backend) -> None:
    async with Gateway(backend.site_url, backend.token()) as gateway:
        first, again, other = [
            (await gateway.generate(ORDER, idempotency_key=key))["jobId"]
            for key in ("k", "k", "l")
        ]
    assert first == again
    assert first != other


async def test_the_catalogue_is_told_and_a_path_of_the_base_is_replaced(
    backend: Backend,
) -> None:
    base = f"{backend.site_url}/some/path"
    async with Gateway(base, backend.token()) as gateway:
        catalogue = await gateway.capabilities()
    assert "text_to_image" in [entry["id"] for entry in catalogue["data"]]


async def test_token_and_device_are_sent_as_headers(source: Origin) -> None:
    source.serve(JOB, ROW)
    async with Gateway(source.url(""), TOKEN, "device-7") as gateway:
        assert await gateway.job("j") == json.loads(ROW)
    async with Gateway(source.url(""), TOKEN) as gateway:
        await gateway.job("j")
    with_device, without = [head.lower() for head in source.requests]
    assert f"authorization: bearer {TOKEN}".lower() in with_device
    assert "x-device-id: device-7" in with_device
    assert "x-device-id" not in without


async def test_a_job_id_cannot_reach_another_address(source: Origin) -> None:
    source.serve("/api/media/v1/job?jobId=..%2F%3Fx%3D1%23%26a%3Db", ROW)
    async with Gateway(source.url(""), TOKEN) as gateway:
        assert await gateway.job("../?x=1#&a=b") == json.loads(ROW)


async def test_a_refused_token_needs_a_sign_in_and_says_what_to_do_word_for_word(
    backend: Backend,
) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as plain:
        answer = (await plain.get(JOB)).json()
    async with Gateway(backend.site_url, TOKEN) as gateway:
        with pytest.raises(SignInNeeded) as needed:
            await gateway.generate(ORDER, idempotency_key="k")
    assert answer["code"] == "auth_required"
    assert str(needed.value) == answer["error"]
    assert needed.value.action == answer["action"] != ""


async def test_a_renewed_token_counts_from_the_next_call_on(source: Origin) -> None:
    source.serve(JOB, ROW)
    async with Gateway(source.url(""), TOKEN) as gateway:
        await gateway.job("j")
        gateway.token = "bbb.fresh.ccc"
        await gateway.job("j")
    first, second = source.requests
    assert f"Bearer {TOKEN}" in first
    assert f"Bearer {TOKEN}" not in second
    assert "Bearer bbb.fresh.ccc" in second


@pytest.mark.parametrize("base", ["", "/", "/base/path"])
@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda gateway: gateway.job("j"), JOB),
        (lambda gateway: gateway.capabilities(), "/api/media/v1/capabilities"),
        (
            lambda gateway: gateway.generate(ORDER, idempotency_key="k"),
            "/api/media/v1/generate",
        ),
    ],
    ids=["job", "capabilities", "generate"],
)
async def test_an_absolute_path_replaces_the_base_s(
    source: Origin, base: str, call: Callable[[Gateway], Awaitable[Any]], path: str
) -> None:
    source.serve(path, ROW)
    async with Gateway(source.url(base), TOKEN) as gateway:
        assert await call(gateway) == json.loads(ROW)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"jobId": "j"}', b'{"jobId": 5, "status": "queued"}']
)
async def test_what_is_no_job_is_unreadable(source: Origin, body: bytes) -> None:
    source.serve(JOB, body)
    error = await refusal(source)
    assert (error.status, str(error)) == (
        None,
        "The Stella media gateway gave an unreadable answer.",
    )


@pytest.mark.parametrize(
    "body", [b"", b"<h1>no</h1>", b"[]", b'{"error": 5, "action": 6}']
)
async def test_a_bare_401_needs_a_sign_in_too(source: Origin, body: bytes) -> None:
    needed = await sign_in_needed(source, body)
    assert "sign in again" in str(needed)
    assert needed.action is None


async def test_the_action_comes_as_it_is(source: Origin) -> None:
    action = "  Öffne\nStella "
    body = json.dumps({"error": "No.", "action": action}).encode()
    needed = await sign_in_needed(source, body)
    assert (str(needed), needed.action) == ("No.", action)


async def test_what_the_gateway_refuses_it_refuses_in_its_own_words(
    backend: Backend,
) -> None:
    async with Gateway(backend.site_url, backend.token()) as gateway:
        with pytest.raises(GatewayError, match="prompt is required") as refused:
            await gateway.generate(ORDER | {"prompt": ""}, idempotency_key="k")
        with pytest.raises(GatewayError, match="Media job not found") as missing:
            await gateway.job("nothing")
    assert (refused.value.status, missing.value.status) == (400, 404)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "Top up."}, "402 Payment Required"),
        ({"error": "Top up.", "code": "paid_plan_required"}, "400 Bad Request"),
    ],
)
async def test_a_bill_to_pay_is_told_with_what_to_do(
    source: Origin, body: dict[str, str], status: str
) -> None:
    source.serve(JOB, json.dumps(body).encode(), status=status)
    refused = await refusal(source)
    assert (str(refused), refused.status) == ("Top up.", int(status[:3]))
    assert "choose one under Billing" in (refused.action or "")


async def test_what_the_gateway_says_to_do_goes_before_our_own_words(
    source: Origin,
) -> None:
    body = b'{"error": "Top up.", "action": "Ask the owner."}'
    source.serve(JOB, body, status="402 Payment Required")
    assert (await refusal(source)).action == "Ask the owner."


async def test_links_in_what_it_says_are_cut(source: Origin) -> None:
    body = b'{"error": "See https://a.test/b?c=secret now"}'
    for status in ("400 No", "401 No"):
        source.serve(JOB, body, status=status)
        async with Gateway(source.url(""), TOKEN) as gateway:
            with pytest.raises((GatewayError, SignInNeeded)) as refused:
                await gateway.job("j")
        assert str(refused.value) == "See https://a.test now"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 7", 7.0),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Retry-After: -7", None),
        ("Retry-After: soon", None),
        ("Retry-After: Fri, 20 Nov 99999 09:00:00 GMT", None),
        ("X-Nothing: 7", None),
    ],
)
async def test_how_long_to_wait_is_told_in_seconds(
    source: Origin, header: str, seconds: float | None
) -> None:
    body = b'{"error": "Too many."}'
    source.serve(JOB, body, header, status="429 Too Many Requests")
    refused = await refusal(source)
    assert (str(refused), refused.status) == ("Too many.", 429)
    assert refused.retry_after == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
async def test_a_date_to_wait_for_is_so_many_seconds_from_now(
    source: Origin, zone: str
) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    date = f"Retry-After: {until:%a, %d %b %Y %H:%M:%S} {zone}"
    source.serve(JOB, b'{"error": "Too many."}', date, status="429 Too Many Requests")
    refused = await refusal(source)
    assert refused.retry_after is not None
    assert 540 < refused.retry_after <= 600
    assert (refused.action or "").startswith("Wait 10 minutes, ")


@pytest.mark.parametrize(
    ("body", "say"),
    [
        (b'{"error": "Upstream broke."}', "Upstream broke."),
        (b'{"error": ""}', "Stella media request failed with status 500."),
        (b'{"error": {"deep": 1}}', "Stella media request failed with status 500."),
        (b"<html>", "Stella media request failed with status 500."),
        (b"[1]", "Stella media request failed with status 500."),
    ],
)
async def test_a_fault_of_the_gateway_is_told_with_and_without_its_words(
    source: Origin, body: bytes, say: str
) -> None:
    source.serve(JOB, body, status="500 Internal Server Error")
    refused = await refusal(source)
    assert (str(refused), refused.status) == (say, 500)


async def test_the_token_follows_no_redirect(source: Origin) -> None:
    elsewhere = f"Location: {source.url('/elsewhere')}"
    source.serve(JOB, b"", elsewhere, status="302 Found")
    assert (await refusal(source)).status == 302
    assert len(source.requests) == 1


async def test_no_answer_has_no_status_and_names_the_host(source: Origin) -> None:
    source.raw(JOB, "200 OK", "Content-Length: 5", body=b"{")
    cut_short = await refusal(source)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with Gateway(f"http://127.0.0.1:{port}", TOKEN) as gateway:
        with pytest.raises(GatewayError) as unreachable:
            await gateway.capabilities()
    for error in (cut_short, unreachable.value):
        assert error.status is None
        assert "127.0.0.1 did not answer" in str(error)


async def test_the_token_is_in_no_error_nor_what_led_to_it(source: Origin) -> None:
    source.raw(JOB, "200 OK", "Content-Length: 5", body=b"{")
    errors = [await refusal(source)]
    source.serve(JOB, b"", status="500 Oh")
    errors += [await refusal(source)]
    told = [line for error in errors for line in traceback.format_exception(error)]
    told += [repr(error) for error in errors]
    told += [str(await sign_in_needed(source, b""))]
    assert TOKEN in source.requests[0]
    assert TOKEN not in "".join(told)
