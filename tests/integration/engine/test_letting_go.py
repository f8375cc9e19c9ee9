"""A watcher lets go of what others are to watch, and what a dead one watched is taken over."""

import asyncio
from uuid import uuid4

import pytest

from models import holders
from models.verbs import What
from tasks.engine import Engine
from tasks.pump.loading import load
from tasks.pump.slots import slots
from tasks.verbs.verb import Item
from tasks.watch.dead import free_orphans, free_the_dead
from tasks.watch.here import Here
from tasks.watch.watcher import Watcher
from tests.integration.engine.house import House, run
from tests.integration.engine.waiting import until
from tests.integration.engine.watched_house import (
    LANE,
    Far,
    accepted,
    attempts_are,
    engine,
    far,
    has_fault,
    house,
    leases,
    started,
    usually_take,
    watching,
)

__all__ = ["engine", "far", "house"]  # fixtures

pytestmark = pytest.mark.anyio


async def test_a_process_that_stops_hands_each_operation_back_with_its_own_time(
    engine: Engine, far: Far
) -> None:
    await accepted(engine, 3)
    await usually_take(engine, 600, factor=1.5)
    async with watching(engine) as watcher:
        await until(lambda: len(far.looked) == 3)
        await until(lambda: all(not each.is_looking for each in watcher.residents.values()))
        times = sorted((each.at, id_) for id_, each in watcher.residents.items())
    rows = await engine.database.fetch(
        "SELECT id, lease, tries, at > now() + interval '10 s' AS is_later FROM due "
        "WHERE what = 'poll' ORDER BY at"
    )
    assert [row["id"] for row in rows] == [id_ for _, id_ in times]
    assert [(row["lease"], row["tries"], row["is_later"]) for row in rows] == [(None, 0, True)] * 3
    assert await engine.database.fetch("SELECT id FROM holder") == []


