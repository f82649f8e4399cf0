from __future__ import annotations

import re
from typing import Literal
from uuid import UUID

import pytest

from bank import Bank
from materializer.convex.messages import encode_timestamp
from materializer.devserver import calls, heard
from materializer.devserver.calls import Asked, Calls, TooMany
from materializer.devserver.deployment import Deployment
from materializer.devserver.functions import ConvexError, FunctionFailed
from materializer.devserver.tokens import Identity

FIVE = {"account": "ada", "amount": 5.0}
ME = Identity("me", 0)


@pytest.fixture
def deployment() -> Deployment:
    deployment = Deployment(0)
    deployment.functions |= Bank().functions
    return deployment


class Client:
    def __init__(self, deployment: Deployment) -> None:
        self.calls = Calls(deployment)
        self._count = 0

    def ask(
        self, path: str, type_: Literal["Mutation", "Action"] = "Mutation"
    ) -> Asked | None:
        number, self._count = self._count, self._count + 1
        request = heard.Request(
            type=type_, requestId=number, udfPath=path, args=[dict(FIVE)]
        )
        return self.calls.ask(request, dict(FIVE), ME)


@pytest.fixture
def client(deployment: Deployment) -> Client:
    return Client(deployment)


def test_mutations_follow_each_other(client: Client) -> None:
    first = client.ask("bank:deposit")
    assert first is not None
    assert client.ask("bank:slowDeposit") is None
    assert client.ask("bank:deposit") is None
    second = client.calls.done(first)
    assert second is not None
    assert (second.request.request_id, second.until is not None) == (1, True)
    third = client.calls.done(second)
    assert third is not None
    assert client.calls.done(third) is None
    assert client.ask("bank:deposit") is not None


def test_actions_wait_for_nobody(client: Client) -> None:
    client.ask("bank:slowDeposit")
    actions = [client.ask("bank:report", "Action") for _ in range(3)]
    for action in actions:
        assert action is not None
        assert client.calls.done(action) is None


@pytest.mark.parametrize("type_", ["Mutation", "Action"])
def test_there_is_an_end_to_what_may_be_asked(
    client: Client,
    type_: Literal["Mutation", "Action"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S28"""
    monkeypatch.setattr(calls, "LIMIT", 2)
    first = client.ask("bank:report", type_)
    client.ask("bank:report", type_)
    assert first is not None
    client.calls.done(first)
    client.ask("bank:report", type_)
    with pytest.raises(TooMany, match="TooMany"):
        client.ask("bank:report", type_)


def test_a_response_says_from_when_on_queries_show_it(
    client: Client, deployment: Deployment
) -> None:
    asked = client.ask("bank:deposit")
    assert asked is not None
    assert client.calls.run(asked, 9) == {
        "type": "MutationResponse",
        "requestId": 0,
        "success": True,
        "result": 5.0,
        "ts": encode_timestamp(deployment.ts),
        "logLines": ["[LOG] 'deposited'"],
    }
    assert deployment.ts == 9


def test_without_a_session_every_mutation_is_a_new_one(client: Client) -> None:
    asked = client.ask("bank:deposit")
    assert asked is not None
    assert [client.calls.run(asked, 1)["result"] for _ in range(2)] == [5, 10]
    client.calls.session = UUID(int=1)
    assert [client.calls.run(asked, 1)["result"] for _ in range(2)] == [15, 15]


def test_a_failure_is_told_under_the_id_of_its_request(client: Client) -> None:
    asked = client.ask("bank:withdraw")
    assert asked is not None
    first = client.calls.run(asked, 1)
    client.calls.session = UUID(int=1)
    second = client.calls.run(asked, 1)
    assert first["result"] != second["result"]
    assert second == client.calls.run(asked, 1)
    assert second == {
        "type": "MutationResponse",
        "requestId": 0,
        "success": False,
        "result": second["result"],
        "ts": None,
        "logLines": ["[WARN] 'too poor'"],
        "errorData": {"code": 42.0},
    }
    words = r"\[Request ID: [0-9a-f]{16}\] Server Error\nUncaught ConvexError: {.*}"
    assert re.fullmatch(words, second["result"])


def test_only_a_failure_on_purpose_has_data_and_null_is_data() -> None:
    assert "errorData" not in calls.failure(FunctionFailed("no"), "1")
    assert calls.failure(ConvexError(None), "1")["errorData"] is None


def test_an_action_has_no_time(client: Client) -> None:
    asked = client.ask("bank:report", "Action")
    assert asked is not None
    assert client.calls.run(asked, 1) == {
        "type": "ActionResponse",
        "requestId": 0,
        "success": True,
        "result": {},
        "logLines": [],
    }
