from __future__ import annotations

import pytest

from convex_side import jwt, transition
from materializer.convex.events import (
    Deliver,
    Effect,
    Event,
    Received,
    Send,
    TokenChanged,
)
from materializer.convex.messages import QueryFailure, ServerMessage, parse
from materializer.convex.token import Token

LINK = "https://files.test/canary?sig=1"
CHUNK = (
    '{"type":"TransitionChunk","chunk":"canary","partNumber":0,"totalParts":1,'
    '"transitionId":"1"}'
)
RESPONSE = '{"type":"ActionResponse","requestId":0,"success":true,"result":"canary"}'


@pytest.mark.parametrize(
    "value",
    [
        TokenChanged(Token.read(jwt(mark="canary"))),
        Send(f"authenticate canary {jwt()}"),
        Received(transition((0, 0, 0), (1, 1, 1), q0=LINK)),
        Deliver("ada", {"a": LINK}, first=True),
        QueryFailure(f"cannot read {LINK}", data=LINK),
        parse(transition((0, 0, 0), (1, 1, 1), q0=LINK, q1=ValueError(LINK))),
        parse(CHUNK),
        parse(RESPONSE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_secret_is_not_shown(
    value: Event | Effect | QueryFailure | ServerMessage,
) -> None:
    shown = repr(value)
    assert shown.startswith(type(value).__name__)
    assert "canary" not in shown
    assert jwt(mark="canary") not in shown
