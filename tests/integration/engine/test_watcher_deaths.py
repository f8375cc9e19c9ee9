"""What a dead watcher leaves: an operation that kills its processes is found among few."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from models import due
from models.invariants import violations
from models.verbs import What
from scheduler.claim import SUSPECT, Claimed, Whose
from tasks.engine import Engine
from tasks.lanes import read_lanes
from tasks.outcomes.denied import answered_ago
from tasks.outcomes.polled import PollItem
from tasks.pump.pump import POISON_TRIES, Pump
from tasks.verbs.poll import Poll
from tasks.watch import here
from tasks.watch.dead import free_the_dead
from tasks.watch.watcher import Watcher
from tests.integration.conftest import MakeEngine
from tests.integration.engine.waiting import until
from tests.integration.engine.watched_house import (
    LANE,
    accepted,
    engine,
    far,
    house,
    watching,
)

__all__ = ["engine", "far", "house"]  # fixtures

pytestmark = pytest.mark.anyio

_BEFORE = "now() - interval '1 hour'"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracebacks are not printed: with the values of all variables that takes seconds each."""
    with capture_logs():
        yield


class Killed(BaseException):
    """The worker is gone: nothing of what it claimed is handed back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadly(Poll):
    """Polls, of which one kills the process."""

    deadly: str
    loads: list[list[str]]

    async def load(self, claimed: Sequence[Claimed]) -> list[PollItem]:
        self.loads.append([row.id for row in claimed])
        if self.deadly in self.loads[-1]:
            raise Killed
        return await Poll.load(self, claimed)


async def end_leases(engine: Engine) -> None:
    await engine.database.fetch("UPDATE due SET at = now() WHERE what = 'poll' AND faults = 0")


async def dead(engine: Engine, watcher: Watcher) -> None:
    """It dies with all that it watches, and the tick finds out."""
    await watcher.abandon()
    fetch = engine.database.fetch
    await free_the_dead(engine)
    await fetch(f"UPDATE holder SET beat = {_BEFORE}")  # noqa: S608 - a constant
    await fetch(f"UPDATE pulse SET steady_since = {_BEFORE}, at = now()")  # noqa: S608 - a constant
    await free_the_dead(engine)
    await end_leases(engine)


async def test_an_operation_that_kills_its_processes_is_found_and_the_others_are_watched(
    engine: Engine,
) -> None:
    deadly, *fine = await accepted(engine, 12)
    # Given a watcher that dies with all of them
    watcher = Watcher(engine=engine)
    await watcher.begin()
    await watcher.taking.take(LANE)
    await dead(engine, watcher)

    # When pumps look at each once, until the one is alone and is parked
    verb = Deadly(engine=engine, deadly=deadly, loads=[])
    for _ in range(3 * POISON_TRIES):
        pump = Pump(verb, engine.database, LANE, seconds=0.05, whose=Whose.DOUBTED)
        with suppress(BaseExceptionGroup):  # of Killed
            await pump.run()
        await end_leases(engine)
        if await _is_parked(engine, deadly):
            break

    # Then it was claimed with others only until it was a suspect
    assert await _is_parked(engine, deadly)
    together = [ids for ids in verb.loads if deadly in ids and len(ids) > 1]
    assert len(together) == SUSPECT - 1
    # and all the others are watched again
    await end_leases(engine)
    async with watching(engine) as next_one:
        assert sorted(next_one.residents) == sorted(fine)


async def _is_parked(engine: Engine, id_: str) -> bool:
    rows = await engine.database.fetch("SELECT faults FROM due WHERE id = %s", (id_,))
    return bool(rows) and rows[0]["faults"] > 0


async def test_watched_rows_are_in_flight_and_belong_to_somebody(engine: Engine) -> None:
    await accepted(engine, 3)
    async with watching(engine):
        (lane,) = [
            each
            for each in await read_lanes(engine)
            if each.what is What.POLL and each.lane == LANE
        ]
        assert (lane.due, lane.in_flight) == (0, 3)
        assert await engine.database.run(violations) == []
        await engine.database.fetch("UPDATE holder SET id = gen_random_uuid()")
        broken = await engine.database.run(violations)
        assert {each.kind for each in broken} == {"watched_by_nobody"}
        await engine.database.fetch(
            "UPDATE due SET lease = NULL, at = now() WHERE lease IS NOT NULL"
        )


def test_a_process_that_is_told_not_to_watch_polls_by_the_pump(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pumped: list[object] = []
    monkeypatch.setattr(here, "pump", lambda *asked: pumped.append(asked))
    runtime = type("_", (), {"engine": make_engine(LONGTAKE_RESIDENT_POLLS="false")})()
    monkeypatch.setattr(here, "runtime", lambda: runtime)
    here.watch(LANE)
    # Nor does one watch for an account whose credentials it has not
    runtime.engine = make_engine()
    here.watch("kling:other")
    assert pumped == [(What.POLL, LANE), (What.POLL, "kling:other")]


async def test_an_account_that_answers_its_watchers_answers(engine: Engine) -> None:
    # Given a silent operation: no row tells when its account last reported
    await accepted(engine)
    async with watching(engine) as watcher:
        await until(lambda: bool(watcher.answered))
        (row,) = await engine.database.fetch("SELECT seen_at FROM attempt")
        assert row["seen_at"] is None
        # Then its holder's heartbeat does
        await watcher.heart.beat()
        assert (await answered_ago(engine.database, [LANE]))[LANE] < 60
        await engine.database.fetch("UPDATE holder SET beat = now() - interval '100 s'")
        assert (await answered_ago(engine.database, [LANE]))[LANE] >= 100


async def test_what_is_put_again_stays_with_its_watcher(engine: Engine) -> None:
    (attempt,) = await accepted(engine)
    row = due.Row(id=attempt, lane=LANE, tenant="default")
    async with watching(engine) as watcher:
        await engine.database.run(lambda on: due.put(on, What.POLL, [row]))
        (found,) = await engine.database.fetch("SELECT lease::text FROM due WHERE what = 'poll'")
        assert found["lease"] == watcher.id
        told = await engine.database.fetch("SELECT holder::text, thing FROM nudge")
        assert [(each["holder"], each["thing"]) for each in told] == [(watcher.id, attempt)]
        # A dead holder's row is anybody's
        await engine.database.fetch("UPDATE holder SET dead_at = now()")
        await engine.database.run(lambda on: due.put(on, What.POLL, [row]))
        (found,) = await engine.database.fetch("SELECT lease FROM due WHERE what = 'poll'")
        assert found["lease"] is None
