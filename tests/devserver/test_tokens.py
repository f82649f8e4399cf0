from __future__ import annotations

import jwt
import pytest

from materializer.devserver.tokens import Identity, Tokens
from materializer.errors import SignInNeeded

NOW = 1_700_000_000.0


def test_a_token_says_who_it_is_for_and_how_long() -> None:
    tokens = Tokens(b"secret")
    token = tokens.issue("http://site", "dev", NOW)
    assert tokens.verify(token, NOW) == Identity("http://site|dev", NOW + 300)


def test_a_token_is_good_until_it_expires_and_not_longer() -> None:
    tokens = Tokens(b"secret")
    token = tokens.issue("http://site", "dev", NOW, lifetime=10)
    assert tokens.verify(token, NOW + 9.9).expires_at == NOW + 10
    with pytest.raises(SignInNeeded, match="expired"):
        tokens.verify(token, NOW + 10)


def test_only_the_same_secret_honours_a_token() -> None:
    token = Tokens(b"one").issue("http://site", "dev", NOW)
    assert Tokens(b"one").verify(token, NOW).owner == "http://site|dev"
    with pytest.raises(SignInNeeded):
        Tokens(b"two").verify(token, NOW)


def test_what_is_no_token_is_refused_without_showing_it() -> None:
    with pytest.raises(SignInNeeded) as caught:
        Tokens(b"secret").verify("canary", NOW)
    assert "canary" not in str(caught.value)


def test_a_token_signed_with_another_algorithm_is_refused() -> None:
    claims = {"iss": "i", "sub": "s", "aud": "convex", "exp": NOW + 60}
    forged = jwt.encode(claims, "x" * 32, "HS256")
    with pytest.raises(SignInNeeded):
        Tokens(b"secret").verify(forged, NOW)


def test_others_can_verify_with_the_published_key() -> None:
    tokens = Tokens(b"secret")
    (key,) = jwt.PyJWKSet.from_dict(tokens.jwks()).keys
    token = tokens.issue("http://site", "dev", NOW)
    claims = jwt.decode(
        token, key, ["EdDSA"], audience="convex", options={"verify_exp": False}
    )
    assert (claims["iss"], claims["sub"]) == ("http://site", "dev")


def test_a_session_says_whose_it_is_and_is_no_token() -> None:
    tokens = Tokens(b"secret")
    session = tokens.session("ada")
    assert tokens.subject(session) == "ada"
    assert Tokens(b"other").subject(session) is None
    assert tokens.subject(tokens.issue("http://site", "ada", NOW)) is None
    with pytest.raises(SignInNeeded):
        tokens.verify(session, NOW)
