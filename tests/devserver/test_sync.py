from __future__ import annotations

import json
from typing import Any

import pytest

from bank import Bank
from materializer.convex.messages import decode_timestamp
from materializer.devserver.calls import Asked
from materializer.devserver.deployment import Deployment
from materializer.devserver.functions import Function
from materializer.devserver.sync import Close, Conversation, Reply
from materializer.devserver.tokens import Identity
from materializer.errors import SignInNeeded

MS, NS = 1_000_000, 1_000_000_000
NOW = 1_700_000_000 * NS
ME = "https://site|me"
GET, DONE = "media_jobs:getByJobId", "media_jobs:listSucceededSince"
BROKEN = [Close(1011, "InternalServerError")]
SESSION = "010b0c3a-4155-4f66-ac7a-c4d1f258ccb2"


def verify(token: str, now: float) -> Identity:
    if token != "good":
        raise SignInNeeded("The token could not be verified.")
    return Identity(ME, NOW / NS + 60)


class Client:
    """Says things in a conversation and keeps what it hears, as a client would."""

    def __init__(self) -> None:
        self.deployment = Deployment(NOW)
        self.deployment.functions |= Bank().functions
        self.conversation = Conversation(self.deployment, verify)
        self.query_set = self.identity = 0
        self.now = NOW

    def say(self, kind: str, **fields: Any) -> list[Any]:
        text = json.dumps({"type": kind} | fields)
        return heard(self.conversation.receive(text, self.now))

    def ask(self, kind: str, path: str, number: int = 0) -> list[Any]:
        args = [{"account": "ada", "amount": 5.0}]
        return self.say(kind, requestId=number, udfPath=path, args=args)

    def resume(self, asked: Asked) -> list[Any]:
        return heard(self.conversation.resume(asked, self.now))

    def modify(self, *modifications: dict[str, Any]) -> list[Any]:
        base, self.query_set = self.query_set, self.query_set + 1
        return self.say(
            "ModifyQuerySet",
            baseVersion=base,
            newVersion=base + 1,
            modifications=modifications,
        )

    def authenticate(self, **fields: Any) -> list[Any]:
        base, self.identity = self.identity, self.identity + 1
        return self.say("Authenticate", baseVersion=base, **fields)

    def sign_in(self) -> list[Any]:
        return self.authenticate(tokenType="User", value="good")

    def refresh(self) -> list[Any]:
        return heard(self.conversation.refresh(self.now))

    def finish_job(self, job_id: str, owner: str = ME) -> None:
        at = self.now
        self.deployment.submit(at, owner=owner, job_id=job_id, capability="icon")
        self.deployment.succeed(at, job_id, {})


def heard(replies: list[Reply]) -> list[Any]:
    return [json.loads(r) if isinstance(r, str) else r for r in replies]


def add(query_id: int, path: str = GET, **args: Any) -> dict[str, Any]:
    if path == GET:
        args.setdefault("jobId", "j")
    return {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args]}


def remove(query_id: int) -> dict[str, Any]:
    return {"type": "Remove", "queryId": query_id}


