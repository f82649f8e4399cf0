from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from convex_play import AB, ADA, A, Play, kinds, live, sent, token
from materializer.convex.events import (
    ActionWanted,
    Close,
    Closed,
    Deliver,
    Effect,
    Lost,
    MutationWanted,
    Opened,
    Received,
    Returned,
    Settled,
    Started,
    Stopped,
    Threw,
    TokenChanged,
    TokenUnavailable,
)
from materializer.convex.messages import encode_timestamp

SAVE = MutationWanted("save", "api.m.save", {"n": 1})
RUN = ActionWanted("run", "m:run", {})


def answer(
    request_id: int, result: Any, ts: int | None = None, **more: Any
) -> Received:
    """Return a success; with a `ts` it is a mutation's."""
    message = {"requestId": request_id, "success": True, "result": result} | more
    kind = "ActionResponse" if ts is None else "MutationResponse"
    if ts is not None:
        message["ts"] = encode_timestamp(ts)
    return Received(json.dumps(message | {"type": kind, "logLines": []}))


def failure(request_id: int, kind: str = "MutationResponse", **more: Any) -> Received:
    message = {"type": kind, "requestId": request_id, "success": False, "ts": None}
    return Received(json.dumps(message | {"result": "boom"} | more))


def calls(effects: list[Effect]) -> list[tuple[str, int]]:
    """Return the mutations and actions that go out, with their ids."""
    return [(m["type"], m["requestId"]) for m in sent(effects) if "requestId" in m]


def outcomes(effects: list[Effect]) -> Mapping[str, object]:
    return {e.key: e.outcome for e in effects if isinstance(e, Settled)}


def test_a_mutation_goes_out_at_once_and_ends_when_queries_show_it() -> None:
    """C30: the answer alone is not the end, nor is an earlier Transition."""
    play = live()
    assert sent(play(SAVE)) == [
        {
            "type": "Mutation",
            "requestId": 0,
            "udfPath": "m:save",
            "args": [{"n": 1.0}],
        }
    ]
    assert play(answer(0, "done", ts=1000)) == []
    assert play.hears((1, 1, 1), (1, 1, 500)) == []
    assert play.hears((1, 1, 500), (1, 1, 2000), q0="y") == [
        Deliver(ADA, {"a": "y"}, first=False),
        Settled("save", Returned("done")),
    ]


@pytest.mark.parametrize(
    ("answered", "observed"), [(1000, 1000), (400, 500)], ids=["answer", "queries"]
)
def test_the_newest_time_seen_counts_answers_too(answered: int, observed: int) -> None:
    """C30: maxObservedTimestamp."""
    play = live()
    play(SAVE)
    play(answer(0, None, ts=answered))
    play.hears((1, 1, 1), (1, 1, 500))
    play(answer(9, None, ts=7777))  # of nobody, so it proves nothing
    play(Closed("gone"))
    connect = sent(play.reconnect())[0]
    assert connect["maxObservedTimestamp"] == encode_timestamp(observed)


def test_a_mutation_that_queries_show_already_ends_with_its_answer() -> None:
    """Better than the official client, which waits for one more Transition."""
    play = live()
    play(SAVE)
    play.hears((1, 1, 1), (1, 1, 1000), q0="y")
    assert outcomes(play(answer(0, None, ts=1000))) == {"save": Returned(None)}


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ({}, Threw("boom")),
        ({"errorData": {"code": 42}}, Threw("boom", {"code": 42.0})),
        ({"errorData": None}, Threw("boom", None)),
    ],
    ids=["C31-plain", "C31-data", "C31-null-data"],
)
@pytest.mark.parametrize("kind", ["MutationResponse", "ActionResponse"])
def test_a_failure_is_the_end_at_once(
    more: dict[str, Any], outcome: Threw, kind: str
) -> None:
    play = live()
    wanted: MutationWanted | ActionWanted = SAVE if kind[0] == "M" else RUN
    play(wanted)
    assert play(failure(0, kind, **more)) == [Settled(wanted.key, outcome)]


def test_data_of_null_is_not_the_absence_of_data() -> None:
    assert Threw("boom", None) != Threw("boom")


def test_an_action_ends_with_its_answer() -> None:
    play = live()
    assert sent(play(RUN)) == [
        {"type": "Action", "requestId": 0, "udfPath": "m:run", "args": [{}]}
    ]
    assert play(answer(0, 42)) == [Settled("run", Returned(42.0))]


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    """C32: unknown ids, and the second answer of a finished or a pending one."""
    play = live()
    play(SAVE)
    play(RUN)
    assert play(answer(7, "of nobody", ts=1)) == []
    assert outcomes(play(answer(1, "first"))) == {"run": Returned("first")}
    assert play(answer(1, "second")) == []
    play(answer(0, "first", ts=1000))
    assert play(failure(0)) == []
    assert outcomes(play.hears((1, 1, 1), (1, 1, 1000))) == {"save": Returned("first")}
    assert play(failure(0)) == []
    assert play.state == "live"


