"""A process watches operations: it writes news alone, and what it lets go is another's."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from models.database import DatabaseAway
from models.verbs import What
from providers.base import Video
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.outcomes.polled import PollItem, Seen
from tasks.verbs.poll import Poll
from tasks.verbs.verb import Hold
from tasks.view import progress_percent, read_jobs
from tasks.watch.resident import NO_SLOT
from tests.integration.engine.house import run
from tests.integration.engine.waiting import until
from tests.integration.engine.watched_house import (
    Far,
    accepted,
    attempts_are,
    cancel,
    engine,
    far,
    has_fault,
    has_progress,
    house,
    leases,
    no_cancel,
    usually_take,
    versions,
    watching,
)

__all__ = ["engine", "far", "house", "no_cancel"]  # fixtures

pytestmark = pytest.mark.anyio


async def test_a_silent_operation_writes_nothing_until_it_ends(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine):
        before = await versions(engine)
        await far.looks(5)
        assert await versions(engine) == before

        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))
    (row,) = await engine.database.fetch("SELECT * FROM attempt")
    # Its polls are counted with its end, which tells when it was last seen to run.
    assert row["polls"] == len(far.looked) >= 6
    assert abs(row["running_at"] - row["accepted_at"]) < (row["seen_at"] - row["accepted_at"]) / 2
    assert row["seen_at"] < row["finished_at"]
    await run(engine, What.STORE)


# -- news ---------------------------------------------------------------------------------------


async def test_progress_is_written_and_shown_and_no_job_is_written_for_it(
    engine: Engine, far: Far
) -> None:
    await accepted(engine)
    (job,) = await engine.database.fetch("SELECT id, xmin FROM job")
    async with watching(engine):
        for percent in (40, 70):
            far.progress = percent / 100
            await until(partial(_shows, engine, job["id"], percent))
        assert await engine.database.fetch("SELECT id, xmin FROM job") == [job]
    far.progress = 0.1
    await engine.database.fetch("UPDATE due SET at = now() WHERE what = 'poll'")
    async with watching(engine):  # another watcher knows nothing of what was shown
        await far.looks(2)
        assert await _shows(engine, job["id"], 70)


async def _shows(engine: Engine, job: str, percent: int) -> bool:
    (shown,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    return progress_percent(shown) == percent


async def test_news_is_coalesced(engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    await accepted(engine)
    monkeypatch.setattr("tasks.watch.news.LEAST", 3600.0)
    async with watching(engine) as watcher:
        far.progress = 0.2
        await until(lambda: has_progress(engine, 0.2))
        before = await versions(engine)
        for percent in (30, 40, 50):
            far.progress = percent / 100
            await far.looks(2)
        assert await versions(engine) == before
        # What waits is written when the operation is let go, and the polls with it.
        (resident,) = watcher.residents.values()
        assert resident.item.polls > 1
    assert await has_progress(engine, 0.5)
    (row,) = await engine.database.fetch("SELECT polls FROM attempt")
    assert row["polls"] == len(far.looked)


@dataclass(slots=True)
class Held:
    """Holds writes of news back, on their way to the database."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0


@pytest.fixture
def held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Held:
    held, real = Held(), engine.database.run_statement

    async def run(work: object, **options: object) -> object:
        if "News._write" in getattr(work, "__qualname__", ""):
            held.count += 1
            await held.gate.wait()
        return await real(work, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.database, "run_statement", run)
    return held


async def test_looks_during_a_write_are_no_news_that_is_written_again(
    engine: Engine, far: Far, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine)
    monkeypatch.setattr("tasks.watch.news.LEAST", 3600.0)
    async with watching(engine) as watcher:
        far.progress = 0.2
        await until(lambda: held.count == 1)
        await far.looks(3)
        (resident,) = watcher.residents.values()
        assert resident.marked == NO_SLOT
        held.gate.set()
        await until(lambda: has_progress(engine, 0.2))
        await far.looks(2)
        assert resident.marked == NO_SLOT
    assert held.count == 1


