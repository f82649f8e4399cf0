from __future__ import annotations

from materializer.fetch.cut import Cut


class Connection:
    def __init__(self) -> None:
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


def test_only_the_connection_that_is_used_now_is_cut() -> None:
    cut = Cut()
    first, second = Connection(), Connection()
    cut.watch(first)
    cut.watch(second)
    cut.make()
    assert (first.aborted, second.aborted, cut.made) == (0, 1, True)


def test_a_connection_that_was_given_back_is_left_alone() -> None:
    cut = Cut()
    given_back = Connection()
    cut.watch(given_back)
    cut.watch(None)
    cut.make()
    assert given_back.aborted == 0


def test_a_connection_that_comes_too_late_is_cut_at_once() -> None:
    cut = Cut()
    cut.make()
    late = Connection()
    cut.watch(late)
    assert late.aborted == 1