@pytest.mark.parametrize("wrong", [answer(0, 1), failure(0, "ActionResponse")])
def test_an_answer_of_the_wrong_kind_ends_the_connection(wrong: Received) -> None:
    play = live()
    play(SAVE)
    assert play(wrong) == [Close()]
    assert play.state == "backoff"


@pytest.mark.parametrize("ts", [None, "", 7])
def test_a_mutation_cannot_succeed_at_no_time(ts: object) -> None:
    play = live()
    play(SAVE)
    message = {"type": "MutationResponse", "requestId": 0, "success": True}
    text = json.dumps(message | {"result": None, "ts": ts})
    assert play(Received(text)) == [Close()]


def test_a_mutation_that_queries_do_not_show_goes_out_again() -> None:
    """C33: the second answer changes nothing; afterwards it never goes out again."""
    play = live()
    text = play(SAVE)
    play(answer(0, "first", ts=1000))
    assert outcomes(play(Closed("gone"))) == {}
    again = play.reconnect()
    assert kinds(again) == ["Connect", "Authenticate", "ModifyQuerySet", "Mutation"]
    assert again[-1:] == text
    assert play(answer(0, "second", ts=1500)) == []
    assert outcomes(play.hears((0, 0, 0), (1, 1, 1000), q0="y")) == {
        "save": Returned("first")
    }
    play(Closed("gone"))
    assert calls(play.reconnect()) == []


def test_a_mutation_may_be_shown_before_its_second_answer() -> None:
    """C34."""
    play = live()
    play(SAVE)
    play(answer(0, "first", ts=1000))
    play(Closed("gone"))
    play.reconnect()
    shown = play.hears((0, 0, 0), (1, 1, 2000), q0="y")
    assert outcomes(shown) == {"save": Returned("first")}
    assert play(answer(0, "second", ts=1000)) == []


def test_an_action_in_flight_at_a_drop_is_lost_and_never_goes_out_again() -> None:
    """C35: nobody knows whether it was carried out."""
    play = live()
    play(RUN)
    assert play(Closed("the wire was cut")) == [
        Settled("run", Lost("the wire was cut", sent=True))
    ]
    assert calls(play.reconnect()) == []
    assert play(answer(0, "late")) == []


def test_calls_made_while_away_go_out_in_order_after_the_queries() -> None:
    """C35 and C36: unsent actions too; ids are never used twice in a session."""
    play = live()
    play(SAVE)
    play(RUN)
    play(Closed("gone"))
    assert play(ActionWanted("run 2", "m:run", {})) == []
    assert play(MutationWanted("save 2", "m:s", {})) == []
    again = play.reconnect()
    assert kinds(again)[:3] == ["Connect", "Authenticate", "ModifyQuerySet"]
    assert calls(again) == [("Mutation", 0), ("Action", 2), ("Mutation", 3)]
    assert sent(again)[0]["sessionId"] == "session"


def test_a_call_made_before_the_first_connection_goes_out_with_it() -> None:
    """C2: and it does not count as lost."""
    play = Play()
    play(Started())
    assert play(RUN) == []
    play(TokenChanged(token()))
    assert calls(play(Opened())) == [("Action", 0)]
    assert play(answer(0, 42)) == [Settled("run", Returned(42.0))]


def test_a_mutation_in_flight_over_a_drop_keeps_the_backoff() -> None:
    """C42: until it is answered and shown, though all queries are confirmed."""
    play = live()
    play(SAVE)
    for wait in (1, 2):
        play(Closed("gone"))
        assert play.wait == wait
        play.reconnect()
        play.hears((0, 0, 0), (1, 1, 10), q0="x")
        assert play.state == "live"
    play(answer(0, None, ts=1000))
    play(Closed("gone"))
    assert play.wait == 4
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 1000), q0="x")
    play(Closed("gone"))
    assert play.wait == 1


def test_a_mutation_that_fails_when_repeated_lets_the_backoff_start_over() -> None:
    """C42: a failure is an answer."""
    play = live()
    play(SAVE)
    play(Closed("gone"))
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 10), q0="x")
    play(failure(0))
    play(Closed("gone"))
    assert play.wait == 1


def pending() -> Play:
    """A session with one call each that is sent, unsent, and not yet shown."""
    play = live()
    play(MutationWanted("shown later", "m:s", {}))
    play(answer(0, "done", ts=1000))
    play(SAVE)
    play(Closed("gone"))
    play(RUN)
    return play


