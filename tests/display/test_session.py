from __future__ import annotations

from materializer.display.session import Session


def test_the_key_works_once() -> None:
    session = Session()
    assert session.redeem(session.key)
    assert not session.redeem(session.key)


def test_a_wrong_key_never_works_and_does_not_spend_the_right_one() -> None:
    session = Session()
    for wrong in ("", "é", session.key[:-1], session.cookie, Session().key):
        assert not session.redeem(wrong)
    assert session.redeem(session.key)


def test_only_the_cookie_is_known() -> None:
    session = Session()
    assert session.knows(session.cookie)
    for other in (None, "", "é", session.key, Session().cookie):
        assert not session.knows(other)


def test_key_and_cookie_cannot_be_guessed() -> None:
    made = {secret for _ in range(50) for secret in vars(Session()).values()}
    words = made - {False}
    assert len(words) == 100
    assert min(map(len, words)) >= 43  # 256 bits
