"""A process watches operations: it writes their news alone, and lets go of none that it must keep."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from models import holders
from models.database import Connection, DatabaseAway
from models.failure import Failure, Fault
from models.state import JobState
from models.verbs import What
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.outcomes.finish import finish
from tasks.view import progress_percent, read_jobs
from tasks.watch.dead import free_orphans, free_the_dead
from tasks.watch.watcher import Watcher
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from tests.integration.engine.house import House, ask, housed, run
from tests.integration.engine.waiting import until
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

LANE = "runway"


@dataclass(slots=True)
class Far:
    """Answers polls with a word, and remembers which operations were looked at."""

    word: str = "RUNNING"
    progress: float = 0.0
    looked: list[str] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        if kind_of(request) != "poll":
            answer = next(iter(answers_to(request, len(self.looked)).values()))
            assert isinstance(answer, Response)
            return answer
        id_ = request.url.rpartition("/")[2]
        self.looked.append(id_)
        return self.says(id_)

    def says(self, id_: str) -> Response:
        if self.word == "gone":
            return said(404, {"error": "no such thing"})
        task = {"id": id_, "status": self.word, "createdAt": "2026-01-01T00:00:00Z"}
        if self.word == "RUNNING":
            return said(200, task | {"progress": self.progress})
        return said(200, task | {"output": ["https://links.test/film.mp4"]})

    async def looks(self, more: int = 2) -> None:
        """Wait for so many looks from now on."""
        seen = len(self.looked)
        await until(lambda: len(self.looked) >= seen + more)


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def house(make_engine: MakeEngine) -> AsyncIterator[House]:
    async with housed(make_engine) as house:
        yield house


@pytest.fixture
def engine(house: House, far: Far) -> Engine:
    return started(house, far)


def started(house: House, far: Far, **environment: object) -> Engine:
    return facing(house.start(**environment), FarSide(far.reply))


@asynccontextmanager
async def watching(engine: Engine, *, lane: str = LANE) -> AsyncIterator[Watcher]:
    """A watcher that has taken what is due."""
    watcher = Watcher(engine=engine)
    await watcher.begin()
    try:
        await watcher.taking.take(lane)
        yield watcher
    finally:
        await watcher.leave()


async def accepted(engine: Engine, count: int = 1) -> list[str]:
    """Attempts whose polls are due."""
    for _ in range(count):
        await ask(engine, model="gen4.5")
    await run(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE due SET at = now() WHERE what = 'poll'")
    await engine.database.fetch("UPDATE job SET typical_seconds = 0.1")  # looks follow each other
    rows = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    assert len(rows) == count
    return [row["id"] for row in rows]


async def versions(engine: Engine) -> list[tuple[str, str]]:
    """The row versions of what a poll could write."""
    return [
        (str(row["id"]), str(row["xmin"]))
        for table in ("job", "attempt", "due", "output")
        for row in await engine.database.fetch(f"SELECT id, xmin FROM {table} ORDER BY id")  # noqa: S608 - constants
    ]


async def leases(engine: Engine) -> list[str | None]:
    rows = await engine.database.fetch("SELECT lease::text FROM due WHERE what = 'poll' ORDER BY id")
    return [row["lease"] for row in rows]


async def test_a_silent_operation_writes_nothing_until_it_ends(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine):
        before = await versions(engine)
        await far.looks(5)
        assert await versions(engine) == before

        far.word = "SUCCEEDED"
        await until(lambda: _is(engine, "succeeded"))
    (row,) = await engine.database.fetch("SELECT polls, progress FROM attempt")
    # Its polls are counted with its end.
    assert row["polls"] == len(far.looked) >= 6
    await run(engine, What.STORE)


async def _is(engine: Engine, state: str) -> bool:
    rows = await engine.database.fetch("SELECT state FROM attempt")
    return {row["state"] for row in rows} == {state}
