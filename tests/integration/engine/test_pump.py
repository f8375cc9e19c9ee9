"""The pump, over real due rows and with work that the test holds in its hands."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from models import due
from models.database import Connection, Database, DatabaseAway
from models.verbs import What
from scheduler.claim import Claimed
from scheduler.turns import UNKNOWN_HOLDS
from stack.servers.postgres import EmbeddedPostgres
from tasks.pump.parking import PARKED
from tasks.pump.pump import Pump
from tasks.verbs.verb import Hold
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio

LANE = "lane"


@dataclass(frozen=True, slots=True)
class Thing:
    """A claimed row's item, and what became of it."""

    id: str
    tenant: str = ""


@dataclass(slots=True)
class Work:
    """A verb whose requests hang where the test says so, and whose writes are rows of `written`."""

    database: Database
    name: str = "worker"
    what: What = What.POLL
    concurrency: int = 8
    each: int = 500
    abandons: bool = True
    #: Hang until released.
    hanging: set[str] = field(default_factory=set)
    #: Break the statement that writes them.
    breaking: set[str] = field(default_factory=set)
    started: list[Thing] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def load(self, claimed: Sequence[Claimed]) -> list[Thing]:
        return [Thing(row.id, row.tenant) for row in claimed]

    async def act(self, item: Any, hold: Hold) -> Any:
        self.started.append(item)
        try:
            async with self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: item.id not in self.hanging)
        except asyncio.CancelledError:
            self.cancelled.append(item.id)
            raise
        return item

    def jobs(self, results: Sequence[Any]) -> tuple[str, ...]:
        del results
        return ()

    async def write(self, connection: Connection, results: Sequence[Any]) -> None:
        ids = [result.id for result in results]
        if self.breaking & set(ids):
            await connection.execute("SELECT 1 / 0")
        await connection.execute(
            "INSERT INTO written (id, worker) SELECT unnest(%s::text[]), %s", (ids, self.name)
        )
        await due.drop(connection, self.what, ids)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        self.given_up += ids

    async def release(self, *ids: str) -> None:
        async with self._changed:
            self.hanging -= set(ids)
            self._changed.notify_all()

    async def has_started(self, count: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.started) >= count)

    def pump(self, *, lane: str | None = LANE, seconds: float = 10.0, **options: Any) -> Pump:
        return Pump(self, self.database, lane, seconds=seconds, **options)


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.fetch("CREATE TABLE written (id text, worker text)")
    yield database
    await database.close()


async def know(database: Database, *hosts: str) -> None:
    """Hosts of the tenant that answered quickly."""
    await database.fetch(
        "INSERT INTO receiver (tenant, host, is_prompt) SELECT 'tenant', unnest(%s::text[]), true",
        (list(hosts),),
    )


async def put(
    database: Database,
    count: int,
    *,
    lane: str = LANE,
    tenant: str = "tenant",
    what: What = What.POLL,
) -> list[str]:
    rows = [due.Row(id=f"{lane}-{tenant}-{n:04}", lane=lane, tenant=tenant) for n in range(count)]
    await database.run(lambda connection: due.put(connection, what, rows))
    return [row.id for row in rows]


async def written(database: Database) -> Counter[str]:
    rows = await database.fetch("SELECT id, count(*)::int AS times FROM written GROUP BY id")
    return Counter({row["id"]: row["times"] for row in rows})


async def until_written(database: Database, ids: Sequence[str]) -> None:
    async def all_are() -> bool:
        return not set(ids) - set(await written(database))

    await until(all_are)


async def end_leases(database: Database) -> None:
    await database.fetch("UPDATE due SET at = now() - interval '1 s'")


# -- sharing --------------------------------------------------------------------------------------


async def test_two_pumps_on_one_lane_never_work_on_the_same_row(database: Database) -> None:
    ids = await put(database, 1200)
    one, other = Work(database, "one"), Work(database, "other")

    tallies = await asyncio.gather(one.pump().run(), other.pump().run())

    started = [thing.id for thing in (*one.started, *other.started)]
    assert sorted(started) == sorted(ids)
    assert await written(database) == Counter(ids)
    assert sum(tally.written for tally in tallies) == len(ids)
    assert one.started
    assert other.started


async def test_a_pump_that_was_paused_past_its_lease_writes_nothing(database: Database) -> None:
    # Given a worker whose request takes longer than its lease, since the machine stood still
    (id_,) = await put(database, 1)
    slow, quick = Work(database, "slow", hanging={id_}), Work(database, "quick")
    stands_still = asyncio.Event()
    pump = slow.pump(stop=stands_still.is_set)
    paused = asyncio.create_task(pump.run())
    await slow.has_started(1)
    stands_still.set()
    await until(lambda: not pump.is_claiming)  # or it might claim its own row anew
    await end_leases(database)

    # When another has done its row meanwhile, and then it answers
    await quick.pump().run()
    await slow.release(id_)
    tally = await paused

    # Then its answer is dropped
    assert (tally.written, tally.lost) == (0, 1)
    rows = await database.fetch("SELECT id, worker FROM written")
    assert rows == [{"id": id_, "worker": "quick"}]


