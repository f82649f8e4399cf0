"""A session, a deployment that keeps the rules, and a network that does not.

Every value that the deployment sends names the query, the account and how often that
has changed, so that a wrong one is known wherever it turns up.
"""

from __future__ import annotations

import json
from collections import Counter
from math import inf
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from convex_side import Numbers, auth_error, jwt, transition
from materializer.convex.events import (
    ActionWanted,
    Close,
    Closed,
    Connect,
    Deliver,
    Effect,
    Event,
    Lost,
    Moment,
    MutationWanted,
    NeedToken,
    Opened,
    QueriesWanted,
    Received,
    Returned,
    Send,
    Settled,
    Started,
    Stopped,
    Threw,
    TokenChanged,
    TokenUnavailable,
    Woke,
)
from materializer.convex.messages import decode_timestamp, encode_timestamp
from materializer.convex.session import Session
from materializer.convex.token import Token

PATHS = ["m:x", "m:y"]
State = dict[str, int]
USERS = st.sampled_from(["ada", "bob", None])
Wanted = dict[str, tuple[str, dict[str, object]]]
WANTED: st.SearchStrategy[Wanted] = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.tuples(st.sampled_from(PATHS), st.just({})),
)


def values(deliver: Deliver) -> dict[str, Any]:
    return dict(deliver.results)


def account(user: str) -> str:
    return f"https://site.test|{user}"


