from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from materializer.answers import Answers


async def test_answers_come_in_the_order_in_which_they_were_given() -> None:
    answers, order = Answers(), list[int]()
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(100)]

    async def hear(number: int) -> None:
        order.append(await futures[number])

    def give() -> None:
        for number, future in enumerate(futures):
            answers.give(future, number, None)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(hear(number))
        threading.Thread(target=give).start()
    assert order == [*range(100)]


async def test_no_answer_is_forgotten_whoever_gives_it() -> None:
    answers = Answers()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            futures = [loop.create_future() for _ in range(20)]
            for future in futures:
                threads.submit(answers.give, future, "done", None)
            async with asyncio.timeout(10):
                assert [await future for future in futures] == ["done"] * 20


async def test_an_error_is_raised_and_one_who_has_gone_hinders_nobody() -> None:
    answers = Answers()
    loop = asyncio.get_running_loop()
    gone, wrong, right = (loop.create_future() for _ in range(3))
    gone.cancel()
    answers.give(gone, None, ValueError("too late"))
    answers.give(wrong, None, ValueError("wrong"))
    answers.give(right, "right", None)
    assert await asyncio.wait_for(right, 10) == "right"
    with pytest.raises(ValueError, match="wrong"):
        await wrong


def test_a_loop_that_has_ended_needs_no_answer() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    Answers().give(future, "late", None)
    assert not future.done()
