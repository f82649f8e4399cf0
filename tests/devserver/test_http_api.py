from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from bank import Bank
from materializer import __version__
from materializer.convex.messages import decode_timestamp
from materializer.devserver.app import Backend

LIST = "media_jobs:listFailedSince"
FIVE = {"account": "ada", "amount": 5}
ENCODED = "convex_encoded_json"


@pytest.fixture(autouse=True)
def bank(backend: Backend) -> Bank:
    bank = Bank()
    backend.deployment.functions |= bank.functions
    return bank


async def ask(
    client: httpx.AsyncClient, path: str = LIST, kind: str = "query", **body: Any
) -> httpx.Response:
    asked = {"path": path, "args": {"since": 0}} | body
    return await client.post(f"/api/{kind}", json=asked)


@pytest.mark.parametrize("format_", ["json", ENCODED, None], ids=str)
async def test_a_query_answers_the_bearer_and_writes_numbers_as_floats(
    backend: Backend, client: httpx.AsyncClient, format_: str | None
) -> None:
    """S25"""
    backend.deployment.submit(0, owner=backend.owner(), job_id="j", capability="icon")
    backend.deployment.fail(5_000_000, "j", "no")
    answer = await ask(client, args=[{"since": 0}], format=format_)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Convex-Request-Id"]
    assert answer.json()["status"] == "success"
    assert answer.json()["value"][0]["jobId"] == "j"
    assert '"completedAt":5.0' in answer.text