@pytest.mark.parametrize("end", [Stopped(), TokenChanged(None)])
def test_when_nobody_will_answer_everything_pending_ends(
    end: Stopped | TokenChanged,
) -> None:
    ended = outcomes(pending()(end))
    assert list(ended) == ["shown later", "save", "run"]
    assert ended["shown later"] == Returned("done")
    save, run = ended["save"], ended["run"]
    assert isinstance(save, Lost)
    assert isinstance(run, Lost)
    assert (save.sent, run.sent) == (True, False)
    assert save.reason in ("the session was stopped", "nobody is signed in")


def test_a_fatal_error_ends_everything_pending_in_its_words() -> None:
    """The official client leaves these waiting for ever."""
    play = live()
    play(SAVE)
    text = '{"type":"FatalError","error":"Base version 0"}'
    assert play(Received(text)) == [
        Close(),
        Settled("save", Lost("Base version 0", sent=True)),
    ]
    assert calls(play.reconnect()) == []


def test_a_refused_program_version_ends_everything_pending() -> None:
    """C48: it will be refused again."""
    play = pending()
    play.wakes()
    play(TokenChanged(token()))
    assert len(outcomes(play(Closed("ClientVersionUnsupported: update")))) == 3


def test_a_token_source_in_trouble_does_not_leave_calls_waiting() -> None:
    """C79: they fail with the source's words."""
    play = pending()
    play.wakes()
    ended = outcomes(play(TokenUnavailable("the command failed")))
    assert ended["run"] == Lost("the command failed", sent=False)
    assert outcomes(play(ActionWanted("again", "m:run", {}))) == {
        "again": Lost("the command failed", sent=False)
    }


def test_a_call_to_a_session_that_is_not_started_ends_at_once() -> None:
    ended = outcomes(Play()(RUN))
    assert ended == {"run": Lost("the session is stopped", sent=False)}


def test_a_refused_token_keeps_mutations_for_the_next_one() -> None:
    play = live()
    play(SAVE)
    play(RUN)
    error = {"type": "AuthError", "error": "expired", "baseVersion": 1}
    text = json.dumps(error | {"authUpdateAttempted": False})
    assert play(Received(text)) == [
        Close(),
        Settled("run", Lost("expired", sent=True)),
    ]
    play.wakes()
    play(TokenChanged(token("b")))
    assert calls(play(Opened())) == [("Mutation", 0)]


def test_a_call_of_one_account_never_goes_out_as_another() -> None:
    """The official clients send it on behalf of whoever is signed in by then."""
    play = pending()
    again = play.reconnect(token("b", sub="bob"))
    assert calls(again) == []
    assert outcomes(again) == {
        "shown later": Returned("done"),
        "save": Lost("another account has signed in", sent=True),
        "run": Lost("another account has signed in", sent=False),
    }


def test_a_call_belongs_to_the_account_that_it_first_went_out_for() -> None:
    play = Play()
    play(Started())
    play(SAVE)
    play(TokenChanged(token()))
    assert calls(play(Opened())) == [("Mutation", 0)]
    play(Closed("gone"))
    again = play.reconnect(token("b", sub="bob"))
    assert calls(again) == []
    assert list(outcomes(again)) == ["save"]


def test_an_answer_to_the_former_account_still_counts() -> None:
    play = live()
    play(SAVE)
    play(TokenChanged(token(sub="bob")))
    assert calls(play(RUN)) == [("Action", 1)]
    assert play.hears((1, 1, 1), (1, 2, 900), q0="bob's") != []
    play(answer(0, "done", ts=1000))
    assert outcomes(play.hears((1, 2, 900), (1, 2, 1000))) == {"save": Returned("done")}


@pytest.mark.parametrize(
    "wrong",
    [
        MutationWanted("save", "m:other", {}),
        MutationWanted("b", ":", {}),
        ActionWanted("b", "m:run", {"x": {1, 2}}),
    ],
    ids=["key", "path", "argument"],
)
def test_an_unusable_call_changes_nothing(
    wrong: MutationWanted | ActionWanted,
) -> None:
    play = live()
    play(SAVE)
    with pytest.raises(ValueError, match=r"."):
        play(wrong)
    assert calls(play(RUN)) == [("Action", 1)]
    play(answer(0, None, ts=2))
    assert set(outcomes(play.hears((1, 1, 1), (1, 1, 2)))) == {"save"}
    assert calls(play(SAVE)) == [("Mutation", 2)]


def test_queries_go_on_beside_calls() -> None:
    play = live(A)
    play(SAVE)
    assert kinds(play(AB)) == ["ModifyQuerySet"]
    assert play.hears((1, 1, 1), (2, 1, 2), q1="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=False)
    ]
