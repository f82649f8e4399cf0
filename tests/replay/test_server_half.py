"""The official clients' messages are taken by our server half, and answered alike.

Alike means: each step of the query set and of the identity is acknowledged, by an
unbroken chain of versions, the same queries are answered, fail or are removed, and the
same requests succeed or fail. Several steps may have been acknowledged at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from materializer.convex import values
from materializer.convex.messages import encode_timestamp
from materializer.devserver.deployment import Deployment
from materializer.devserver.functions import (
    Call,
    ConvexError,
    Function,
    FunctionFailed,
    Kind,
    canonical,
)
from materializer.devserver.sync import Close, Conversation
from materializer.devserver.tokens import Identity
from materializer.errors import SignInNeeded
from replay.recorded import LIES, Frame, connections, each, modifications

NOW = 2**60
RESPONSES = {"MutationResponse", "ActionResponse"}


@each
def test_the_clients_are_understood_and_answered_as_they_were(file: Path) -> None:
    talks = list(connections(file))
    deployment = Deployment(NOW)
    _learn(deployment, talks)
    for talk in talks:
        said, answers = _replay(deployment, talk)
        _check_chain(answers)
        if file.stem not in LIES:
            assert _steps(said) <= _steps(answers)
            assert _first(said).items() <= _first(answers).items()
            assert _removed(said) <= _removed(answers)
            asked = {f.message.get("requestId") for f in talk if f.of_client}
            told = {r for r in _responses(said) if r[1] in asked}
            assert told <= _responses(answers)


def _replay(
    deployment: Deployment, talk: list[Frame]
) -> tuple[list[Frame], list[Frame]]:
    """Return what was and what is answered, until the end that we documented."""
    refused = _refused(talk)

    def verify(token: str, _: float) -> Identity:
        if token in refused:
            raise SignInNeeded("refused in the recording")
        return Identity(f"https://issuer.test|{token}", NOW)

    conversation = Conversation(deployment, verify)
    said: list[Frame] = []
    answers: list[Frame] = []
    for frame in talk:
        if not frame.of_client:
            said.append(frame)
            continue
        if frame.type is None:
            break
        replies = conversation.receive(frame.text, NOW)
        if _unwelcome(frame, refused):
            error, end = replies
            assert isinstance(error, str)
            assert json.loads(error)["type"] == "AuthError"
            assert json.loads(error)["authUpdateAttempted"] is True
            assert end == Close()
            break
        for reply in replies:
            assert isinstance(reply, str)
            answers.append(Frame(False, reply, json.loads(reply)))
            assert answers[-1].type in {"Transition", *RESPONSES}
    return said, answers


def _refused(talk: list[Frame]) -> set[str]:
    """Return the tokens that were answered with an AuthError."""
    said = [f for f in talk if not f.of_client or f.type == "Authenticate"]
    return {
        frame.message.get("value", "")
        for frame, answer in pairwise(said)
        if frame.type == "Authenticate" and answer.type == "AuthError"
    }


def _unwelcome(frame: Frame, refused: set[str]) -> bool:
    return frame.message.get("tokenType") == "Admin" or (
        frame.type == "Authenticate" and frame.message.get("value") in refused
    )


class _Script:
    """Answers each call as it was answered, and the last answer for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {}

    def run(self, call: Call) -> Any:
        answers = self.answers[values.canonical(call.args)]
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        if "errorData" in told:
            raise ConvexError(values.decode(told["errorData"]))
        if told.get("success") is False or told["type"] == "QueryFailed":
            raise FunctionFailed("as it did then")
        return values.decode(told.get("value", told.get("result")))


def _learn(deployment: Deployment, talks: list[list[Frame]]) -> None:
    """Register the functions that were called, to answer as they answered then."""
    scripts: defaultdict[tuple[Kind, str], _Script] = defaultdict(_Script)
    for talk in talks:
        for kind, asked, told in _calls(talk):
            script = scripts[kind, canonical(asked["udfPath"])]
            args = values.canonical(values.decode(asked["args"][0]))
            script.answers.setdefault(args, []).append(told)
    for (kind, path), script in scripts.items():
        deployment.functions[path] = Function(kind, script.run)


def _calls(
    talk: list[Frame],
) -> Iterator[tuple[Kind, dict[str, Any], dict[str, Any]]]:
    """Yield what was called, and its first answer, or one of null for none."""
    results = list(modifications(talk, "QueryUpdated", "QueryFailed"))
    for added in modifications(talk, "Add"):
        told = (r for r in results if r["queryId"] == added["queryId"])
        yield "query", added, next(told, {"type": "QueryUpdated", "value": None})
    kinds: dict[str | None, Kind] = {"Mutation": "mutation", "Action": "action"}
    for frame in talk:
        if kind := kinds.get(frame.type):
            number = frame.message["requestId"]
            told = (
                other.message
                for other in talk
                if other.type in RESPONSES and other.message["requestId"] == number
            )
            none = {"type": "Response", "result": None}
            yield kind, frame.message, next(told, none)


def _check_chain(answers: list[Frame]) -> None:
    before = {"querySet": 0, "identity": 0, "ts": encode_timestamp(0)}
    for answer in answers:
        if answer.type == "Transition":
            assert answer.message["startVersion"] == before
            before = answer.message["endVersion"]


def _steps(frames: list[Frame]) -> set[tuple[int, int]]:
    ends = [f.message["endVersion"] for f in frames if f.type == "Transition"]
    return {(0, 0), *((end["querySet"], end["identity"]) for end in ends)}


def _first(frames: list[Frame]) -> dict[int, tuple[str, bool]]:
    """Return how each query was answered at first; later it may have changed."""
    first: dict[int, tuple[str, bool]] = {}
    for told in modifications(frames, "QueryUpdated", "QueryFailed"):
        first.setdefault(told["queryId"], (told["type"], "errorData" in told))
    return first


def _removed(frames: list[Frame]) -> set[int]:
    return {told["queryId"] for told in modifications(frames, "QueryRemoved")}


def _responses(frames: list[Frame]) -> set[tuple[str, int, bool, bool]]:
    return {
        (f.type, f.message["requestId"], f.message["success"], "errorData" in f.message)
        for f in frames
        if f.type in RESPONSES
    }
