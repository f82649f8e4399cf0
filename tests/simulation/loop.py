"""An event loop whose time is the world's, and threads that are turns on it.

What a thread does happens at one moment, some time after it was handed in. So every
order of the threads' work can come up, but no two steps of it are ever mixed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

from simulation.world import Crash, World

_TICK = 1e-6
_numbers = count()


class _Selector(selectors.SelectSelector):
    """Waits for nothing but time, which passes at once."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._world.now += max(0.0, timeout)
        return []


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(_numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Loop(asyncio.SelectorEventLoop):
    """The loop of one life."""

    def __init__(self, world: World) -> None:
        super().__init__(_Selector(world))
        self.world = world
        self._threads = Threads(8)
        self.set_task_factory(lambda loop, coro, **kw: _Task(coro, loop=loop, **kw))

    def time(self) -> float:
        return self.world.now

    def call_soon_threadsafe(  # type: ignore[override]  # as run_in_executor
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]  # a stub's wording of the same
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()

        def work() -> None:
            if done.cancelled() and self.world.chance.random() < 0.5:
                return  # it had not begun
            try:
                result = func(*args)
            except Crash:
                return
            except BaseException as error:  # noqa: BLE001 -- the caller gets it
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        (executor or self._threads).hand_in(self, work)
        return done


class Threads:
    """A ThreadPoolExecutor whose threads take turns on the loop."""

    def __init__(self, workers: int = 1, thread_name_prefix: str = "") -> None:
        self._single = workers == 1
        self._free_at = 0.0

    def submit(self, func: Callable[..., Any], *args: Any) -> Future[None]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        done: Future[None] = Future()

        def work() -> None:
            func(*args)
            done.set_result(None)

        self.hand_in(loop, work)
        return done

    def hand_in(self, loop: Loop, work: Callable[[], object]) -> None:
        """Do it after what one thread has been given before, and in some time."""
        at = loop.time() + _TICK + loop.world.chance.random() ** 4 * 0.05
        if self._single:
            at = max(at, self._free_at + _TICK)
            self._free_at = at

        def turn() -> None:
            try:
                work()
            except Crash:
                return

        loop.call_at(at, turn)

    def map(self, func: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(func, items)

    def shutdown(self, *, wait: bool = True) -> None:
        """End it; what was handed in is done all the same."""


class AtOnce:
    """A ThreadPoolExecutor that has done what it was given before it says so."""

    def submit(self, func: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(func(*args))
        except OSError as error:
            done.set_exception(error)
        return done


class Late:
    """A thread that has all its work done by the time somebody waits for its end."""

    def __init__(self, target: Callable[[], object], *, daemon: bool) -> None:
        self._target = target

    def start(self) -> None:
        """Do nothing yet."""

    def join(self) -> None:
        self._target()