class Deployment:
    """What is stored: how often each query of each account has changed, and when."""

    def __init__(self) -> None:
        self.ts = 1
        self.counts: dict[str, State] = {}
        self.moments: dict[str, list[State]] = {}
        self.heard: set[str] = set()
        self.carried_out: Counter[str] = Counter()
        self.answers: dict[int, dict[str, Any]] = {}

    def counts_of(self, owner: str) -> State:
        return self.counts.setdefault(owner, dict.fromkeys(PATHS, 0))

    def change(self, owner: str, path: str) -> int:
        """Note a change of a query; return how often it has changed."""
        self.moments.setdefault(owner, [self.counts_of(owner)])
        self.ts += 1
        counts = self.counts_of(owner)
        self.counts[owner] = counts | {path: counts[path] + 1}
        self.moments[owner].append(self.counts[owner])
        return counts[path] + 1

    def carry_out(self, owner: str, call: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; a mutation that succeeded is not done a second time."""
        request_id, [args] = call["requestId"], call["args"]
        if request_id in self.answers:
            return self.answers[request_id]
        answer = {"type": f"{call['type']}Response", "requestId": request_id}
        if args["fails"]:
            return answer | {"success": False, "result": "boom"}
        self.carried_out[args["key"]] += 1
        count = self.change(owner, PATHS[0])
        result = {"owner": owner, "key": args["key"], "count": count}
        answer |= {"success": True, "result": result}
        if call["type"] == "Mutation":
            answer["ts"] = encode_timestamp(self.ts)
            self.answers[request_id] = answer
        return answer


class Talk:
    """The deployment's end of one connection; it raises where the client errs."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.owner: str | None = None
        self.asked: Numbers = (0, 0, 0)
        self.told: Numbers = (0, 0, 0)
        self.queries: dict[int, str] = {}
        self.results: dict[int, Any] = {}
        self.todo: list[tuple[str, dict[str, Any]]] = []
        self.outbox: list[str] = []
        self.tampered = False
        self.last = ""

    def hear(self, text: str) -> None:
        message = json.loads(text)
        query_set, identity, _ = self.asked
        kind = message["type"]
        assert (kind == "Connect") == (self.last == "")
        if kind == "Connect":
            seen = message.get("maxObservedTimestamp")
            assert seen is None or decode_timestamp(seen) <= self.deployment.ts
        elif kind == "Authenticate":
            assert message["baseVersion"] == identity
            assert identity > 0 or self.last == "Connect"
            claims = message.get("value")
            self.owner = Token.read(claims).owner if claims else None
            self.asked = (query_set, identity + 1, 0)
        elif kind == "ModifyQuerySet":
            assert message["baseVersion"] == query_set
            assert message["newVersion"] == query_set + 1
            assert query_set > 0 or self.last == "Authenticate"
            self.asked = (query_set + 1, identity, 0)
            self._modify(message["modifications"])
        else:
            assert query_set > 0
            assert self.owner is not None
            self.todo.append((self.owner, message))
            self.deployment.heard.add(message["args"][0]["key"])
        self.last = kind

    def _modify(self, modifications: list[dict[str, Any]]) -> None:
        for change in modifications:
            if change["type"] == "Add":
                assert change["queryId"] not in self.queries
                self.queries[change["queryId"]] = change["udfPath"]
            else:
                del self.queries[change["queryId"]]
                self.results.pop(change["queryId"], None)

    def serve(self) -> None:
        """Carry out the next call."""
        owner, call = self.todo.pop(0)
        answer = self.deployment.carry_out(owner, call)
        self.outbox.append(json.dumps(answer))

    def tell(self) -> None:
        """Say what has changed."""
        start, self.told = self.told, (*self.asked[:2], self.deployment.ts)
        counts = self.deployment.counts_of(self.owner or "")
        results = {
            query_id: {"owner": self.owner, "path": path, "count": counts[path]}
            for query_id, path in self.queries.items()
        }
        news = {
            f"q{query_id}": value
            for query_id, value in results.items()
            if self.results.get(query_id) != value
        }
        self.results = results
        self.outbox.append(transition(start, self.told, **news))

    def cut(self, size: int) -> None:
        """Let the next message come in pieces, if it is one that may."""
        text = self.outbox[0]
        if not text.startswith('{"type": "Transition",'):
            return
        cuts = range(0, len(text), max(size, len(text) // 5))
        self.outbox[:1] = [
            json.dumps(
                {
                    "type": "TransitionChunk",
                    "chunk": text[at : at + cuts.step],
                    "partNumber": part,
                    "totalParts": len(cuts),
                    "transitionId": str(len(text)),
                }
            )
            for part, at in enumerate(cuts)
        ]


class Conversation(RuleBasedStateMachine):
    """All that can happen to a session, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session("session", lambda: 0.5)
        self.deployment = Deployment()
        self.mono = 1000.0
        self.asleep = 0.0
        self.user: str | None = "ada"
        self.mark = 0
        self.asked = 0
        self.dialling = False
        self.talk: Talk | None = None
        self.wanted: Wanted = {}
        self.delivered: Deliver | None = None
        self.pending: dict[str, str | None] = {}
        self.known: str | None = None
        self.keys = 0
        self.mutations: set[str] = set()
        self.shown: dict[str, State] = {}

    def act(self, event: Event) -> None:
        if isinstance(event, TokenChanged) and event.token:
            self.known = event.token.owner
        wall = 1_800_000_000.0 + self.mono + self.asleep
        for effect in self.session.receive(event, Moment(wall, self.mono)):
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Connect():
                assert not self.dialling
                assert self.talk is None
                self.dialling = True
            case Send(text):
                assert self.talk is not None
                self.talk.hear(text)
            case Close():
                assert self.dialling or self.talk
                self.dialling, self.talk = False, None
            case NeedToken():
                self.asked += 1
            case Deliver():
                self.check_results(effect)
            case Settled(key, outcome):
                self.check_outcome(self.pending.pop(key), key, outcome)

    def check_results(self, deliver: Deliver) -> None:
        """They are what was true for that account at one moment, and no step back."""
        assert deliver.results.keys() == self.wanted.keys()
        shown: State = {}
        for name, result in values(deliver).items():
            path, _ = self.wanted[name]
            assert (result["owner"], result["path"]) == (deliver.owner, path)
            assert shown.setdefault(path, result["count"]) == result["count"]
        moments = self.deployment.moments.get(deliver.owner, [shown])
        assert any(shown.items() <= moment.items() for moment in moments)
        before = self.shown.setdefault(deliver.owner, {})
        assert all(shown[path] >= before.get(path, 0) for path in shown)
        before |= shown
        self.delivered = deliver

    def check_outcome(
        self, owner: str | None, key: str, outcome: Returned | Threw | Lost
    ) -> None:
        """It was carried out as is said, for the account that it was wanted for."""
        times = self.deployment.carried_out.get(key, 0)
        match outcome:
            case Returned(value):
                assert isinstance(value, dict)
                assert (value["key"], times) == (key, 1)
                assert value["owner"] == owner or owner is None
                self.check_own_writes(key, value)
            case Threw():
                assert times == 0
            case Lost(sent=sent):
                assert sent == (key in self.deployment.heard)
                assert times <= 1

    def check_own_writes(self, key: str, value: dict[str, Any]) -> None:
        """What a mutation did is shown by the results that came before its end."""
        delivered = self.delivered
        if key in self.mutations and self.session.state == "live" and delivered:
            for result in values(delivered).values():
                if (result["owner"], result["path"]) == (value["owner"], PATHS[0]):
                    assert result["count"] >= value["count"]

    @initialize(wanted=WANTED)
    def start(self, wanted: Wanted) -> None:
        self.want(wanted)
        self.act(Started())

    @rule(steps=st.integers(1, 4))
    def go_well(self, steps: int) -> None:
        for _ in range(steps):
            self.fair_weather()

    # What the caller does

    @rule(wanted=WANTED)
    def want(self, wanted: Wanted) -> None:
        if self.wanted != wanted:
            self.wanted, self.delivered = wanted, None
        self.act(QueriesWanted(wanted))

    @rule(mutation=st.booleans(), fails=st.booleans())
    def call(self, *, mutation: bool, fails: bool) -> None:
        self.keys += 1
        key = str(self.keys)
        kind = MutationWanted if mutation else ActionWanted
        self.pending[key] = self.known
        self.mutations |= {key} if mutation else set()
        self.act(kind(key, "m:call", {"key": key, "fails": fails}))

    @rule(user=USERS)
    def change_user(self, user: str | None) -> None:
        self.user = user
        self.mark += 1
        self.act(TokenChanged(self.token()))

    def token(self) -> Token | None:
        user, mark = self.user, str(self.mark)
        return Token.read(jwt(user, mark=mark)) if user else None

    @precondition(lambda self: self.asked)
    @rule(works=st.booleans(), fresh=st.booleans())
    def answer_for_token(self, *, works: bool, fresh: bool) -> None:
        self.asked -= 1
        self.mark += fresh
        self.act(TokenChanged(self.token()) if works else TokenUnavailable("offline"))

    @rule(seconds=st.sampled_from([0, 1, 20, 50]), heard=st.booleans())
    def wait(self, *, seconds: int, heard: bool) -> None:
        self.mono += seconds
        self.act(Woke(self.mono if heard else -inf))

    @rule()
    def sleep(self) -> None:
        self.asleep += 3600
        self.act(Woke(self.mono))

    # What the deployment does

    @rule(user=st.sampled_from(["ada", "bob"]), path=st.sampled_from(PATHS))
    def change(self, user: str, path: str) -> None:
        self.deployment.change(account(user), path)

    @precondition(lambda self: self.talk and self.talk.todo)
    @rule()
    def serve(self) -> None:
        assert self.talk
        self.talk.serve()

    @precondition(lambda self: self.talk)
    @rule(path=st.sampled_from(PATHS))
    def tell(self, path: str) -> None:
        assert self.talk
        if self.talk.owner:
            self.deployment.change(self.talk.owner, path)
        self.talk.tell()

    # What the network does

    @precondition(lambda self: self.dialling)
    @rule()
    def open(self) -> None:
        self.dialling, self.talk = False, Talk(self.deployment)
        self.act(Opened())

    @precondition(lambda self: self.dialling)
    @rule()
    def refuse(self) -> None:
        self.dialling = False
        self.act(Closed("cannot connect"))

    @precondition(lambda self: self.talk)
    @rule(finish=st.booleans())
    def hang_up(self, *, finish: bool) -> None:
        """End the connection; what was under way may be carried out all the same."""
        assert self.talk
        while finish and self.talk.todo:
            self.talk.serve()
        self.talk = None
        self.act(Closed("gone"))

    @precondition(lambda self: self.talk and self.talk.outbox)
    @rule(cut=st.sampled_from([0, 0, 40]))
    def deliver(self, *, cut: int) -> None:
        assert self.talk
        if cut:
            self.talk.cut(cut)
        self.act(Received(self.talk.outbox.pop(0)))

    @precondition(lambda self: self.talk)
    @rule(
        how=st.sampled_from(["repeat", "lose", "swap", "halve", "garble"]),
        paths=st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS)),
    )
    def tamper(self, how: str, paths: tuple[str, str]) -> None:
        talk = self.talk
        assert talk
        for path in paths:
            self.tell(path)
        outbox, talk.tampered = talk.outbox, True
        match how:
            case "repeat":
                outbox.insert(0, outbox[0])
            case "lose":
                del outbox[0]
            case "swap":
                outbox[:2] = outbox[1::-1]
            case "halve":
                outbox[0] = outbox[0][: len(outbox[0]) // 2]
            case _:
                outbox[0] = outbox[0].replace('"', "'", 1)
        while self.talk is talk and outbox:
            self.deliver(cut=0)

    @precondition(lambda self: self.talk)
    @rule(
        text=st.sampled_from(
            [
                '{"type":"Ping"}',
                '{"type":"FatalError","error":"no"}',
                '{"type":"Surprise"}',
                auth_error(0),
                auth_error(1, attempted=False),
            ]
        )
    )
    def interrupt(self, text: str) -> None:
        self.act(Received(text))

    # What is so at all times

    @invariant()
    def something_leads_on(self) -> None:
        assert self.asked or self.dialling or self.session.wake_at < inf

    @invariant()
    def nothing_is_pending_where_nobody_will_answer(self) -> None:
        assert self.session.state != "signed_out" or not self.pending

    def teardown(self) -> None:
        """In fair weather everything comes to its end, and to the newest state."""
        if self.talk and self.talk.tampered:
            self.hang_up(finish=False)
        self.user = self.user or "ada"
        for _ in range(60):
            self.fair_weather()
            if self.session.state == "live" and not self.pending:
                break
        assert (self.session.state, self.pending) == ("live", {})
        assert self.user
        owner = account(self.user)
        for path in PATHS:
            self.change(self.user, path)
        self.fair_weather()
        if self.wanted:
            assert self.delivered
            assert self.delivered.owner == owner
            now = self.deployment.counts_of(owner)
            for result in values(self.delivered).values():
                assert result["count"] == now[result["path"]]
        self.act(Stopped())
        assert not self.talk
        assert self.session.wake_at == inf

    def fair_weather(self) -> None:
        if self.asked:
            self.answer_for_token(works=True, fresh=True)
        elif self.dialling:
            self.open()
        elif talk := self.talk:
            while talk.todo:
                talk.serve()
            talk.tell()
            while self.talk is talk and talk.outbox:
                self.deliver(cut=0)
        else:
            self.mono = max(self.mono, self.session.wake_at)
            self.act(Woke(self.mono))


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=60)
