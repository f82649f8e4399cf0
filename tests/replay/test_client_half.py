"""Our client half hears what the official clients were told, and knows as much.

It is subscribed to what they were subscribed to. It never goes on anonymously, so in a
recording without sign-in it is signed in by a Transition of our own in the beginning,
and each identity counts one more.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from convex_side import jwt, transition
from materializer.convex import events, values
from materializer.convex.events import Moment
from materializer.convex.messages import QueryFailure
from materializer.convex.session import Session
from materializer.convex.token import Token
from replay.recorded import LIES, Frame, connections, each, modifications

# Lies that do no harm: what was not asked for, or left out although it may be.
HARMLESS = {
    "s09g_response_for_unknown_requestId",
    "s09i_result_for_unknown_queryId",
    "p06e_float_serverTs_reconnects",
    "p06c_unknown_requestId_reconnects",
    "p06g_missing_journal_field_ok",
    "p06h_mutationResponse_for_completed_again",
}


@each
def test_the_server_is_understood_or_left_in_good_order(file: Path) -> None:
    ends = [_Listener(talk).listen() for talk in connections(file)]
    parted = {end.type for end in ends if end and not end.of_client}
    assert bool(parted - {None, "AuthError"}) == (file.stem in LIES - HARMLESS)


class _Listener:
    """A session in the place of an official client."""

    def __init__(self, talk: list[Frame]) -> None:
        self._session = Session("00000000-0000-0000-0000-000000000000", lambda: 0.5)
        self._mono = 0.0
        self._tokens = 0
        self._pieces: list[str] = []
        self._wanted: dict[str, tuple[str, dict[str, Any]]] = {}
        self._truth: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self._signed_in = False
        self._talk = talk
        self._anonymous = not any(frame.type == "Authenticate" for frame in talk)
        asked = (f for f in talk if f.of_client and f.type == "ModifyQuerySet")
        self._asked_at_once = next(asked, None)

    def listen(self) -> Frame | None:
        """Go along until the session leaves; return the frame at which it did."""
        if self._asked_at_once:
            self._want(self._asked_at_once)
        assert self._open(events.Started()) == len(self._wanted)
        if self._anonymous:
            self._receive(events.Received(transition((0, 0, 0), (0, 1, 0))))
            self._signed_in = True
        for frame in self._talk:
            self._follow(frame)
            if self._session.state not in {"authenticating", "live"}:
                self._check_end(frame)
                return frame
            assert frame.type != "AuthError"
            complete = self._truth.keys() == self._wanted.keys()
            if self._signed_in and self._truth and complete:
                assert self._results == self._truth
        return None

    def _follow(self, frame: Frame) -> None:
        """Do what the client did, or hear what it heard."""
        if not frame.of_client:
            self._hear(frame)
        elif frame.type == "ModifyQuerySet" and frame is not self._asked_at_once:
            self._want(frame)
        elif frame.type == "Authenticate":
            self._authenticate(frame)

    def _check_end(self, frame: Frame) -> None:
        """Wait the backoff out, and ask for everything again."""
        if frame.message.get("tokenType") == "None":
            assert self._session.state == "signed_out"
            return
        assert self._session.state == "backoff"
        assert self._session.wake_at < inf
        self._mono = self._session.wake_at
        assert self._open(events.Woke(-inf)) == len(self._wanted)

    def _open(self, event: events.Event) -> int:
        """Open the connection that is due; return how many queries it asks for."""
        [ask] = self._receive(event)
        assert isinstance(ask, events.NeedToken)
        assert self._receive(self._token()) == [events.Connect()]
        sent = self._receive(events.Opened())
        messages = [json.loads(s.text) for s in sent if isinstance(s, events.Send)]
        kinds = [message["type"] for message in messages]
        assert kinds == ["Connect", "Authenticate", "ModifyQuerySet"]
        return len(messages[2]["modifications"])

    def _token(self) -> events.TokenChanged:
        self._tokens += 1
        return events.TokenChanged(Token.read(jwt(mark=f"{self._tokens}")))

    def _receive(self, event: events.Event) -> list[events.Effect]:
        effects = self._session.receive(event, Moment(1e9 + self._mono, self._mono))
        for effect in effects:
            if isinstance(effect, events.Deliver):
                self._results = {
                    name: result.message
                    if isinstance(result, QueryFailure)
                    else values.encode(result)
                    for name, result in effect.results.items()
                }
        return effects

    def _want(self, frame: Frame) -> None:
        for removed in modifications([frame], "Remove"):
            del self._wanted[str(removed["queryId"])]
            self._truth.pop(str(removed["queryId"]), None)
        for added in modifications([frame], "Add"):
            args = values.decode(added["args"][0])
            assert isinstance(args, dict)
            self._wanted[str(added["queryId"])] = added["udfPath"], args
        self._receive(events.QueriesWanted(dict(self._wanted)))

    def _authenticate(self, frame: Frame) -> None:
        if frame.message["tokenType"] == "None":
            self._receive(events.TokenChanged(None))
        elif frame.message["baseVersion"] > 0:
            self._receive(self._token())

    def _hear(self, frame: Frame) -> None:
        if frame.type is None:
            self._receive(events.Closed("closed"))
            return
        self._note(frame)
        text = frame.text
        if self._anonymous:
            # Also within the text of a chunk, where quotes are escaped.
            text = re.sub(r'(identity\\*": )0', r"\g<1>1", text)
        self._receive(events.Received(text))

    def _note(self, frame: Frame) -> None:
        """Keep what the client was told."""
        message = frame.message
        if frame.type == "TransitionChunk":
            del self._pieces[message["partNumber"] :]
            self._pieces.append(message["chunk"])
            if len(self._pieces) < message["totalParts"]:
                return
            with suppress(ValueError):  # a lie
                message = json.loads("".join(self._pieces))
        for told in message.get("modifications", ()):
            if (name := str(told["queryId"])) in self._wanted:
                self._truth[name] = told.get("errorMessage", told.get("value"))
        if "endVersion" in message:
            self._signed_in |= message["endVersion"]["identity"] > 0
