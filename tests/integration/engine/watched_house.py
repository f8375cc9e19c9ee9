"""Watchers on one database, whose provider reports the same state for every operation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from models.state import JobState
from models.verbs import What
from tasks.engine import Engine
from tasks.outcomes.finish import finish
from tasks.watch.watcher import Watcher
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from tests.integration.engine.house import House, ask, housed, run
from tests.integration.engine.waiting import until
from transport.base import Request, Response

LANE = "runway"


@dataclass(slots=True)
class Far:
    """Answers every poll with `word`, and records which operations were polled."""

    word: str = "RUNNING"
    progress: float = 0.0
    looked: list[str] = field(default_factory=list)
    others: int = 0

    async def reply(self, request: Request) -> Response:
        if kind_of(request) != "poll":
            self.others += 1
            answer = next(iter(answers_to(request, self.others).values()))
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
        """Wait for `more` looks from now on."""
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


@pytest.fixture
def no_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider cannot cancel an operation."""

    class Capabilities:
        cancel = False

    monkeypatch.setattr("tasks.outcomes.finish.capabilities_of", lambda _: Capabilities())


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
    """Create attempts whose polls are due."""
    for _ in range(count):
        await ask(engine, model="gen4.5")
    while await engine.database.fetch("SELECT id FROM due WHERE what = 'submit'"):
        await run(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE due SET at = now() WHERE what = 'poll'")
    await usually_take(engine, 0.1)  # looks follow each other
    rows = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    assert len(rows) == count
    return [row["id"] for row in rows]


async def usually_take(engine: Engine, seconds: float, *, factor: float = 20.0) -> None:
    """Record typical durations within a factor of `seconds`; call it before the first look."""
    await engine.database.fetch("UPDATE job SET typical_seconds = %s", (seconds,))
    await engine.database.fetch(
        """
        INSERT INTO duration (route, p10, p50, p90, samples)
        SELECT DISTINCT route, %(p50)s / %(factor)s, %(p50)s, %(p50)s * %(factor)s, 9
        FROM attempt
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50, p90 = excluded.p90
        """,
        {"p50": seconds, "factor": factor},
    )


async def versions(engine: Engine) -> list[tuple[str, str]]:
    """The versions of the rows that a poll could write."""
    return [
        (str(row["id"]), str(row["xmin"]))
        for table in ("job", "attempt", "due", "output")
        for row in await engine.database.fetch(f"SELECT id, xmin FROM {table} ORDER BY id")  # noqa: S608 - constants
    ]


async def leases(engine: Engine) -> list[str | None]:
    rows = await engine.database.fetch(
        "SELECT lease::text FROM due WHERE what = 'poll' ORDER BY id"
    )
    return [row["lease"] for row in rows]


async def cancel(engine: Engine) -> None:
    """The tenant cancels its only job."""
    (job,) = await engine.database.fetch("SELECT id FROM job")
    await engine.database.run(lambda on: finish(engine, on, JobState.CANCELLED, [job["id"]]))


async def attempts_are(engine: Engine, state: str) -> bool:
    rows = await engine.database.fetch("SELECT state FROM attempt")
    return {row["state"] for row in rows} == {state}


async def has_progress(engine: Engine, progress: float) -> bool:
    rows = await engine.database.fetch("SELECT progress FROM attempt")
    return [row["progress"] for row in rows] == [progress]


async def has_fault(engine: Engine, code: str | None) -> bool:
    rows = await engine.database.fetch("SELECT error ->> 'code' AS code FROM attempt")
    return [row["code"] for row in rows] == [code]
