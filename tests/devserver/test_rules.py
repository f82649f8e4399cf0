from __future__ import annotations

from materializer.devserver.rules import LIMIT, WINDOW, RateLimit, Rules


def test_no_rule_holds_unless_it_is_asked_for() -> None:
    assert Rules() == Rules(paid_plan=False, rate_limit=False, first_words=False)
    assert dict(Rules().words) == {"processing": "running"}


def test_the_first_documentation_had_other_words() -> None:
    words = Rules(first_words=True).words
    told = [words.get(word, word) for word in ("queued", "running", "processing")]
    assert told == ["queued", "in_progress", "processing"]
    ends = ("succeeded", "failed", "canceled")
    assert [words.get(word, word) for word in ends] == [*ends[:2], "cancelled"]


def test_the_order_too_many_closes_the_door_for_five_minutes() -> None:
    limit = RateLimit()
    assert [limit.wait("ada", number) for number in range(LIMIT)] == [0.0] * 20
    assert limit.wait("ada", 20) == 300.0
    assert limit.wait("ada", 20 + 299.5) == 0.5
    assert limit.wait("ada", 20 + WINDOW) == 0.0


def test_orders_spread_over_time_are_all_taken() -> None:
    limit = RateLimit()
    assert not any(limit.wait("ada", number * 15) for number in range(100))


def test_each_owner_has_a_limit_of_their_own() -> None:
    limit = RateLimit()
    for _ in range(LIMIT + 1):
        limit.wait("ada", 0)
    assert limit.wait("bob", 0) == 0.0
