import pytest

from materializer.storm import CALM, QUIET, Share, Storm


def test_two_are_told_as_they_come() -> None:
    storm = Storm()
    assert storm.share(1, 0.0) == Share(1, 0, 1, None)
    assert storm.share(1, 0.1) == Share(1, 0, 2, None)
    assert storm.share(0, 0.2) == Share(0, 0, 2, None)


def test_thirty_at_once_are_two_and_then_one_note_with_the_rest() -> None:
    storm = Storm()
    assert storm.share(30, 0.0) == Share(2, 0, 2, QUIET)
    assert storm.share(28, QUIET - 0.1) == Share(0, 0, 2, QUIET)
    assert storm.share(28, QUIET) == Share(0, 28, 30, None)
    assert storm.share(0, QUIET + 1) == Share(0, 0, 30, None)


def test_while_others_come_the_rest_waits_and_is_told_once() -> None:
    storm = Storm()
    notes, due, share = 0, 0, Share(0, 0, 0, None)
    for second in range(30):
        due += 1
        share = storm.share(due, float(second))
        due -= share.alone + share.together
        notes += share.alone + bool(share.together)
    assert (notes, due) == (2, 28)
    assert share.look_at == 29 + QUIET
    assert storm.share(28, 29 + QUIET) == Share(0, 28, 30, None)


def test_nothing_is_held_back_for_longer_than_a_minute() -> None:
    storm = Storm()
    share = storm.share(2, 0.0)
    second = 0
    for second in range(1, 62):
        share = storm.share(second, float(second))
        assert not share.alone
        if share.together:
            break
    assert (share.together, second) == (61, 1 + CALM)


def test_what_was_summed_up_is_not_followed_by_another_sum_at_once() -> None:
    storm = Storm()
    storm.share(10, 0.0)
    assert storm.share(8, QUIET).together == 8
    assert storm.share(1, QUIET + 1) == Share(0, 0, 10, QUIET + CALM)
    assert storm.share(1, QUIET + CALM).together == 1


@pytest.mark.parametrize("due", [1, 2])
def test_after_a_calm_failures_are_told_one_by_one_again(due: int) -> None:
    storm = Storm()
    storm.share(2, 0.0)
    assert storm.share(due, CALM - 1).alone == 0
    again = Storm()
    again.share(2, 0.0)
    assert again.share(due, CALM) == Share(due, 0, due, None)


def test_those_that_are_withdrawn_meanwhile_are_not_told() -> None:
    storm = Storm()
    storm.share(5, 0.0)
    assert storm.share(0, 1.0) == Share(0, 0, 2, None)
    assert storm.share(1, 2.0) == Share(0, 0, 2, 2.0 + QUIET)
