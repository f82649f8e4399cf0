from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from materializer.backlog import Backlog, Task
from materializer.model import Account, Job
from materializer.plan import Work

ME = Account("https://a.test", "me")


def task(n: int, *, large: bool = False) -> Task:
    job = Job(f"j{n}", "succeeded", completed_at=n)
    return Task(ME, Work(job, "open"), f"j{n}", large)


def start_all(backlog: Backlog) -> list[Task]:
    started = []
    while first := backlog.first():
        started.append(min(first, key=lambda task: task.finished_at))
        backlog.start(started[-1])
    return started


def test_no_more_start_than_there_are_places_and_in_order() -> None:
    backlog = Backlog(3)
    backlog.replace(task(n) for n in range(5))
    assert start_all(backlog) == [task(0), task(1), task(2)]
    assert len(backlog) == 2
    backlog.leave(task(1))
    assert start_all(backlog) == [task(3)]


def test_large_ones_have_half_of_the_places_so_small_ones_pass_them() -> None:
    backlog = Backlog(4)
    films = [task(n, large=True) for n in range(5)]
    backlog.replace([*films, task(5), task(6), task(7)])
    assert start_all(backlog) == [*films[:2], task(5), task(6)]
    backlog.leave(task(5))
    assert start_all(backlog) == [task(7)]
    backlog.leave(films[0])
    assert start_all(backlog) == [films[2]]


def test_small_ones_may_have_all_places() -> None:
    backlog = Backlog(4)
    backlog.replace([*(task(n) for n in range(9)), task(9, large=True)])
    assert start_all(backlog) == [task(n) for n in range(4)]


def test_what_waits_is_replaced_and_what_has_a_place_keeps_it() -> None:
    backlog = Backlog(2)
    backlog.replace([task(0), task(1)])
    backlog.start(task(0))
    backlog.replace([task(2), task(3)])
    assert backlog.get(task(1).key) is None
    assert backlog.get(task(2).key) == task(2)
    assert start_all(backlog) == [task(2)]


def test_a_place_that_was_lent_is_taken_again_even_if_there_is_none_left() -> None:
    backlog = Backlog(1)
    backlog.replace([task(0), task(1), task(2)])
    backlog.start(task(0))
    backlog.leave(task(0))
    backlog.start(task(1))
    backlog.take(task(0))
    backlog.leave(task(1))
    assert backlog.first() == []
    backlog.leave(task(0))
    assert backlog.first() == [task(2)]


@given(st.integers(2, 9), st.lists(st.booleans()))
def test_every_task_starts_once_and_never_too_many(
    places: int, kinds: list[bool]
) -> None:
    backlog = Backlog(places)
    backlog.replace(task(n, large=large) for n, large in enumerate(kinds))
    started: list[Task] = []
    at_work: list[Task] = []
    while len(backlog) or at_work:
        new = start_all(backlog)
        started += new
        at_work += new
        assert len(at_work) <= places
        assert sum(task.is_large for task in at_work) <= places // 2
        assert at_work
        backlog.leave(at_work.pop(0))
    assert len({one.key for one in started}) == len(started) == len(kinds)
