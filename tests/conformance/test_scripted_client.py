"""The cases of a conformance suite for Convex servers, by their numbers, on the wire.

S4 and S6 are about admin keys that are accepted, and about acting as somebody else:
this backend has no admin keys, so only S5 applies, where one is refused. S29 needs an
official client, as do the other halves of many cases: see test_official_clients.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from bank import Bank
from materializer.convex.messages import decode_timestamp, encode_timestamp
from materializer.devserver.app import Backend
from materializer.devserver.functions import Function
from materializer.devserver.upgrade import AS_CONVEX, Pace
from scripted import SESSION, add, remove, scripted

EMPTY = (1005, "")
BROKEN = (1011, "InternalServerError")
ADA = {"account": "ada"}
FIVE = {"account": "ada", "amount": 5.0}


@pytest.fixture(autouse=True)
def bank(backend: Backend) -> Bank:
    bank = Bank()
    backend.deployment.functions |= bank.functions
    return bank


async def test_a_bank_account_is_kept_in_step_with_its_mutations(
    backend: Backend,
) -> None:
    """S1"""
    async with scripted(backend) as client:
        await client.greet()
        await client.ask("Mutation", "bank:deposit", **FIVE)
        response = await client.hear()
        assert response == {
            "type": "MutationResponse",
            "requestId": 0,
            "success": True,
            "result": 5.0,
            "ts": response["ts"],
            "logLines": ["[LOG] 'deposited'"],
        }
        assert await client.changes() == []
        assert client.ts >= decode_timestamp(response["ts"])
        await client.modify(add(0, "bank:balance", **ADA))
        assert await client.change() == 5
        await client.modify(add(1, "bank:balance", account="bob"))
        assert await client.change() is None
        await client.ask("Mutation", "bank:deposit", account="bob", amount=1.0)
        await client.hear()
        (only,) = await client.changes()
        assert (only["queryId"], only["value"]) == (1, 1)
        await client.ask(
            "Mutation", "bank:transfer", **{"from": "ada", "to": "bob", "amount": 2.0}
        )
        response = await client.hear()
        both = await client.changes()
        assert [(c["queryId"], c["value"]) for c in both] == [(0, 3), (1, 3)]
        assert client.ts >= decode_timestamp(response["ts"])
        await client.modify(remove(0))
        assert await client.changes() == [{"type": "QueryRemoved", "queryId": 0}]
        assert client.told["querySet"] == 3


async def test_a_query_that_comes_and_goes_in_one_message_is_only_removed(
    backend: Backend,
) -> None:
    """S2"""
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:balance", **ADA), remove(0))
        assert await client.changes() == [{"type": "QueryRemoved", "queryId": 0}]
        assert client.told["querySet"] == 1


async def test_failing_queries_fail_alone(backend: Backend) -> None:
    """S3"""
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:broken"), add(1, "bank:refused", data=None))
        plain, with_data = await client.changes()
        assert plain.keys() == {
            "type",
            "queryId",
            "errorMessage",
            "logLines",
            "journal",
        }
        assert plain["type"] == with_data["type"] == "QueryFailed"
        first, _, second = plain["errorMessage"].partition("\n")
        assert first.startswith("[Request ID: ")
        assert first.endswith("] Server Error")
        assert second == "Uncaught Error: the vault is shut"
        assert with_data["errorData"] is None
        await client.modify(add(2, "bank:balance", **ADA))
        (good,) = await client.changes()
        assert (good["type"], good["queryId"]) == ("QueryUpdated", 2)
        await client.modify(remove(0), remove(1))
        removed = [(c["type"], c["queryId"]) for c in await client.changes()]
        assert removed == [("QueryRemoved", 0), ("QueryRemoved", 1)]


async def test_an_admin_key_is_refused(backend: Backend) -> None:
    """S5"""
    identity = {"tokenIdentifier": "i|s"}
    for acting in ({}, {"impersonating": identity}):
        async with scripted(backend) as client:
            key = {"tokenType": "Admin", "value": "dev|key"}
            await client.say("Authenticate", baseVersion=0, **key, **acting)
            error = await client.hear()
            assert error["type"] == "AuthError"
            assert (error["baseVersion"], error["authUpdateAttempted"]) == (0, True)
            assert await client.closed() == EMPTY


async def test_a_repeated_mutation_runs_once(backend: Backend) -> None:
    """S7"""
    responses = []
    for _ in range(2):
        async with scripted(backend) as client:
            await client.greet()
            await client.modify(add(0, "bank:balance", **ADA))
            await client.changes()
            await client.ask("Mutation", "bank:deposit", **FIVE)
            responses.append(await client.hear())
            await client.changes()
            assert client.ts >= decode_timestamp(responses[0]["ts"])
    assert responses[0] == responses[1]
    async with scripted(backend) as client:
        await client.greet(SESSION.replace("0", "1"))
        await client.ask("Mutation", "bank:deposit", **FIVE)
        assert (await client.hear())["result"] == 10


@pytest.mark.parametrize("path", ["bank:balance", "bank:broken"])
async def test_a_result_that_stays_the_same_is_not_sent_again(
    backend: Backend, path: str
) -> None:
    """S8"""
    async with scripted(backend) as client:
        await client.modify(add(0, path, **ADA))
        assert len(await client.changes()) == 1
        await client.ask("Mutation", "bank:nothing")
        await client.hear()
        assert await client.changes() == []


async def test_a_result_that_is_logged_differently_is_sent_again(
    backend: Backend,
) -> None:
    """S8"""
    runs: list[None] = []

    def chatty(call: Any) -> None:
        runs.append(None)
        call.log_lines.append(f"[LOG] run {len(runs)}")

    backend.deployment.functions["m:chatty"] = Function("query", chatty)
    async with scripted(backend) as client:
        await client.modify(add(0, "m:chatty"))
        assert (await client.changes())[0]["logLines"] == ["[LOG] run 1"]
        await client.ask("Mutation", "bank:nothing")
        await client.hear()
        assert (await client.changes())[0]["logLines"] == ["[LOG] run 2"]


async def test_no_result_is_older_than_its_time_although_the_clock_goes_back(
    backend: Backend,
) -> None:
    """S9"""
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:balance", **ADA))
        assert await client.change() is None
        for amount in (1.0, 2.0):
            call = {"account": "ada", "amount": amount}
            _, ts = backend.deployment.mutate(0, "bank:deposit", call, None)
            before = client.ts
            await client.change()
            assert before < client.ts == ts
        await client.modify(add(1, "bank:balance", **ADA))
        assert await client.change() == 3


async def test_a_client_from_the_future_is_sent_away(backend: Backend) -> None:
    """S10"""
    async with scripted(backend) as client:
        await client.greet(maxObservedTimestamp=encode_timestamp(2**62))
        assert await client.closed() == BROKEN


async def test_without_a_greeting_everything_works_but_idempotency(
    backend: Backend,
) -> None:
    """S11"""
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:balance", **ADA))
        assert await client.change() is None
        for balance in (5, 10):
            deposit = {"udfPath": "bank:deposit", "args": [FIVE]}
            await client.say("Mutation", requestId=0, **deposit)
            await client.hear()
            assert await client.change() == balance


async def test_a_wrong_base_of_the_query_set_is_fatal(backend: Backend) -> None:
    """S12"""
    async with scripted(backend) as client:
        await client.say(
            "ModifyQuerySet", baseVersion=1, newVersion=2, modifications=[]
        )
        assert await client.hear() == {
            "type": "FatalError",
            "error": "Base version 1 passed up doesn't match the current version 0",
        }
        assert await client.closed() == EMPTY


def modify(base: int, new: int, *modifications: Any) -> dict[str, Any]:
    return {
        "type": "ModifyQuerySet",
        "baseVersion": base,
        "newVersion": new,
        "modifications": modifications,
    }


@pytest.mark.parametrize(
    "message",
    [
        {"type": "Authenticate", "baseVersion": 1, "tokenType": "None"},
        modify(0, 0),
        modify(0, 1, add(0, "a:b"), add(0, "a:b")),
        modify(0, 1, remove(0)),
        None,
    ],
    ids=[
        "S13-identity",
        "S13-version",
        "S13-duplicate",
        "S13-unknown",
        "S13-binary",
    ],
)
async def test_what_no_client_may_do_breaks_the_connection(
    backend: Backend, message: Any
) -> None:
    async with scripted(backend) as client:
        await client.socket.send(json.dumps(message) if message else b"binary")
        assert await client.closed() == BROKEN


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"type":"Hello"}',
        '{"type":"Connect","sessionId":"x","connectionCount":0}',
        json.dumps(modify(0, 1, add(0, "api.media_jobs.getByJobId"))),
        json.dumps(modify(0, 1, add(0, "m:not-a-name"))),
        '{"type":"Mutation","requestId":0,"udfPath":"a:b"}',
        '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1}',
    ],
    ids=[
        "S14-json",
        "S14-type",
        "S14-session",
        "S14-extension",
        "S14-name",
        "S14-args",
        "S14-modifications",
    ],
)
async def test_what_cannot_be_read_is_fatal(backend: Backend, text: str) -> None:
    async with scripted(backend) as client:
        await client.socket.send(text)
        error = await client.hear()
        assert error["type"] == "FatalError"
        assert error["error"].startswith("Received Invalid JSON on websocket: ")
        assert await client.closed() == EMPTY


async def test_a_server_is_lenient_where_clients_differ(backend: Backend) -> None:
    """S15"""
    async with scripted(backend) as client:
        await client.say("Event", eventType="Unheard", event={"any": ["thing"]})
        query = {"journal": None, "udfPath": "bank:whoami", "queryId": 0, "new": 1}
        message = {
            "modifications": [{"args": [{}]} | query | {"type": "Add"}],
            "more": True,
            "newVersion": 1,
            "baseVersion": 0,
            "type": "ModifyQuerySet",
        }
        await client.socket.send(json.dumps(message))
        assert await client.change() is None


async def test_a_function_is_one_however_its_path_is_spelled(backend: Backend) -> None:
    """S16"""
    paths = ["bank:default", "bank.js:default", "bank", "bank.js"]
    queries = [add(number, path) for number, path in enumerate(paths)]
    async with scripted(backend) as client:
        await client.modify(*queries)
        values = [change["value"] for change in await client.changes()]
        assert values == ["the bank"] * 4
        await client.ask("Mutation", "bank.js:nothing")
        assert (await client.hear())["success"]


@pytest.mark.parametrize("path", ["bank:brokenMutation", "bank:withdraw", "no:such"])
async def test_a_mutation_that_fails_is_answered_and_followed_by_a_transition(
    backend: Backend, path: str
) -> None:
    """S17"""
    async with scripted(backend) as client:
        await client.greet()
        await client.ask("Mutation", path, **FIVE)
        response = await client.hear()
        assert (response["success"], response["ts"]) == (False, None)
        assert response["result"].startswith("[Request ID: ")
        if path == "bank:withdraw":
            assert response["errorData"] == {"code": 42.0}
            assert response["logLines"] == ["[WARN] 'too poor'"]
        else:
            assert "errorData" not in response
        assert await client.changes() == []


UPGRADE = (
    b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@asynccontextmanager
async def raw(backend: Backend) -> AsyncIterator[asyncio.StreamReader]:
    """A client of bare bytes, that answers nothing, not even pings."""
    port = int(backend.site_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        yield reader
    writer.close()


async def test_an_idle_client_hears_that_the_server_is_there(tmp_path: Path) -> None:
    """S18: fifty times faster than the pace that is asserted at the end."""
    pace = Pace(ping_after=0.3, frame_ping_every=0.1)
    async with Backend(tmp_path, pace=pace) as backend, raw(backend) as reader:
        began = time.monotonic()
        pings: list[bytes] = []
        while pings.count(b'{"type":"Ping"}') < 3:
            head, length = await reader.readexactly(2)
            pings.append(await reader.readexactly(length))
            assert head in {0x81, 0x89}
        assert time.monotonic() - began >= 0.8
        assert len(pings) > 6
    assert (AS_CONVEX.ping_after, AS_CONVEX.frame_ping_every) == (15, 5)


async def test_a_client_that_is_silent_for_too_long_is_given_up(
    tmp_path: Path,
) -> None:
    """S19"""
    pace = Pace(silence=0.3, frame_ping_every=0.05)
    async with Backend(tmp_path, pace=pace) as backend:
        async with scripted(backend) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.hear(), 1)
        async with raw(backend) as reader:
            heard = await reader.read()
        assert heard.endswith(b"\x88\x14\x03\xe8ClientDisconnected")
    assert AS_CONVEX.silence == 120


@pytest.mark.parametrize(
    ("path", "client_header", "parts"),
    [
        ("/api/1.48.0/sync", "", 3),
        ("/api/1.28.0/sync", "", 3),
        ("/api/1.27.9/sync", "", 1),
        ("/api/sync", "python-0.8.1", 1),
        ("/api/1.48.0/sync", "python-0.8.1", 1),
        ("/api/sync", "npm-1.28.0", 3),
    ],
)
async def test_a_large_transition_comes_in_pieces_to_those_who_take_them(
    backend: Backend, path: str, client_header: str, parts: int
) -> None:
    """S20"""
    headers = {"Convex_Client": client_header} if client_header else {}
    async with scripted(backend, path, **headers) as client:
        await client.modify(add(0, "bank:letter", length=6_000_000.0))
        if parts == 1:
            assert await client.change() == "ä" * 6_000_000
            return
        chunks = [await client.hear() for _ in range(parts)]
        assert [chunk["partNumber"] for chunk in chunks] == [0, 1, 2]
        assert {chunk["totalParts"] for chunk in chunks} == {3}
        sizes = [len(chunk["chunk"].encode()) for chunk in chunks]
        assert max(sizes) <= 5_000_000
        assert {chunk["transitionId"] for chunk in chunks} == {str(sum(sizes))}
        whole = json.loads("".join(chunk["chunk"] for chunk in chunks))
        assert whole["type"] == "Transition"
        assert whole["modifications"][0]["value"] == "ä" * 6_000_000


async def test_a_large_message_comes_in_frames_of_at_most_a_mebibyte(
    backend: Backend,
) -> None:
    """S20"""
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:letter", length=9_000_000.0))
        frames = [len(part.encode()) async for part in client.socket.recv_streaming()]  # type: ignore[union-attr]
    assert sum(frames) > 16 * 2**20
    assert max(frames) <= 2**20


async def test_expiry_is_told_when_the_data_changes_and_not_before(
    backend: Backend,
) -> None:
    """S21"""
    async with scripted(backend) as client:
        await client.authenticate(backend.token(lifetime=2))
        await client.changes()
        await client.modify(add(0, "bank:balance", **ADA))
        await client.changes()
        expires = time.time() + 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.socket.recv(), expires - time.time() + 0.2)
        backend.deployment.mutate(time.time_ns(), "bank:deposit", FIVE, None)
        assert await client.hear() == {
            "type": "AuthError",
            "error": "Convex token identity expired",
            "baseVersion": 1,
            "authUpdateAttempted": False,
        }
        assert await client.closed() == EMPTY


async def test_a_burst_of_changes_to_the_query_set_ends_as_asked(
    backend: Backend,
) -> None:
    """S22"""
    async with scripted(backend) as client:
        following: set[int] = set()
        for number in range(20):
            await client.modify(add(number, "bank:balance", account=f"{number}"))
        await client.modify(*[remove(number) for number in range(0, 20, 2)])
        while client.told["querySet"] < 21:
            for change in await client.changes():
                if change["type"] == "QueryRemoved":
                    following.remove(change["queryId"])
                else:
                    following.add(change["queryId"])
        assert following == set(range(1, 20, 2))


async def test_mutations_run_in_order_and_actions_at_any_time(
    backend: Backend, bank: Bank
) -> None:
    """S23"""
    async with scripted(backend) as client:
        slow = await client.ask("Mutation", "bank:slowDeposit", **FIVE)
        fast = await client.ask("Mutation", "bank:deposit", **FIVE)
        await client.ask("Action", "bank:report")
        response = await client.hear()
        assert response == {
            "type": "ActionResponse",
            "requestId": 2,
            "success": True,
            "result": {},
            "logLines": [],
        }
        assert await client.changes() == []
        bank.open.set()
        for number, balance in ((slow, 5), (fast, 10)):
            response = await client.hear()
            assert (response["requestId"], response["result"]) == (number, balance)
            assert await client.changes() == []


async def test_actions_run_side_by_side(backend: Backend, bank: Bank) -> None:
    """S23"""
    async with scripted(backend) as client:
        for path in ("bank:slowReport", "bank:report"):
            await client.ask("Action", path)
        assert (await client.hear())["requestId"] == 1
        await client.changes()
        bank.open.set()
        assert (await client.hear())["requestId"] == 0


async def test_a_slow_query_and_a_later_fast_one_are_told_at_consistent_times(
    backend: Backend,
) -> None:
    """S24: queries here run to their end, so that the later Transition waits."""

    def slow(call: Any) -> str:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            pass
        return "slow"

    backend.deployment.functions["m:slow"] = Function("query", slow)
    async with scripted(backend) as client:
        await client.modify(add(0, "m:slow"))
        await client.modify(add(1, "bank:whoami"))
        assert await client.change() == "slow"
        first = client.told
        assert [change["queryId"] for change in await client.changes()] == [1]
        assert (first["querySet"], client.told["querySet"]) == (1, 2)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/api/1.48.0/sync", None),
        ("/api/sync", "python-0.8.1"),
        ("/api/sync", None),
        ("/api/0.19.0/sync", "python-0.8.1"),
        ("/api/sync", "somebody-else"),
    ],
    ids=["S26-npm", "S26-python", "S26-none", "S26-header-wins", "S26-unknown"],
)
async def test_a_client_of_today_is_let_in(
    backend: Backend, path: str, header: str | None
) -> None:
    headers = {"Convex_Client": header} if header else {}
    async with scripted(backend, path, **headers) as client:
        await client.modify()
        assert await client.changes() == []
        assert client.socket.response is not None
        assert "x-convex-deprecation-state" not in client.socket.response.headers


async def test_a_client_that_should_be_renewed_is_let_in_and_told(
    backend: Backend,
) -> None:
    """S26"""
    async with scripted(backend, Convex_Client="python-0.2.0") as client:
        assert client.socket.response is not None
        headers = client.socket.response.headers
        assert headers["x-convex-deprecation-state"] == "UpgradeRequired"
        assert "0.2.0" in headers["x-convex-deprecation-message"]


@pytest.mark.parametrize(
    ("path", "header", "code"),
    [
        ("/api/0.19.0/sync", None, "ClientVersionUnsupported"),
        ("/api/1.48.0/sync", "npm-0.19.1", "ClientVersionUnsupported"),
        ("/api/abc/sync", None, "InvalidClientVersion"),
        ("/api/sync", "nobody", "InvalidClientVersion"),
    ],
    ids=["S26-old", "S26-old-header", "S26-path", "S26-header"],
)
async def test_a_client_of_the_past_is_told_why_it_is_refused(
    backend: Backend, path: str, header: str | None, code: str
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with scripted(
            backend, path, **({"Convex_Client": header} if header else {})
        ):
            pass
    response = caught.value.response
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    told = json.loads(response.body or b"")
    assert told["code"] == code
    assert told["message"]
    state = response.headers.get("x-convex-deprecation-state")
    assert state == ("Unsupported" if "Unsupported" in code else None)


async def test_a_journal_is_taken_and_none_is_given(backend: Backend) -> None:
    """S27: no query here is paginated, so there is nothing that a journal could pin."""
    async with scripted(backend) as client:
        await client.modify(
            add(0, "bank:whoami") | {"journal": "earlier"},
            add(1, "bank:broken") | {"journal": None},
        )
        assert [change["journal"] for change in await client.changes()] == [None] * 2


@pytest.mark.parametrize(
    ("kind", "path", "reason"),
    [
        ("Mutation", "bank:slowDeposit", "TooManyConcurrentMutations"),
        ("Action", "bank:slowReport", "TooManyInflightActionsForSingleClient"),
    ],
)
async def test_a_thousand_requests_are_enough(
    backend: Backend, bank: Bank, kind: str, path: str, reason: str
) -> None:
    """S28"""
    async with scripted(backend) as client:
        for _ in range(1000):
            await client.ask(kind, path, **FIVE)
        await client.modify()
        assert await client.changes() == []
        await client.ask(kind, path, **FIVE)
        assert await client.closed() == (1013, reason)
    bank.open.set()
    async with scripted(backend) as client:
        await client.modify(add(0, "bank:balance", **ADA))
        assert await client.change() is None


async def test_all_of_a_thousand_queued_mutations_run(
    backend: Backend, bank: Bank
) -> None:
    """S28"""
    async with scripted(backend) as client:
        await client.ask("Mutation", "bank:slowDeposit", **FIVE)
        for _ in range(999):
            await client.ask("Mutation", "bank:deposit", **FIVE)
        bank.open.set()
        for number in range(1000):
            response = await client.hear()
            assert (response["requestId"], response["result"]) == (
                number,
                5.0 * (number + 1),
            )
            assert await client.changes() == []