async def test_a_query_may_be_asked_in_the_address(client: httpx.AsyncClient) -> None:
    """S25"""
    args = json.dumps({"value": {"$integer": "BwAAAAAAAAA="}})
    asked = {"path": "bank:echo", "args": args, "format": ENCODED}
    answer = await client.get("/api/query", params=asked)
    assert answer.json()["value"] == {"$integer": "BwAAAAAAAAA="}
    answer = await client.get("/api/query", params={"path": "bank:whoami"})
    assert answer.json()["value"].endswith("|dev")
    for params in ({"args": "{}"}, {"path": "bank:echo", "args": "{"}):
        answer = await client.get("/api/query", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadQueryArgs")


@pytest.mark.parametrize(
    ("version", "value"),
    [
        ("npm-1.4.1", {"$integer": "BwAAAAAAAAA="}),
        ("npm-1.48.0", "7"),
        ("python-0.8.1", "7"),
    ],
)
async def test_the_client_decides_about_the_format_where_it_does_not_say(
    client: httpx.AsyncClient, version: str, value: Any
) -> None:
    """S25"""
    client.headers["Convex-Client"] = version
    args = {"value": {"$integer": "BwAAAAAAAAA="}}
    assert (await ask(client, "bank:echo", args=args)).json()["value"] == value


async def test_nobody_gets_an_empty_list(backend: Backend) -> None:
    backend.deployment.submit(0, owner=backend.owner(), job_id="j", capability="icon")
    backend.deployment.fail(0, "j", "no")
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        answer = await ask(client)
    assert answer.json() == {"status": "success", "value": []}


async def test_mutations_and_actions_run_and_say_what_they_logged(
    client: httpx.AsyncClient, backend: Backend
) -> None:
    """S25"""
    before = backend.deployment.ts
    answer = await ask(client, "bank:deposit", "mutation", args=FIVE)
    told = {"status": "success", "value": 5.0, "logLines": ["[LOG] 'deposited'"]}
    assert answer.json() == told
    assert backend.deployment.ts > before
    answer = await ask(client, "bank:report", "action", args={})
    assert answer.json() == {"status": "success", "value": {"ada": 5.0}}


async def test_a_slow_function_holds_up_its_caller_alone(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """S25"""
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        asked = ask(client, "bank:slowDeposit", "mutation", args=FIVE)
        slow = group.create_task(asked)
        await bank.waiting.wait()
        answer = await ask(client, "bank:balance", args={"account": "ada"})
        assert answer.json()["value"] is None
        bank.open.set()
    assert slow.result().json()["value"] == 5


async def test_a_functions_error_is_an_answer(client: httpx.AsyncClient) -> None:
    """S25"""
    answer = await ask(client, "x:y")
    assert answer.status_code == 200
    told = answer.json()
    words = r"\[Request ID: [0-9a-f]{16}\] Server Error\n.* function for 'x:y'\."
    assert re.fullmatch(words, told["errorMessage"])
    assert told.keys() == {"status", "errorMessage"}
    assert told["status"] == "error"
    told = (await ask(client, "bank:withdraw", "mutation", args=FIVE)).json()
    assert told["errorData"] == {"code": 42.0}
    assert told["logLines"] == ["[WARN] 'too poor'"]
    told = (await ask(client, "bank:refused", args={})).json()
    assert told["errorData"] is None
    told = (await ask(client, "bank:deposit", args=FIVE)).json()
    assert told["errorMessage"].endswith("'bank:deposit' is no query but a mutation.")


async def test_a_batch_of_queries_is_answered_in_order(
    client: httpx.AsyncClient,
) -> None:
    """S25"""
    queries = [
        {"path": "bank:default", "args": {}},
        {"path": "bank:broken", "args": {}},
        {"path": "bank:whoami", "args": [{}], "format": "json"},
    ]
    answer = await client.post("/api/query_batch", json={"queries": queries})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["success", "error", "success"]
    assert results[0]["value"] == "the bank"


async def test_a_query_can_be_asked_at_a_time(
    client: httpx.AsyncClient, backend: Backend
) -> None:
    """S25"""
    ts = (await client.post("/api/query_ts")).json()["ts"]
    assert decode_timestamp(ts) == backend.deployment.ts
    answer = await ask(client, "bank:default", "query_at_ts", args={}, ts=ts)
    assert answer.json()["value"] == "the bank"
    answer = await ask(client, "bank:default", "query_at_ts", args={}, ts="soon")
    assert (answer.status_code, answer.json()["code"]) == (400, "BadQueryArgs")


async def test_any_kind_of_function_can_be_run_by_its_address(
    client: httpx.AsyncClient,
) -> None:
    """S25"""
    answer = await client.post("/api/run/bank/deposit", json={"args": FIVE})
    assert answer.json()["value"] == 5
    answer = await client.post("/api/run/bank/report", json={"args": {}})
    assert answer.json()["value"] == {"ada": 5}
    seven = {"args": {"value": {"$integer": "BwAAAAAAAAA="}}}
    client.headers["Convex-Client"] = "npm-1.4.1"
    answer = await client.post("/api/run/bank/echo", json=seven)
    assert answer.json()["value"] == "7"
    answer = await client.post("/api/run/bank/echo", json=seven | {"format": ENCODED})
    assert answer.json()["value"] == {"$integer": "BwAAAAAAAAA="}
    answer = await client.post("/api/run/deep/in/here", json={"args": {}})
    assert "'deep/in:here'" in answer.json()["errorMessage"]
    answer = await client.post("/api/run/bank", json={"args": {}})
    assert (answer.status_code, answer.json()["code"]) == (400, "MissingIdentifier")


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
        ({"path": ""}, "BadConvexFunctionIdentifier"),
        ({"path": "api.m.f"}, "BadConvexFunctionIdentifier"),
    ],
)
async def test_a_body_that_is_no_query_is_refused_with_a_code(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    """S25"""
    answer = await client.post(
        "/api/query", json={"path": LIST, "args": {"since": 0}} | body
    )
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"]


async def test_a_body_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    """S25: a page of another origin could send it unasked."""
    text = json.dumps({"path": "bank:deposit", "args": FIVE})
    headers = {"Content-Type": "text/plain"}
    answer = await client.post("/api/mutation", content=text, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")
    balance = await ask(client, "bank:balance", args={"account": "ada"})
    assert balance.json()["value"] is None


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("Bearer x.y.z", 401, "InvalidAuthHeader"),
        ("bearer x.y.z", 401, "InvalidAuthHeader"),
        ("Convex dev|key", 403, "BadDeployKey"),
        ("Convex dev|key:e30=", 403, "BadDeployKey"),
        ("Basic abc", 400, "InvalidAdminKey"),
    ],
)
async def test_who_is_not_known_is_refused(
    client: httpx.AsyncClient, authorization: str, status: int, code: str
) -> None:
    """S25"""
    client.headers["Authorization"] = authorization
    for path in ("query", "mutation", "action", "query_at_ts"):
        answer = await ask(client, kind=path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_only_an_admin_may_call_what_is_not_public(
    client: httpx.AsyncClient,
) -> None:
    """S25"""
    answer = await ask(client, kind="function")
    assert (answer.status_code, answer.json()["code"]) == (403, "BadDeployKey")


@pytest.mark.parametrize(
    ("version", "status", "code", "state"),
    [
        ("npm-0.19.1", 400, "ClientVersionUnsupported", "Unsupported"),
        ("python-0.2.0", 200, None, "UpgradeRequired"),
        ("npm-1.48.0", 200, None, None),
        ("nobody", 400, "InvalidClientVersion", None),
    ],
    ids=["S26-old", "S26-older", "S26-new", "S26-none"],
)
async def test_old_clients_are_told_so(
    client: httpx.AsyncClient,
    version: str,
    status: int,
    code: str | None,
    state: str | None,
) -> None:
    client.headers["Convex-Client"] = version
    answer = await ask(client)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert answer.headers.get("x-convex-deprecation-state") == state


async def test_pages_of_any_origin_may_call_functions_but_not_fetch_a_token(
    client: httpx.AsyncClient,
) -> None:
    """S25"""
    origin = {"Origin": "https://page.test"}
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,convex-client",
    }
    answer = await client.options("/api/mutation", headers=origin | asks)
    assert answer.status_code == 200
    allowed = answer.headers
    assert allowed["Access-Control-Allow-Origin"] == "https://page.test"
    assert allowed["Access-Control-Allow-Credentials"] == "true"
    assert allowed["Access-Control-Allow-Headers"] == "content-type,convex-client"
    assert allowed["Access-Control-Max-Age"] == "86400"
    for method in ("GET", "POST", "OPTIONS", "PATCH", "DELETE", "PUT"):
        assert method in allowed["Access-Control-Allow-Methods"]
    client.headers.update(origin)
    answer = await ask(client, "bank:default", args={})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.test"
    answer = await client.get("/api/auth/convex/token")
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_deployment_introduces_itself(client: httpx.AsyncClient) -> None:
    """S25"""
    assert (await client.get("/version")).text == __version__
    assert (await client.get("/instance_name")).text == "stella-dev"
    assert (await client.get("/")).text.startswith("This is a Convex deployment")
