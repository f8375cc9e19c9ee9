"""A watcher that loses the database's answers neither loses nor repeats what was committed."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from models.database import Connection, DatabaseAway
from models.verbs import What
from tasks.engine import Engine
from tasks.watch.resident import Resident
from tasks.watch.watcher import Watcher
from tests.integration.engine.house import run
from tests.integration.engine.waiting import until
from tests.integration.engine.watched_house import (
    LANE,
    Far,
    accepted,
    attempts_are,
    cancel,
    engine,
    far,
    has_fault,
    has_progress,
    house,
    no_cancel,
    watching,
)

__all__ = ["engine", "far", "house", "no_cancel"]  # fixtures

pytestmark = pytest.mark.anyio

Work = Callable[[Connection], Awaitable[object]]


@dataclass(slots=True)
class LostAnswers:
    """Loses the first answer to one kind of work, after the database has committed it."""

    #: Part of the qualified name of the work.
    work: str = "nothing"
    count: int = 0

    def lose_answer_to(self, work: str) -> None:
        self.work, self.count = work, 0

    async def transaction(self, real: Callable[..., Awaitable[object]], work: Work) -> object:
        """Run the work in a separate transaction, which is committed even if the answer is lost."""

        async def losing(connection: Connection) -> object:
            if self.count or self.work not in work.__qualname__:
                return await work(connection)
            self.count += 1
            await real(work)
            raise psycopg.OperationalError("the answer is lost")

        return await real(losing)


@pytest.fixture
def lost_answers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> LostAnswers:
    lost_answers = LostAnswers()
    for name in ("run", "run_statement"):
        real = getattr(engine.database, name)

        async def run_losing(
            work: Work, *, real: Callable[..., Awaitable[object]] = real, **_: object
        ) -> object:
            return await lost_answers.transaction(real, work)

        monkeypatch.setattr(engine.database, name, run_losing)
    return lost_answers


@pytest.mark.usefixtures("no_cancel")
@pytest.mark.parametrize("asked", ["beat", "listen"])
async def test_a_nudge_whose_answer_is_lost_is_returned_again(
    engine: Engine, far: Far, lost_answers: LostAnswers, asked: str
) -> None:
    # Given a watched operation of a cancelled job
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        await cancel(engine)

        # When the answer that tells its watcher is lost
        lost_answers.lose_answer_to(f"Heart.{asked}")
        await getattr(watcher.heart, asked)()
        assert lost_answers.count == 1

        # Then the next heartbeat tells it, and the nudge is deleted once it was followed
        (resident,) = watcher.residents.values()
        assert not resident.item.is_wanted
        await watcher.heart.beat()
        assert await engine.database.fetch("SELECT id FROM nudge") == []
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))


@pytest.mark.usefixtures("no_cancel")
async def test_a_nudge_that_could_not_be_followed_stays(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await cancel(engine)
        with monkeypatch.context() as broken:
            broken.setattr(watcher.taking, "read_again", _away)
            with pytest.raises(ConnectionError):
                await watcher.heart.beat()
        await watcher.heart.listen()
        (resident,) = watcher.residents.values()
        assert not resident.item.is_wanted
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))


async def _away(_: object) -> None:
    raise ConnectionError("gone for a moment")


async def test_a_claim_whose_commit_is_not_confirmed_is_watched_after_a_heartbeat(
    engine: Engine, far: Far, lost_answers: LostAnswers
) -> None:
    await accepted(engine)
    lost_answers.lose_answer_to("Taking._claim")
    async with watching(engine) as watcher:
        assert lost_answers.count == 1
        assert not watcher.residents
        # A heartbeat during another claim can't compare rows and memory, so the next one does
        watcher.taking._claiming.add("another lane")  # noqa: SLF001
        await watcher.heart.beat()
        watcher.taking._claiming.clear()  # noqa: SLF001
        await watcher.heart.beat()
        assert len(watcher.residents) == 1
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))
    await run(engine, What.STORE)


async def test_a_claim_that_no_retry_confirms_is_watched_after_a_heartbeat(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine)
    real = engine.database.run

    async def is_away_after(work: Work, **_: object) -> None:
        await real(work)
        raise DatabaseAway("gone for a moment")

    async with watching(engine, lane="another") as watcher:
        with monkeypatch.context() as away:
            away.setattr(engine.database, "run", is_away_after)
            with pytest.raises(DatabaseAway):
                await watcher.taking.take(LANE)
        assert not watcher.residents
        await watcher.heart.beat()
        assert len(watcher.residents) == 1


async def test_news_whose_commit_is_not_confirmed_counts_its_polls_once(
    engine: Engine, far: Far, lost_answers: LostAnswers
) -> None:
    await accepted(engine)
    async with watching(engine):
        await far.looks(3)
        lost_answers.lose_answer_to("News._write")
        far.progress = 0.2
        await until(lambda: bool(lost_answers.count))
        far.progress = 0.4
        await until(lambda: has_progress(engine, 0.4))
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))
    await _counted(engine, far)


async def test_a_fault_whose_commit_is_not_confirmed_is_recorded_and_counted_once(
    engine: Engine, far: Far, lost_answers: LostAnswers
) -> None:
    await accepted(engine)
    async with watching(engine):
        await far.looks(3)
        lost_answers.lose_answer_to("Writer._write")
        far.word = "REHEARSING"
        await until(lambda: bool(lost_answers.count))
        await until(lambda: has_fault(engine, "status.undocumented"))
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))
    events = await engine.database.fetch("SELECT id FROM event WHERE kind = 'status.undocumented'")
    assert len(events) == 1
    await _counted(engine, far)


async def test_the_last_of_several_unwritten_faults_is_recorded(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an undocumented status and then a denial, while the database is unreachable
    await accepted(engine)
    async with watching(engine) as watcher:
        resident = await _sees_unwritten(engine, far, watcher, monkeypatch, "REHEARSING", "gone")
        # When it is reachable again
        await until(lambda: not resident.telling)
        # Then the operation counts as denied, and every poll is counted
        assert await has_fault(engine, "operation_denied")
        (row,) = await engine.database.fetch("SELECT denied_since, polls FROM attempt")
        assert row["denied_since"] is not None
        far.word = "SUCCEEDED"
        await until(lambda: attempts_are(engine, "succeeded"))
    await _counted(engine, far)


async def test_a_fault_before_an_end_is_recorded_although_both_were_unwritten(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await _sees_unwritten(engine, far, watcher, monkeypatch, "REHEARSING", "SUCCEEDED")
        await until(lambda: attempts_are(engine, "succeeded"))
    kinds = await engine.database.fetch("SELECT kind FROM event WHERE kind ^@ 'status.'")
    assert [row["kind"] for row in kinds] == ["status.undocumented"]
    await _counted(engine, far)


async def _sees_unwritten(
    engine: Engine, far: Far, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, *words: str
) -> Resident:
    """Have the vendor report these states in turn while the database is unreachable."""
    await far.looks(1)
    (resident,) = watcher.residents.values()
    with monkeypatch.context() as away:
        away.setattr(engine.database, "run", _is_away)
        for number, word in enumerate(words, 1):
            far.word = word
            await until(partial(_waits, resident, number))
    return resident


def _waits(resident: Resident, number: int) -> bool:
    return resident.telling == number


async def _is_away(*_: object, **__: object) -> None:
    raise DatabaseAway("gone for a moment")


async def _counted(engine: Engine, far: Far) -> None:
    (row,) = await engine.database.fetch("SELECT polls FROM attempt")
    assert row["polls"] == len(far.looked)
    await run(engine, What.STORE)


async def test_unwritten_progress_does_not_end_a_fault(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given progress that need not be written yet, followed by a fault
    await accepted(engine)
    monkeypatch.setattr("tasks.watch.news.LEAST", 3600.0)
    async with watching(engine) as watcher:
        far.progress = 0.2
        await until(lambda: has_progress(engine, 0.2))
        far.progress = 0.4
        (resident,) = watcher.residents.values()
        await until(lambda: resident.has_news)
        far.word = "gone"
        await until(lambda: has_fault(engine, "operation_denied"))

        # When the progress is written, then the fault remains
        await until(lambda: not resident.telling)
        await watcher.news.write([resident])
        assert await has_fault(engine, "operation_denied")
        # and the progress is recorded once the fault is over
        far.word = "RUNNING"
        await until(lambda: has_progress(engine, 0.4))
        assert await has_fault(engine, None)


async def test_looks_delayed_by_the_database_do_not_count_as_late(
    engine: Engine, far: Far, lost_answers: LostAnswers
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        # When a heartbeat is overdue, so that looks are held up
        heart, (resident,) = watcher.heart, watcher.residents.values()
        heart._beaten_at -= 3600  # noqa: SLF001 - what a silent database makes
        await until(lambda: not resident.is_looking)
        resident.at -= 3600
        await until(lambda: watcher.letting_go._makes_up_until > 0)  # noqa: SLF001
        looks = len(far.looked)
        await heart.beat()
        watcher.schedule(resident, resident.at)

        # Then looks continue after the next heartbeat, and none counts as late
        await until(lambda: len(far.looked) > looks)
        assert watcher.letting_go.late < 1
        await until(lambda: not resident.is_looking)
        watcher.schedule(resident, time.monotonic() - 3600)
        watcher.letting_go._makes_up_until = -math.inf  # noqa: SLF001
        await until(lambda: watcher.letting_go.late > 1)