async def test_a_late_worker_cannot_touch_a_row_that_was_put_anew(database: Database) -> None:
    """Whoever makes a row due again, such as a callback, takes it from its holder."""
    (id_,) = await put(database, 1)
    work = Work(database, hanging={id_})
    running = asyncio.create_task(work.pump(seconds=0.1).run())
    await work.has_started(1)

    row = due.Row(id=id_, lane=LANE, tenant="tenant", after=60.0)
    await database.run(lambda connection: due.put(connection, What.POLL, [row]))
    await work.release(id_)

    assert (await running).lost == 1
    assert not await written(database)
    (left,) = await database.fetch("SELECT at > now() + interval '30 s' AS later FROM due")
    assert left["later"]


# -- rolling --------------------------------------------------------------------------------------


async def test_a_request_that_hangs_holds_nobody_else(database: Database) -> None:
    hanging, *others = await put(database, 300)
    work = Work(database, hanging={hanging}, concurrency=2)
    running = asyncio.create_task(work.pump().run())

    await until_written(database, others)

    assert hanging not in await written(database)
    await work.release(hanging)
    assert (await running).written == 300


async def test_a_hint_wakes_a_pump_that_has_nothing_to_do(database: Database) -> None:
    # Given a pump that looked once, found nothing, and is about to give its slot back
    work = Work(database)
    pump = work.pump()
    running = asyncio.create_task(pump.run())
    await until(lambda: pump.tally.claims > 0)

    # When something becomes due and a hint says so
    (id_,) = await put(database, 1)
    assert pump.is_claiming
    pump.wake()

    # Then it goes on
    assert (await running).written == 1
    assert id_ in await written(database)
    assert not pump.is_claiming


async def test_a_hint_wakes_a_pump_that_waits_for_answers(database: Database) -> None:
    (first,) = await put(database, 1)
    work = Work(database, hanging={first})
    pump = work.pump()
    running = asyncio.create_task(pump.run())
    await work.has_started(1)

    (second,) = await put(database, 1, tenant="another")
    pump.wake()
    await until_written(database, [second])

    assert first not in await written(database)
    await work.release(first)
    await running


async def test_a_row_that_is_due_again_before_its_write_is_known_is_not_forgotten(
    database_url: str, database: Database
) -> None:
    """A claim may overtake the news that a commit went through: nobody would work on that row."""
    (id_,) = await put(database, 1)

    class LateNews(Database):
        """Holds back the news of the first write until its pump has claimed again."""

        async def run(self, work: Any, *, first: bool = False) -> Any:
            result = await super().run(work)
            if asyncio.current_task() in writers and not late:
                late.append(pump.tally.claims)
                pump.wake()
                await until(lambda: pump.tally.claims > late[0] + 1)
            return result

    class Again(Work):
        async def write(self, connection: Connection, results: Sequence[Any]) -> None:
            writers.append(asyncio.current_task())
            if len(self.started) < 3:
                await due.put_back(connection, self.what, [id_], after=[0.0])
            else:
                await super().write(connection, results)

    writers: list[asyncio.Task[Any] | None] = []
    late: list[int] = []
    work = Again(LateNews(database_url))
    pump = work.pump()
    await pump.run()
    await work.database.close()

    assert late
    assert [thing.id for thing in work.started] == [id_] * 3


# -- fairness -------------------------------------------------------------------------------------


async def test_a_flood_of_one_tenant_does_not_delay_another(database: Database) -> None:
    await put(database, 2000, tenant="flood")
    few = await put(database, 10, tenant="quiet")
    work = Work(database, concurrency=16)

    await work.pump().run()

    order = [thing.id for thing in work.started]
    assert len(order) == 2010
    assert max(order.index(id_) for id_ in few) < 2 * len(few)


async def test_more_tenants_than_one_claim_has_rows_all_get_their_turn(database: Database) -> None:
    """The next claim goes on where the last one ended."""
    tenants = [f"tenant-{n:03}" for n in range(600)]
    rows = [
        due.Row(id=f"{tenant}-{n}", lane=LANE, tenant=tenant) for tenant in tenants for n in (1, 2)
    ]
    await database.run(lambda connection: due.put(connection, What.POLL, rows))
    work = Work(database)

    await work.pump().run()

    turns = [thing.tenant for thing in work.started]
    assert len(set(turns[:500])) == 500
    assert set(turns[:700]) == set(tenants)