def changes(reply: dict[str, Any]) -> list[tuple[str, int]]:
    assert reply["type"] == "Transition"
    return [(m["type"], m["queryId"]) for m in reply["modifications"]]


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_greeting_is_not_answered_and_not_required(client: Client) -> None:
    greeting = {"sessionId": SESSION, "connectionCount": 0, "clientTs": NOW // MS + 7}
    assert client.say("Connect", **greeting) == []
    (transition,) = client.modify()
    assert transition["clientClockSkew"] == 7
    (transition,) = Client().modify()
    assert transition["clientClockSkew"] is None


def test_a_transition_leads_from_what_was_told_to_what_was_asked(
    client: Client,
) -> None:
    (first,) = client.sign_in()
    (second,) = client.modify(add(0))
    zero = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    assert first["startVersion"] == zero
    assert first["modifications"] == []
    assert first["serverTs"] == NOW
    assert second["startVersion"] == first["endVersion"]
    assert (second["endVersion"]["querySet"], second["endVersion"]["identity"]) == (
        1,
        1,
    )
    assert decode_timestamp(second["endVersion"]["ts"]) == client.deployment.ts
    assert second["modifications"] == [
        {
            "type": "QueryUpdated",
            "queryId": 0,
            "value": None,
            "logLines": [],
            "journal": None,
        }
    ]


def test_a_change_reaches_every_query_it_touches_in_one_transition(
    client: Client,
) -> None:
    client.sign_in()
    client.modify(add(7), add(2, DONE, since=0.0), add(5, jobId="other"))
    client.finish_job("j")
    (transition,) = client.refresh()
    assert changes(transition) == [("QueryUpdated", 2), ("QueryUpdated", 7)]
    assert transition["modifications"][0]["value"][0]["jobId"] == "j"
    assert decode_timestamp(transition["endVersion"]["ts"]) == client.deployment.ts


def test_what_changes_nothing_for_this_client_is_not_told(client: Client) -> None:
    client.sign_in()
    client.modify(add(0, DONE, since=0.0))
    client.finish_job("foreign", "https://site|you")
    assert client.refresh() == []


def test_signing_in_and_out_reruns_every_query(client: Client) -> None:
    client.finish_job("j")
    (anonymous,) = client.modify(add(0, DONE, since=0.0))
    assert anonymous["modifications"][0]["value"] == []
    (mine,) = client.sign_in()
    assert [row["jobId"] for row in mine["modifications"][0]["value"]] == ["j"]
    (again,) = client.sign_in()
    assert again["modifications"] == []
    assert again["endVersion"]["identity"] == 2
    (nobody,) = client.authenticate(tokenType="None")
    assert nobody["modifications"][0]["value"] == []


def test_a_removed_query_is_told_so_and_never_again(client: Client) -> None:
    client.sign_in()
    client.modify(add(0), add(1, DONE, since=0.0))
    (transition,) = client.modify(remove(1))
    assert changes(transition) == [("QueryRemoved", 1)]
    client.finish_job("j")
    (transition,) = client.refresh()
    assert changes(transition) == [("QueryUpdated", 0)]


def test_a_query_that_comes_and_goes_at_once_is_only_removed(client: Client) -> None:
    (transition,) = client.modify(add(0), remove(0))
    assert changes(transition) == [("QueryRemoved", 0)]


def test_a_query_that_fails_says_why_once(client: Client) -> None:
    (transition,) = client.modify(add(0, "x:y"), add(1, DONE))
    assert changes(transition) == [("QueryFailed", 0), ("QueryFailed", 1)]
    says = [m["errorMessage"] for m in transition["modifications"]]
    assert says[0].endswith("\nCould not find public function for 'x:y'.")
    assert "`since`" in says[1]
    client.finish_job("j")
    assert client.refresh() == []


@pytest.mark.parametrize("kind", ["Mutation", "Action"])
def test_a_mutation_or_action_fails_and_is_followed_by_a_transition(
    client: Client, kind: str
) -> None:
    response, transition = client.say(kind, requestId=3, udfPath="x:y", args=[{}])
    assert response["type"] == f"{kind}Response"
    assert (response["requestId"], response["success"]) == (3, False)
    assert response["result"].endswith("public function for 'x:y'.")
    assert ("ts" in response) == (kind == "Mutation")
    assert changes(transition) == []


def kinds(replies: list[Any]) -> list[tuple[str, int | None]]:
    return [(reply["type"], reply.get("requestId")) for reply in replies]


def balance(client: Client) -> Any:
    return client.deployment.run("bank:balance", {"account": "ada"}, None).value


@pytest.mark.parametrize("path", ["bank:deposit", "bank:withdraw"])
def test_a_mutation_is_answered_before_the_transition_that_shows_it(
    client: Client, path: str
) -> None:
    """S17"""
    client.modify(add(0, "bank:balance", account="ada"))
    response, transition = client.ask("Mutation", path)
    worked = path == "bank:deposit"
    assert response["success"] == worked
    assert len(changes(transition)) == worked
    if worked:
        assert transition["endVersion"]["ts"] == response["ts"]
        assert transition["modifications"][0]["value"] == 5
    assert client.refresh() == []


def test_a_slow_mutation_holds_up_those_behind_it_alone(client: Client) -> None:
    """S23"""
    (slow,) = client.ask("Mutation", "bank:slowDeposit", 0)
    assert client.ask("Mutation", "bank:deposit", 1) == []
    (slower,) = client.ask("Action", "bank:slowReport", 2)
    action = client.ask("Action", "bank:report", 3)
    assert kinds(action) == [("ActionResponse", 3), ("Transition", None)]
    both = client.resume(slow)
    assert kinds(both) == [
        ("MutationResponse", 0),
        ("Transition", None),
        ("MutationResponse", 1),
        ("Transition", None),
    ]
    assert [reply["result"] for reply in both[::2]] == [5, 10]
    assert kinds(client.resume(slower))[0] == ("ActionResponse", 2)


def test_a_thousand_may_wait_behind_a_slow_mutation(client: Client) -> None:
    """S28"""
    (slow,) = client.ask("Mutation", "bank:slowDeposit")
    for number in range(1, 1000):
        assert client.ask("Mutation", "bank:deposit", number) == []
    replies = client.resume(slow)
    assert len(replies) == 2000
    assert replies[-2]["result"] == 5000


def test_one_more_is_too_many(client: Client) -> None:
    """S28"""
    for number in range(1000):
        client.ask("Mutation", "bank:slowDeposit", number)
    close = Close(1013, "TooManyConcurrentMutations")
    assert client.ask("Mutation", "bank:deposit", 1000) == [close]


def test_a_mutation_runs_as_who_asked_for_it(client: Client) -> None:
    """S23"""
    client.deployment.functions["m:whoami"] = Function("mutation", lambda c: c.owner)
    client.sign_in()
    (slow,) = client.ask("Mutation", "bank:slowDeposit", 0)
    client.ask("Mutation", "m:whoami", 1)
    client.authenticate(tokenType="None")
    assert client.resume(slow)[2]["result"] == ME


def test_what_an_expired_token_asked_for_is_not_done(client: Client) -> None:
    """S21"""
    client.sign_in()
    (slow,) = client.ask("Mutation", "bank:slowDeposit", 0)
    client.authenticate(tokenType="None")
    (report,) = client.ask("Action", "bank:slowReport", 1)
    client.now += 60 * NS
    assert kinds(client.resume(report))[0] == ("ActionResponse", 1)
    error, close = client.resume(slow)
    assert (error["type"], close) == ("AuthError", Close(None))
    assert error["authUpdateAttempted"] is False
    assert balance(client) is None


def test_what_was_done_is_told_before_the_expiry_that_ends_it(client: Client) -> None:
    """S21"""
    (slow,) = client.ask("Mutation", "bank:slowDeposit", 0)
    client.sign_in()
    client.ask("Mutation", "bank:deposit", 1)
    client.authenticate(tokenType="None")
    client.now += 60 * NS
    response, transition, error, close = client.resume(slow)
    assert (response["success"], transition["type"]) == (True, "Transition")
    assert (error["type"], close) == ("AuthError", Close(None))
    assert balance(client) == 5


def test_nothing_is_resumed_after_the_end(client: Client) -> None:
    (slow,) = client.ask("Mutation", "bank:slowDeposit")
    client.say("Hello")
    assert client.resume(slow) == []
    assert balance(client) is None


def test_a_large_transition_is_cut_for_those_who_take_chunks(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S20"""
    monkeypatch.setattr("materializer.devserver.pieces.MAX_TRANSITION", 100)
    (whole,) = client.modify(add(0))
    assert whole["type"] == "Transition"
    client.conversation.takes_chunks = True
    chunks = client.modify(add(1))
    assert {chunk["type"] for chunk in chunks} == {"TransitionChunk"}
    joined = json.loads("".join(chunk["chunk"] for chunk in chunks))
    assert joined["startVersion"] == whole["endVersion"]


def test_an_event_is_taken_in_silence(client: Client) -> None:
    assert client.say("Event", eventType="ClientConnect", event=[]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"tokenType": "User", "value": "canary"},
        {"tokenType": "User"},
        {"tokenType": "Admin", "value": "canary"},
    ],
)
def test_a_refused_identity_ends_the_conversation_with_an_empty_close(
    client: Client, fields: dict[str, str]
) -> None:
    client.sign_in()
    error, close = client.authenticate(**fields)
    assert error["type"] == "AuthError"
    assert (error["authUpdateAttempted"], error["baseVersion"]) == (True, 1)
    assert "canary" not in error["error"]
    assert close == Close(None)


def test_expiry_is_noticed_at_the_next_change_and_not_before(client: Client) -> None:
    client.sign_in()
    client.modify(add(0))
    client.now += 60 * NS
    client.deployment.submit(client.now, owner=ME, job_id="j", capability="icon")
    error, close = client.refresh()
    assert error == {
        "type": "AuthError",
        "error": "Convex token identity expired",
        "baseVersion": 1,
        "authUpdateAttempted": False,
    }
    assert close == Close(None)
    assert client.refresh() == []


def test_a_fresh_token_in_time_prevents_expiry(client: Client) -> None:
    client.sign_in()
    client.now += 60 * NS
    client.conversation._verify = lambda token, now: Identity(ME, now + 60)
    (transition,) = client.sign_in()
    assert transition["endVersion"]["identity"] == 2


def test_a_wrong_query_set_base_is_fatal(client: Client) -> None:
    client.modify()
    error, close = client.say(
        "ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[]
    )
    assert error == {
        "type": "FatalError",
        "error": "Base version 0 passed up doesn't match the current version 1",
    }
    assert close == Close(None)


def test_a_wrong_identity_base_breaks_the_connection(client: Client) -> None:
    assert client.say("Authenticate", baseVersion=1, tokenType="None") == BROKEN


def test_a_version_that_does_not_grow_breaks_the_connection(client: Client) -> None:
    fields = {"baseVersion": 0, "newVersion": 0, "modifications": []}
    assert client.say("ModifyQuerySet", **fields) == BROKEN


def test_a_duplicate_or_unknown_query_breaks_the_connection() -> None:
    assert Client().modify(add(0), add(0)) == BROKEN
    assert Client().modify(remove(0)) == BROKEN


def test_a_binary_message_breaks_the_connection(client: Client) -> None:
    assert client.conversation.receive(b"{}", NOW) == BROKEN


def test_a_client_from_the_future_is_sent_away(client: Client) -> None:
    greeting = {"sessionId": SESSION, "connectionCount": 1}
    known = {"maxObservedTimestamp": "AAAAAAAAAAA="}
    assert client.say("Connect", **greeting, **known) == []
    future = {"maxObservedTimestamp": "/////////38="}
    assert client.say("Connect", **greeting, **future) == BROKEN


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"type":"Hello"}',
        json.dumps(
            {
                "type": "Connect",
                "sessionId": SESSION,
                "connectionCount": 0,
                "maxObservedTimestamp": "???",
            }
        ),
        json.dumps(
            {
                "type": "ModifyQuerySet",
                "baseVersion": 0,
                "newVersion": 1,
                "modifications": [add(0, "x:y", a={"$set": 1})],
            }
        ),
        json.dumps(
            {
                "type": "ModifyQuerySet",
                "baseVersion": 0,
                "newVersion": 1,
                "modifications": [
                    add(0, "x:y") | {"args": [{"$integer": "AAAAAAAAAAA="}]}
                ],
            }
        ),
    ],
    ids=["json", "type", "timestamp", "value", "arguments"],
)
def test_what_cannot_be_read_is_fatal(client: Client, text: str) -> None:
    error, close = heard(client.conversation.receive(text, NOW))
    assert error["type"] == "FatalError"
    assert error["error"].startswith("Received Invalid JSON on websocket: ")
    assert close == Close(None)


def test_nothing_is_said_after_the_end(client: Client) -> None:
    client.say("Hello")
    client.finish_job("j")
    assert client.modify(add(0)) == []
    assert client.refresh() == []
