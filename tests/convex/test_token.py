from __future__ import annotations

import base64
from math import inf

import pytest

from convex_side import jwt
from materializer.convex.token import Token
from materializer.errors import SettingsInvalid

NOW = 1_800_000_000.0


def life(seconds: float, *, age: float = 0) -> Token:
    return Token.read(jwt(iat=NOW - age, exp=NOW - age + seconds))


def test_a_token_says_whose_it_is_and_hides_itself() -> None:
    text = jwt("ada", iat=1, exp=301)
    token = Token.read(f" {text}\n")
    assert (token.value, token.owner) == (text, "https://site.test|ada")
    assert (token.issued_at, token.expires_at) == (1.0, 301.0)
    assert text not in repr(token)


def payload(raw: bytes) -> str:
    return f"aaaa.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}.bbbb"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "password",
        "a.b",
        "a.b.c.d",
        "a.b\n.c",
        payload(b"secret"),
        payload(b"[]"),
        payload(b"[" * 9000),
        payload(b"\xff\xfe"),
        payload(b'{"iss":"i"}'),
        payload(b'{"sub":"s"}'),
        payload(b'{"iss":"i","sub":7}'),
        "a." + "b" * 20_000 + ".c",
    ],
)
def test_what_is_no_token_is_refused_unquoted(text: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        Token.read(text)
    assert len(str(caught.value)) < 120
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("exp", [True, "9", None, -1, 1e300])
def test_a_strange_expiry_counts_as_none(exp: object) -> None:
    token = Token.read(jwt(exp=exp))
    assert token.expires_at is None
    assert token.good_for(NOW) == inf
    assert not token.expiring(NOW)


def test_a_fresh_one_is_wanted_90_seconds_before_the_end() -> None:
    assert life(300).good_for(NOW) == 210
    assert life(300, age=100).good_for(NOW) == 110


def test_short_lives_are_not_spent_on_refreshing() -> None:
    assert life(60).good_for(NOW) == 40
    assert life(6).good_for(NOW) == 10
    assert life(300, age=280).good_for(NOW) == 10


@pytest.mark.parametrize("age", [-4000, 4000])
def test_a_token_just_taken_is_trusted_over_our_own_clock(age: float) -> None:
    assert life(300, age=age).good_for(NOW) == 210


def test_a_token_is_expiring_when_a_fresh_one_would_be_wanted() -> None:
    assert not life(300, age=209).expiring(NOW)
    assert life(300, age=210).expiring(NOW)
    assert life(300, age=400).expiring(NOW)
    assert not Token.read(jwt(exp=NOW + 10)).expiring(NOW)
    assert Token.read(jwt(exp=NOW)).expiring(NOW)