async def test_a_watcher_that_lets_go_while_it_writes_news_counts_each_poll_once(
    engine: Engine, far: Far, held: Held
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        far.progress = 0.2
        await until(lambda: held.count == 1)
        far.progress = 0.4
        await far.looks(3)
        (resident,) = watcher.residents.values()
        await until(lambda: not resident.is_looking)
        letting_go = asyncio.create_task(watcher.letting_go.some([resident]))
        await asyncio.sleep(0)  # it begins
        assert resident.id in watcher.residents  # its news is on the way
        held.gate.set()
        await letting_go
    assert await has_progress(engine, 0.4)
    (row,) = await engine.database.fetch("SELECT polls FROM attempt")
    assert row["polls"] == len(far.looked)


async def test_a_fault_is_written_once_and_its_end_once(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine):
        far.word = "REHEARSING"
        await until(lambda: has_fault(engine, "status.undocumented"))
        before = await versions(engine)
        await far.looks(1)
        assert await versions(engine) == before
        far.word = "RUNNING"
        await until(lambda: has_fault(engine, None))
    events = await engine.database.fetch("SELECT id FROM event WHERE kind = 'status.undocumented'")
    assert len(events) == 1


async def test_a_denial_begins_once_and_ends_with_an_update(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine):
        far.word = "gone"
        await until(lambda: _denied(engine, is_denied=True))
        far.word = "RUNNING"
        await until(lambda: _denied(engine, is_denied=False))


async def _denied(engine: Engine, *, is_denied: bool) -> bool:
    rows = await engine.database.fetch("SELECT denied_since FROM attempt")
    return [row["denied_since"] is not None for row in rows] == [is_denied]


# -- ends ---------------------------------------------------------------------------------------


async def test_an_end_survives_a_database_that_refuses_it(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine, 3)
    real, refused = engine.database.run, list[str]()

    async def run_or_refuse(work: object, **options: object) -> object:
        if "Writer._write" in getattr(work, "__qualname__", "") and len(refused) < 2:
            refused.append("refused")
            raise DatabaseAway("gone for a moment")
        return await real(work, **options)  # type: ignore[arg-type]

    async with watching(engine) as watcher:
        monkeypatch.setattr(engine.database, "run", run_or_refuse)
        far.word = "SUCCEEDED"
        await until(lambda: len(refused) == 2)
        assert len(watcher.residents) == 3
        await until(lambda: not watcher.residents)
    assert await attempts_are(engine, "succeeded")
    await run(engine, What.STORE)


async def test_videos_that_come_once_hold_looks_up_only_until_they_are_written(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, first = Poll.act, list[str]()

    async def act(self: Poll, item: PollItem, hold: Hold) -> Seen:
        far.word = "SUCCEEDED" if not first or item.id in first else "RUNNING"
        first[:] = first or [item.id]
        seen = await real(self, item, hold)
        if seen.update is None or not seen.has_ended:
            return seen
        film = Video(content=b"film", only_here=True)
        return replace(seen, update=replace(seen.update, videos=(film,)))

    monkeypatch.setattr(Poll, "act", act)
    monkeypatch.setattr("tasks.watch.watcher._HELD_BYTES", 1)
    await accepted(engine, 2)
    async with watching(engine) as watcher:
        await until(lambda: len(watcher.residents) == 1)
        await far.looks(2)
        assert not watcher._held  # noqa: SLF001 - else it grows for as long as the process lives


async def test_held_videos_are_dropped_when_their_operation_is_claimed_again(
    engine: Engine, far: Far
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        # Given an end that was not written because others had its row, which they have given back
        (resident,) = watcher.residents.values()
        assert not resident.is_ending
        watcher._held[resident.id] = 4  # noqa: SLF001 - as `_learn` notes it
        # When the writer has finished with it
        watcher._settled([resident.id])  # noqa: SLF001 - as the writer says
        # Then nothing is held, and the operation is still watched
        assert not watcher._held  # noqa: SLF001
        assert resident.id in watcher.residents


async def test_what_is_about_to_end_is_not_let_go(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        (resident,) = watcher.residents.values()
        await until(lambda: not resident.is_looking)
        resident.is_ending = True
        await watcher.letting_go.some([resident])
        assert resident.id in watcher.residents
        assert await leases(engine) == [watcher.id]
    assert await leases(engine) == [None]


async def test_a_result_that_breaks_us_is_postponed_and_not_forgotten(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object) -> None:
        raise ValueError("our own bug")

    monkeypatch.setattr("tasks.watch.resident.Resident.learn", learn)
    await accepted(engine)
    async with watching(engine) as watcher:
        await until(lambda: not watcher.residents)
    rows = await engine.database.fetch("SELECT lease, faults FROM due WHERE what = 'poll'")
    assert rows == [{"lease": None, "faults": 1}]


# -- being told ---------------------------------------------------------------------------------


async def test_a_cancel_of_a_silent_operation_reaches_its_watcher(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        await cancel(engine)
        await watcher.heart.beat()
        assert not watcher.residents
    assert await engine.database.fetch("SELECT what FROM due WHERE what = 'cancel'")
    await run(engine, What.CANCEL)


@pytest.mark.usefixtures("no_cancel")
async def test_an_operation_that_cannot_be_cancelled_keeps_its_watcher(
    engine: Engine, far: Far
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await cancel(engine)
        assert await leases(engine) == [watcher.id]
        await watcher.heart.beat()
        (resident,) = watcher.residents.values()
        assert not resident.item.is_wanted
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))


async def test_a_callback_makes_a_silent_operation_be_looked_at(engine: Engine, far: Far) -> None:
    await accepted(engine)
    await usually_take(engine, 86400)
    (attempt,) = await engine.database.fetch("SELECT provider, marker FROM attempt")
    async with watching(engine) as watcher:
        await until(lambda: len(far.looked) == 1)
        (resident,) = watcher.residents.values()
        await until(lambda: not resident.is_looking)
        watcher.schedule(resident, resident.at + 3600)  # its own next look is far
        far.word = "SUCCEEDED"
        await hear(engine, attempt["provider"], attempt["marker"], headers={}, body=b"{}")
        await watcher.heart.listen()
        await until(lambda: attempts_are(engine, "succeeded"))
    assert len(far.looked) == 2
    await run(engine, What.STORE)