async def test_a_tenant_is_not_slowed_by_a_thousand_who_wait_for_later(
    database: Database,
) -> None:
    """Shares are of what is due: whoever has nothing due takes none, and hides nobody."""
    idle = [
        due.Row(id=f"idle-{n}", lane=LANE, tenant=f"idle-{n:04}", after=3600.0) for n in range(1500)
    ]
    await database.run(lambda connection: due.put(connection, What.POLL, idle))
    await put(database, 1000, tenant="a-first")
    await put(database, 1000, tenant="z-last")
    work = Work(database, concurrency=64)

    tally = await work.pump().run()

    assert tally.written == 2000
    assert tally.claims < 100


async def test_many_hosts_that_hang_leave_room_for_the_others(database: Database) -> None:
    dead = [
        id_
        for number in range(20)
        for id_ in await put(database, 20, lane=f"dead-{number:02}.test", what=What.DELIVER)
    ]
    healthy = await put(database, 200, lane="healthy.test", what=What.DELIVER)
    await know(database, "healthy.test")
    work = Work(database, what=What.DELIVER, each=16, concurrency=128, hanging=set(dead))
    running = asyncio.create_task(work.pump(lane=None).run())

    await until_written(database, healthy)

    stuck = Counter(thing.id.partition("-tenant")[0] for thing in work.started)
    assert {stuck[host] for host in stuck if host.startswith("dead")} == {UNKNOWN_HOLDS}
    await work.release(*dead)
    await running


async def test_a_host_that_hangs_holds_only_what_one_host_may(database: Database) -> None:
    dead = await put(database, 300, lane="dead.test", what=What.DELIVER)
    hosts = ("a.test", "b.test", "z.test")
    healthy = [
        id_ for host in hosts for id_ in await put(database, 150, lane=host, what=What.DELIVER)
    ]
    await know(database, "dead.test", *hosts)
    work = Work(database, what=What.DELIVER, each=16, concurrency=64, hanging=set(dead))
    running = asyncio.create_task(work.pump(lane=None).run())

    await until_written(database, healthy)

    stuck = [thing for thing in work.started if thing.id.startswith("dead.test")]
    assert len(stuck) <= 16
    await work.release(*dead)
    assert (await running).written == 750


# -- what goes wrong ------------------------------------------------------------------------------


async def test_a_row_that_breaks_a_write_is_parked_and_the_others_are_written(
    database: Database,
) -> None:
    ids = await put(database, 50)
    broken, *fine = ids
    work = Work(database, breaking={broken})

    tally = await work.pump(seconds=0.5).run()

    assert set(await written(database)) == set(fine)
    assert (tally.written, tally.failed) == (49, 1)
    (row,) = await database.fetch(
        "SELECT id, lease, extract(epoch FROM at - now())::float8 AS wait FROM due"
    )
    assert row["id"] == broken
    assert row["lease"] is None
    assert PARKED - 30 < row["wait"] <= PARKED * 1.1


@pytest.mark.parametrize("abandons", [True, False], ids=["poll", "POST"])
async def test_a_lost_lease_cancels_what_may_be_cancelled(
    database: Database, *, abandons: bool
) -> None:
    # Given a request in flight
    (id_,) = await put(database, 1)
    work = Work(database, hanging={id_}, abandons=abandons)
    pump = work.pump(seconds=0.1, lease_seconds=0.3)
    running = asyncio.create_task(pump.run())
    await work.has_started(1)

    # When the row is taken by another worker, which the next renewal finds out
    thief = str(uuid4())
    await database.fetch("UPDATE due SET lease = %s, at = now() + interval '1 h'", (thief,))
    await until(lambda: pump.tally.lost > 0)

    # Then a poll is cut off, while a POST goes on to its answer
    if abandons:
        await running
        assert work.cancelled == [id_]
    else:
        assert not running.done()
        await work.release(id_)
        await running
        assert not work.cancelled
    assert not await written(database)


async def test_a_lease_is_renewed_for_as_long_as_the_request_takes(database: Database) -> None:
    (id_,) = await put(database, 1)
    work, other = Work(database, "first", hanging={id_}), Work(database, "second")
    running = asyncio.create_task(work.pump(seconds=0.1, lease_seconds=0.3).run())
    await work.has_started(1)

    for _ in range(3):  # each of these lingers for longer than the lease
        assert (await other.pump().run()).claimed == 0

    await work.release(id_)
    assert (await running).written == 1


