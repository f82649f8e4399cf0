from __future__ import annotations

from materializer.backlog import Task
from materializer.model import Account, Job
from materializer.pause import DISK_PAUSE, LOOK, Pause
from materializer.plan import Work

PAUSE = int(DISK_PAUSE * 1000)


def task(n: int) -> Task:
    job = Job(f"j{n}", "succeeded", completed_at=n)
    return Task(Account("https://a.test", "me"), Work(job, "open"), f"j{n}")


ONE, OTHER, THIRD = task(1), task(2), task(3)


def test_without_trouble_everything_may_start() -> None:
    pause = Pause()
    assert pause.may_start(0)
    assert not pause.lasts
    assert pause.next_at(0) is None


def test_after_trouble_nothing_starts_and_then_one_tries() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    assert pause.next_at(0) == PAUSE
    assert not pause.may_start(PAUSE - 1)
    assert pause.may_start(PAUSE)
    pause.started(OTHER.key)
    assert not pause.may_start(PAUSE)
    pause.ended(OTHER.key, taken=True)
    assert pause.may_start(PAUSE)
    pause.started(THIRD.key)
    assert pause.may_start(PAUSE)


def test_one_that_tries_in_vain_begins_the_pause_anew() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.started(OTHER.key)
    pause.begin(OTHER.key, PAUSE)
    pause.ended(OTHER.key, taken=False)
    assert not pause.may_start(2 * PAUSE - 1)
    assert pause.may_start(2 * PAUSE)


def test_one_that_tries_and_needs_no_disk_lets_the_next_one_try() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.started(OTHER.key)
    pause.ended(OTHER.key, taken=False)
    assert pause.may_start(PAUSE)
    assert pause.lasts


def test_the_trouble_lasts_until_all_was_taken_that_was_held_back() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.begin(OTHER.key, 0)
    pause.ended(THIRD.key, taken=True)
    assert pause.lasts
    pause.ended(ONE.key, taken=True)
    assert pause.lasts
    pause.ended(OTHER.key, taken=True)
    assert not pause.lasts


def test_what_was_held_back_comes_last_the_longest_first() -> None:
    pause = Pause()
    pause.begin(OTHER.key, 0)
    pause.begin(ONE.key, 5)
    assert sorted([ONE, OTHER, THIRD], key=pause.order) == [THIRD, OTHER, ONE]


def test_what_was_held_back_waits_alone_while_others_are_taken() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.ended(OTHER.key, taken=True)
    assert pause.holds(ONE, PAUSE - 1)
    assert not pause.holds(ONE, PAUSE)
    pause.begin(ONE.key, PAUSE)
    assert pause.may_start(PAUSE)
    assert pause.holds(ONE, 2 * PAUSE - 1)
    assert not pause.holds(OTHER, 0)


def test_another_that_is_not_taken_pauses_all_again() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.ended(OTHER.key, taken=True)
    pause.begin(THIRD.key, 5)
    assert not pause.may_start(5)


def test_what_is_wanted_no_more_is_forgotten() -> None:
    pause = Pause()
    pause.begin(ONE.key, 0)
    pause.begin(LOOK, 0)
    pause.keep({ONE.key})
    assert pause.lasts
    assert not pause.may_start(0)
    pause.keep({OTHER.key})
    assert not pause.lasts
    assert pause.may_start(0)
