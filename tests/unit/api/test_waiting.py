"""Requests that wait for jobs ask together, and only while somebody waits."""

import asyncio
from collections.abc import Sequence

import pytest

from api.waiting import Waiting
from models.database import DatabaseAway

pytestmark = pytest.mark.anyio


class Jobs:
    """What has ended, and every question about it."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.questions: list[tuple[str, ...]] = []
        self.is_away = False

    async def among(self, ids: Sequence[str]) -> list[str]:
        self.questions.append(tuple(ids))
        if self.is_away:
            self.is_away = False
            raise DatabaseAway("away")
        return [each for each in ids if each in self.ended]


async def test_all_who_wait_share_each_question() -> None:
    jobs = Jobs()
    waiting = Waiting(jobs.among, every=0.001)
    many = [asyncio.create_task(waiting.has_ended(f"job{n % 50}", within=20)) for n in range(100)]
    await asyncio.sleep(0)
    assert jobs.questions == []
    jobs.ended = {f"job{n}" for n in range(50)}

    assert await asyncio.gather(*many) == [True] * 100
    assert len(jobs.questions) == 1
    assert len(jobs.questions[0]) == 50
    await waiting.close()


async def test_nothing_is_asked_once_nobody_waits() -> None:
    jobs = Jobs()
    waiting = Waiting(jobs.among, every=0.001)

    assert not await waiting.has_ended("job", within=0.02)
    await waiting.close()
    asked = len(jobs.questions)
    jobs.ended = {"job"}
    assert await waiting.has_ended("job", within=20)

    assert asked >= 1
    assert len(jobs.questions) == asked + 1
    await waiting.close()


async def test_a_database_that_is_away_ends_nobodys_wait() -> None:
    jobs = Jobs()
    jobs.is_away, jobs.ended = True, {"job"}
    waiting = Waiting(jobs.among, every=0.001)

    assert await waiting.has_ended("job", within=20)
    assert len(jobs.questions) == 2
    await waiting.close()