async def test_one_that_was_declared_dead_lets_everything_go_and_writes_nothing(
    engine: Engine, far: Far
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        await engine.database.fetch("UPDATE holder SET dead_at = now()")
        assert await free_the_dead(engine) == 1
        assert await watcher.taking.take(LANE) == 0
        await watcher.heart.beat()
        assert watcher.is_over
        assert not watcher.residents
        assert await leases(engine) == [None]


async def test_the_tick_frees_a_dead_holder_only_after_it_ran_steadily(
    engine: Engine, far: Far
) -> None:
    await accepted(engine, 2)
    fetch = engine.database.fetch
    async with watching(engine) as watcher:
        silent = "UPDATE holder SET beat = now() - interval '1 hour'"
        # A tick that was away, or whose database was, heard nobody's heartbeats
        await fetch(silent)
        assert await free_the_dead(engine) == 0
        await fetch(
            "UPDATE pulse SET steady_since = now() - interval '1 h', at = now() - interval '20 s'"
        )
        assert await free_the_dead(engine) == 0
        assert await leases(engine) == [watcher.id] * 2
        # One that ran all the time did
        await fetch("UPDATE pulse SET steady_since = now() - interval '1 hour', at = now()")
        assert await free_the_dead(engine) == 2
        assert await leases(engine) == [None, None]
        # and the rows keep the claim that had no answer
        rows = await fetch("SELECT tries FROM due WHERE what = 'poll'")
        assert [row["tries"] for row in rows] == [1, 1]
        assert await fetch("SELECT id FROM holder") == []


async def test_rows_of_a_dead_holder_go_through_a_pump_before_they_are_watched_again(
    engine: Engine, far: Far
) -> None:
    await accepted(engine)
    await engine.database.fetch("UPDATE due SET tries = 1 WHERE what = 'poll'")
    async with watching(engine) as watcher:
        assert not watcher.residents
        await run(engine, What.POLL)
        await engine.database.fetch("UPDATE due SET at = now() WHERE what = 'poll'")
        assert await watcher.taking.take(LANE) == 1


async def test_two_that_believe_they_watch_one_operation_tell_its_fault_and_end_once(
    house: House, engine: Engine, far: Far
) -> None:
    await accepted(engine)
    second = started(house, far)
    async with watching(engine) as one:
        await far.looks(1)
        await engine.database.fetch(
            "UPDATE due SET lease = NULL, at = now(), tries = 0 WHERE what = 'poll'"
        )
        async with watching(second) as other:
            assert list(one.residents) == list(other.residents)
            far.word = "REHEARSING"
            await until(lambda: not one.residents)
            await until(lambda: has_fault(engine, "status.undocumented"))
            far.word = "SUCCEEDED"
            await until(lambda: not other.residents)
    (row,) = await engine.database.fetch(
        "SELECT count(*) AS n FROM event WHERE kind = 'status.undocumented'"
    )
    assert row["n"] == 1
    assert await attempts_are(engine, "succeeded")
    await run(engine, What.STORE)


async def test_a_watcher_that_was_frozen_beats_before_it_looks(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        watcher.heart._beaten_at -= 3600  # noqa: SLF001 - an hour ago
        seen = len(far.looked)
        await asyncio.sleep(0)
        await until(lambda: all(not each.is_looking for each in watcher.residents.values()))
        assert len(far.looked) <= seen + 1
        assert not watcher.heart.may_look
        await watcher.heart.beat()
        await far.looks(1)


async def test_rows_of_holders_that_nobody_knows_are_freed(engine: Engine, far: Far) -> None:
    await accepted(engine)
    async with watching(engine):
        await engine.database.fetch("DELETE FROM holder")
        assert await free_orphans(engine) == 1
        assert await leases(engine) == [None]


async def test_memory_is_compared_with_the_rows(engine: Engine, far: Far) -> None:
    await accepted(engine, 2)
    async with watching(engine) as watcher:
        first, second = sorted(watcher.residents)
        watcher.forget([first])
        await engine.database.fetch(
            "UPDATE due SET lease = NULL, at = now() + interval '1 h' WHERE id = %s", (second,)
        )
        await watcher.taking.compare()
        assert list(watcher.residents) == [first]
        assert await watcher.taking.take(LANE) == 0


async def test_a_late_watcher_hands_the_furthest_to_one_with_room(
    house: House, engine: Engine, far: Far
) -> None:
    ids = await accepted(engine, 10)
    async with watching(engine) as busy:
        for number, id_ in enumerate(ids):
            busy.schedule(busy.residents[id_], busy.residents[id_].at + 100 + number)
        busy.letting_go.late, busy.letting_go._looks = 9.0, 1  # noqa: SLF001 - what looks make
        # Without another, nothing goes
        await busy.heart.beat()
        assert len(busy.residents) == 10
        # With one that has room, those that are furthest from their next look do
        async with watching(started(house, far)):
            busy.letting_go.late, busy.letting_go._looks = 9.0, 1  # noqa: SLF001
            await busy.heart.beat()
        assert sorted(busy.residents) == ids[:8]


async def test_a_watcher_on_time_claims_what_a_late_one_lets_go_without_a_hint(
    house: House, engine: Engine, far: Far
) -> None:
    async with watching(engine) as busy, watching(started(house, far)) as idle:
        ids = await accepted(engine, 3)
        # While no watcher is late, rows are taken only on a hint
        await idle.heart.beat()
        assert not idle.residents
        # When another one is late, and this one is not
        busy.letting_go.late, busy.letting_go._looks = 9.0, 1  # noqa: SLF001 - what looks make
        await busy.heart.beat()
        idle.letting_go.late, idle.letting_go._looks = 9.0, 1  # noqa: SLF001
        await idle.heart.beat()
        assert not idle.residents
        idle.letting_go.late = 0.0
        await idle.heart.beat()
        assert sorted(idle.residents) == ids


async def test_a_late_process_of_a_pool_leaves_the_next_hint_to_a_sibling(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(engine) as watcher:
        here = Here(watcher=watcher)
        assert not here.should_keep_slot(100.0)
        watcher.letting_go.late = 9.0
        assert here.should_keep_slot(100.0)
        # but not all the time, because its slot has other work too
        assert not here.should_keep_slot(105.0)
        assert here.should_keep_slot(115.0)
        # and threads have no sibling processes
        monkeypatch.setattr(slots, "total", 24)
        assert not here.should_keep_slot(200.0)


async def test_no_more_are_watched_than_fit(house: House, far: Far) -> None:
    engine = started(house, far, LONGTAKE_WATCHED_OPERATIONS=2)
    await accepted(engine, 3)
    async with watching(engine) as watcher:
        assert len(watcher.residents) == 2
        assert watcher.room == 0


async def test_a_part_that_breaks_lets_everything_go(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine)
    async with watching(engine) as watcher:
        await far.looks(1)
        monkeypatch.setattr(watcher._wheel, "take", lambda _: 1 // 0)  # noqa: SLF001 - our own bug
        await until(lambda: watcher.is_over)
        await watcher.leave()
        assert await leases(engine) == [None]


async def test_many_nudges_are_one_look(engine: Engine, far: Far) -> None:
    ids = await accepted(engine)
    await usually_take(engine, 86400)
    async with watching(engine) as watcher:
        await until(lambda: len(far.looked) == 1)
        (resident,) = watcher.residents.values()
        await until(lambda: not resident.is_looking)
        watcher.schedule(resident, resident.at + 3600)
        for _ in range(20):
            await engine.database.run(lambda on: holders.nudge(on, ids))
        await watcher.heart.listen()
        await watcher.heart.listen()
        await until(lambda: len(far.looked) == 2)
        await until(lambda: not resident.is_looking)
        assert resident.item.polls == 2


async def test_what_is_claimed_as_a_process_stops_is_handed_back(
    engine: Engine, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine, 2)
    watcher = Watcher(engine=engine)
    await watcher.begin()

    async def load_late(*given: object, **named: object) -> dict[str, Item]:
        await watcher.leave()
        return await load(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("tasks.watch.taking.load", load_late)
    await watcher.taking.take(LANE)
    assert await leases(engine) == [None, None]
    assert not await engine.database.fetch("SELECT id FROM holder")
    async with watching(engine):
        await far.looks(2)


async def test_no_claim_slips_in_as_its_holder_is_removed(engine: Engine) -> None:
    (id_,) = await accepted(engine)
    me, database = str(uuid4()), engine.database
    await database.run(lambda on: holders.register(on, me, lives_for=60.0, room=1))
    async with database.transaction() as claiming:
        assert await holders.lives(claiming, me)
        leaving = asyncio.create_task(database.run(lambda on: holders.leave(on, me)))
        await until(lambda: _waits_for_a_lock(engine))
        await claiming.execute("UPDATE due SET lease = %s WHERE id = %s", (me, id_))
    await leaving
    assert await engine.database.fetch("SELECT id FROM holder")


async def _waits_for_a_lock(engine: Engine) -> bool:
    found = await engine.database.fetch(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    return bool(found)
