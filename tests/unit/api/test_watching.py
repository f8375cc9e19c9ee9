"""Requests that wait for or follow things ask together, and only while somebody does."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from api.watching import Watcher
from models.database import DatabaseAway

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Seen:
    """How far a thing is."""

    step: int = 0
    is_over: bool = False


class Things:
    """What there is to see, and every question about it."""

    def __init__(self) -> None:
        self.now: dict[str, Seen] = {}
        self.questions: list[tuple[str, ...]] = []
        self.failures: list[Exception] = []

    async def look(self, names: Sequence[str]) -> Mapping[str, Seen]:
        self.questions.append(tuple(names))
        if self.failures:
            raise self.failures.pop()
        return {name: self.now.get(name, Seen()) for name in names}


async def test_all_who_wait_share_each_question() -> None:
    things = Things()
    watcher = Watcher(things.look, every=0.001)
    many = [asyncio.create_task(watcher.is_over(f"job{n % 50}", within=20)) for n in range(100)]
    await asyncio.sleep(0)
    assert things.questions == []
    things.now = {f"job{n}": Seen(is_over=True) for n in range(50)}

    assert await asyncio.gather(*many) == [True] * 100
    assert len(things.questions) == 1
    assert len(things.questions[0]) == 50
    await watcher.close()


async def test_nothing_is_asked_once_nobody_waits() -> None:
    things = Things()
    watcher = Watcher(things.look, every=0.001)

    assert not await watcher.is_over("job", within=0.02)
    await watcher.close()
    asked = len(things.questions)
    things.now = {"job": Seen(is_over=True)}
    assert await watcher.is_over("job", within=20)

    assert asked >= 1
    assert len(things.questions) == asked + 1
    await watcher.close()


@pytest.mark.parametrize("failure", [DatabaseAway("away"), TimeoutError(), ValueError("ours")])
async def test_a_question_without_an_answer_ends_nobodys_wait(failure: Exception) -> None:
    things = Things()
    things.failures, things.now = [failure], {"job": Seen(is_over=True)}
    watcher = Watcher(things.look, every=0.001)

    assert await watcher.is_over("job", within=20)
    assert len(things.questions) == 2
    await watcher.close()


async def test_a_watch_tells_of_changes_only_and_of_the_newest() -> None:
    things = Things()
    things.now = {"job": Seen(step=1)}
    watcher = Watcher(things.look, every=0.001)
    with watcher.watching("job") as watch:
        assert await watch.news(within=20) == Seen(step=1)
        assert await watch.news(within=0.02) is None  # looked at again, and nothing is new
        for step in range(2, 100):
            watch.tell(Seen(step=step))
        assert await watch.news(within=20) == Seen(step=99)
    await watcher.close()


async def test_a_closed_watch_tells_nothing_more_and_wakes_who_waits() -> None:
    watcher = Watcher(Things().look, every=20)
    with watcher.watching("job") as watch:
        waits = asyncio.create_task(watch.news(within=20))
        await asyncio.sleep(0)
        watch.close()
        assert await waits is None
        watch.tell(Seen(step=1))
        assert await watch.news(within=20) is None
    await watcher.close()