async def test_a_stop_hands_back_what_was_not_started_and_finishes_what_was(
    database: Database,
) -> None:
    # Given two requests under way and eight rows that wait for them
    ids = await put(database, 10)
    work = Work(database, concurrency=2, hanging=set(ids))
    stop = asyncio.Event()
    running = asyncio.create_task(work.pump(stop=stop.is_set).run())
    await work.has_started(2)

    # When the process is asked to stop
    stop.set()
    await until(lambda: _are_leased(database, 2))

    # Then the eight are due at once, as if they had never been claimed
    (free,) = await database.fetch(
        "SELECT count(*)::int AS rows, max(tries) AS tries, bool_and(at <= now()) AS due "
        "FROM due WHERE lease IS NULL"
    )
    assert free == {"rows": 8, "tries": 0, "due": True}
    assert not running.done()
    await work.release(*ids)
    assert (await running).written == 2
    assert len(work.started) == 2


async def test_a_stop_does_not_wait_for_what_another_may_do_again(database: Database) -> None:
    # Given a request that hangs, and one that is answered while the process is to stop
    ids = await put(database, 2)
    work = Work(database, hanging=set(ids))
    stop = asyncio.Event()
    running = asyncio.create_task(work.pump(stop=stop.is_set, patience=0.2).run())
    await work.has_started(2)
    stop.set()
    await work.release(ids[0])

    # Then the pump ends without the answer, and another finds the row at once
    assert (await asyncio.wait_for(running, timeout=10)).written == 1
    assert work.cancelled == [ids[1]]
    (row,) = await database.fetch("SELECT id, lease, tries, at <= now() AS is_due FROM due")
    assert row == {"id": ids[1], "lease": None, "tries": 0, "is_due": True}


async def test_a_stop_waits_for_a_post_however_long_it_takes(database: Database) -> None:
    (id_,) = await put(database, 1)
    work = Work(database, hanging={id_}, abandons=False)
    stop = asyncio.Event()
    running = asyncio.create_task(work.pump(stop=stop.is_set, patience=0.0).run())
    await work.has_started(1)
    stop.set()
    await until(lambda: _are_leased(database, 1))
    assert not running.done()

    await work.release(id_)
    assert (await running).written == 1
    assert work.cancelled == []


async def test_what_is_handed_back_keeps_its_place_and_its_priority(database: Database) -> None:
    # Given rows of several priorities: the higher, the earlier they came up
    ids = await put(database, 10)
    await database.fetch(
        "UPDATE due SET at = now() - interval '10 min' - right(id, 2)::int * interval '1 min'"
    )
    line = "SELECT id, at FROM due ORDER BY at"
    before = await database.fetch(line)
    # When a pump that has claimed them all, and begun none but the first, is stopped
    first = before[0]["id"]
    assert first == ids[-1]
    work = Work(database, concurrency=1, hanging=set(ids))
    stop = asyncio.Event()
    running = asyncio.create_task(work.pump(stop=stop.is_set).run())
    await work.has_started(1)
    stop.set()
    await until(lambda: _are_leased(database, 1))
    # Then the others stand where they stood
    assert [thing.id for thing in work.started] == [first]
    free = await database.fetch("SELECT id, at FROM due WHERE lease IS NULL ORDER BY at")
    assert free == before[1:]
    await work.release(*ids)
    await running


async def _are_leased(database: Database, count: int) -> bool:
    rows = await database.fetch("SELECT id FROM due WHERE lease IS NOT NULL")
    return len(rows) == count


# -- the database goes away -----------------------------------------------------------------------


@asynccontextmanager
async def away(server: EmbeddedPostgres, url: str) -> AsyncIterator[None]:
    """The test's own database, out of reach for as long as the block lasts."""
    name = urlsplit(url).path.removeprefix("/")
    can_connect = sql.SQL("alter database {} allow_connections {}").format
    admin = await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True)
    async with admin:
        await admin.execute(can_connect(sql.Identifier(name), sql.SQL("false")))
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        )
        yield
        await admin.execute(can_connect(sql.Identifier(name), sql.SQL("true")))


async def test_connections_that_break_cost_nothing(
    database: Database, database_url: str, postgres_server: EmbeddedPostgres
) -> None:
    ids = await put(database, 200)
    last = ids[-1]
    work = Work(database, hanging={last})
    running = asyncio.create_task(work.pump().run())
    await until_written(database, ids[:-1])

    async with away(postgres_server, database_url):
        await work.release(last)

    assert (await running).failed == 0
    assert await written(database) == Counter(ids)


async def test_a_pump_whose_database_is_gone_ends_and_its_rows_are_found_later(
    database: Database, database_url: str, postgres_server: EmbeddedPostgres
) -> None:
    ids = await put(database, 5)
    impatient = Database(database_url, timeout=0.1)
    work = Work(impatient, hanging=set(ids))
    running = asyncio.create_task(work.pump().run())
    await work.has_started(5)

    async with away(postgres_server, database_url):
        await work.release(*ids)
        with pytest.raises(BaseExceptionGroup) as raised:
            await running
    await impatient.close()

    assert raised.group_contains(DatabaseAway)
    await end_leases(database)
    assert (await Work(database).pump().run()).written == 5
    assert await written(database) == Counter(ids)
