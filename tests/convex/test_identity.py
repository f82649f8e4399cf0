from __future__ import annotations

import json
from math import inf

import pytest

from convex_side import jwt
from materializer.convex.events import Moment
from materializer.convex.identity import PATIENCE, Identity
from materializer.convex.messages import AuthError
from materializer.convex.token import Token
from materializer.errors import FeedMisspoke

NOW = Moment(1_800_000_000.0, 1000.0)


def token(sub: str = "ada", mark: str = "a", life: float = 300) -> Token:
    return Token.read(jwt(sub, mark=mark, iat=NOW.wall, exp=NOW.wall + life))


def test_identity_versions_belong_to_the_accounts_that_were_sent() -> None:
    identity = Identity()
    bases = [
        json.loads(text)["baseVersion"]
        for text in (
            identity.open(token("ada")),
            identity.change(token("bob")),
            identity.change(None),
        )
    ]
    assert bases == [0, 1, 2]
    owners = [identity.owner(version) for version in range(4)]
    assert owners == [None, "https://site.test|ada", "https://site.test|bob", None]
    with pytest.raises(FeedMisspoke):
        identity.owner(4)


def test_only_an_error_about_the_token_in_use_concerns_it() -> None:
    identity = Identity()
    identity.open(token(mark="a"))
    identity.change(token(mark="b"))
    earlier = AuthError("", 0, attempted=True)
    assert not identity.concerned(earlier, confirmed=0)
    assert identity.concerned(AuthError("", 1, attempted=True), confirmed=1)
    expired = AuthError("", 1, attempted=False)
    assert not identity.concerned(expired, confirmed=1)
    assert identity.concerned(expired, confirmed=2)


def test_a_confirmed_token_is_refreshed_before_it_ends() -> None:
    identity = Identity()
    identity.open(token())
    assert identity.refresh_at == inf
    identity.confirm(NOW)
    assert identity.refresh_at == NOW.mono + 210


def test_a_question_in_vain_is_repeated_at_half_of_what_is_left() -> None:
    identity = Identity()
    identity.open(token(life=300))
    for left, wait in ((80, 40), (30, 15), (4, 10)):
        later = Moment(NOW.wall + 300 - left, NOW.mono)
        identity.refresh_later(later)
        assert identity.refresh_at == later.mono + wait


def test_new_tokens_are_not_asked_for_more_often_than_every_ten_seconds() -> None:
    identity = Identity()
    assert identity.may_ask(0) == 0
    assert not identity.ask(1000, fresh=False)
    assert identity.may_ask(1001) == 1001
    assert identity.ask(1000, fresh=True)
    assert identity.may_ask(1001) == 1010


def test_a_refused_token_is_not_tried_again_until_another_was_taken() -> None:
    identity = Identity()
    identity.open(token(mark="a"))
    identity.refuse()
    assert not identity.usable(token(mark="a"))
    assert identity.usable(token(mark="b"))
    assert identity.ask(0, fresh=False)
    identity.accept()
    assert identity.usable(token(mark="a"))


def test_waiting_for_a_token_grows_and_starts_over_after_success() -> None:
    identity = Identity()
    waits = [identity.hold() for _ in range(8)]
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    identity.accept()
    assert identity.hold() == 10


def test_three_refusals_are_enough() -> None:
    identity = Identity()
    for mark in "abc":
        assert not identity.exhausted
        identity.open(token(mark=mark))
        identity.refuse()
    assert identity.exhausted
    assert identity.hold() == PATIENCE
