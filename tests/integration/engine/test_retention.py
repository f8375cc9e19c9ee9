"""What is too old goes: rows before objects, kinds in turns, and doctor finds nothing wrong."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from models.database import Connection
from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from storage.base import Unavailable
from tasks.deletion import delete
from tasks.deliveries import replay
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller
from tasks.upkeep import old_rows, overlooked, retention
from tasks.upkeep.retention import Pruned, prune_once
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.moved_in_time import enter_anew

pytestmark = pytest.mark.anyio

LIFE = (What.SUBMIT, What.POLL, What.STORE, What.DELIVER)
#: Tables that grow with the jobs.
LARGE = (
    *("job", "attempt", "output", "event", "delivery", "delivery_try", "idempotency", "batch"),
    *("submission", "intake_failure", "receiver"),
)


@dataclass(slots=True)
class Store:
    """The engine's storage; `trouble` is raised instead of a deletion."""

    real: Any
    trouble: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def delete(self, key: str) -> None:
        self.asked.append(key)
        if self.trouble is not None:
            raise self.trouble
        await self.real.delete(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    made = make_engine(LONGTAKE_KEEP_JOBS_DAYS=60, LONGTAKE_KEEP_EVENTS_DAYS=30)
    engine = facing(made, FarSide(Script().reply))
    yield replace(engine, storage=Store(made.storage))
    assert await engine.database.run(violations) == []
    await engine.close()


def store(engine: Engine) -> Store:
    assert isinstance(engine.storage, Store)
    return engine.storage


async def ended(engine: Engine, *, days: int = 0, key: str | None = None, **fields: Any) -> str:
    """A complete job whose webhook was delivered, `days` ago."""
    body = {"prompt": "a quiet sea", "model": "gen4.5", "webhook_url": "http://127.0.0.1/hook"}
    request, caller = VideoRequest.from_json(body | fields), Caller(idempotency_key=key)
    job = (await accept(engine, request, tenant="default", caller=caller)).job_id
    await pump(engine, *LIFE)
    await age(engine, job, days=days)
    return job


async def pump(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s"
        await engine.database.fetch(sql, (what,))
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def age(engine: Engine, job: str, *, days: int) -> None:
    """Move everything of a job into the past."""
    await engine.database.fetch(
        "UPDATE delivery_try SET at = delivery_try.at - %s * interval '1 day' FROM delivery "
        "WHERE delivery.id = delivery_try.delivery AND delivery.job = %s",
        (days, job),
    )
    for table, of, columns in (
        ("job", "id", ("created_at", "accepted_at", "finished_at")),
        ("attempt", "job", ("created_at", "sent_at", "accepted_at", "finished_at")),
        ("output", "job", ("stored_at",)),
        ("event", "job", ("at",)),
        ("delivery", "job", ("created_at", "finished_at")),
        ("idempotency", "job", ("created_at",)),
    ):
        moved = ", ".join(f"{name} = {name} - %(days)s * interval '1 day'" for name in columns)
        sql = f"UPDATE {table} SET {moved} WHERE {of} = %(job)s"  # noqa: S608 - constants
        await engine.database.fetch(sql, {"days": days, "job": job})
    async with engine.database.transaction() as connection:  # as if its entries were as old
        await connection.execute("ALTER TABLE ledger_entry DISABLE TRIGGER ledger_is_kept")
        await connection.execute(
            "UPDATE ledger_entry SET counts_at = job.created_at FROM job "
            "WHERE job.id = ledger_entry.job AND job.id = %s",
            (job,),
        )
        await connection.execute("ALTER TABLE ledger_entry ENABLE TRIGGER ledger_is_kept")
        await connection.execute("DELETE FROM job_usage WHERE job = %s", (job,))
    await enter_anew(engine)


async def count(engine: Engine, table: str) -> int:
    (row,) = await engine.database.fetch(f"SELECT count(*) AS n FROM {table}")  # noqa: S608 - a constant
    return int(row["n"])


def videos(engine: Engine) -> list[Path]:
    return [path for path in engine.settings.data_dir.rglob("*.mp4") if path.is_file()]


# -- rows first, objects after --------------------------------------------------------------------


async def test_an_old_job_goes_with_all_that_is_its_own(engine: Engine) -> None:
    await ended(engine, days=61, key="order-1")
    kept = await ended(engine, days=59)
    assert len(videos(engine)) == 2

    pruned = await prune_once(engine)

    assert (pruned.jobs, pruned.objects) == (1, 1)
    assert [row["id"] for row in await engine.database.fetch("SELECT id FROM job")] == [kept]
    assert len(videos(engine)) == 1
    assert await count(engine, "removal") == 0
    for table in ("attempt", "output", "delivery"):
        assert await count(engine, table) == 1


async def test_a_job_that_can_not_be_deleted_keeps_its_video(engine: Engine) -> None:
    job = await ended(engine, days=61)
    await engine.database.fetch('CREATE TABLE keeper (job text COLLATE "C" REFERENCES job (id))')
    await engine.database.fetch("INSERT INTO keeper VALUES (%s)", (job,))

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await prune_once(engine)

    assert len(videos(engine)) == 1
    assert store(engine).asked == []
    assert await count(engine, "removal") == 0
    # What did not fail had its turns.
    assert await count(engine, "event") == 0


@pytest.mark.parametrize("trouble", [Unavailable("the store is away"), RuntimeError("killed")])
async def test_a_video_whose_removal_fails_is_removed_later(
    engine: Engine, trouble: Exception
) -> None:
    await ended(engine, days=61)
    store(engine).trouble = trouble

    if isinstance(trouble, Unavailable):
        assert (await prune_once(engine)).objects == 0
    else:  # as a process that died between the commit and the removal
        with pytest.raises(RuntimeError):
            await prune_once(engine)

    # The rows are gone, and what is left in the storage is known.
    assert (await count(engine, "job"), await count(engine, "removal")) == (0, 1)
    assert len(videos(engine)) == 1

    store(engine).trouble = None
    await engine.database.fetch("UPDATE removal SET at = now()")
    assert (await prune_once(engine)).objects == 1
    assert videos(engine) == []
    assert await count(engine, "removal") == 0


async def test_a_video_that_can_not_be_removed_is_left_alone_for_a_while(engine: Engine) -> None:
    await ended(engine, days=61)
    store(engine).trouble = Unavailable("the store is away")
    await prune_once(engine)
    await prune_once(engine)
    assert len(store(engine).asked) == 1


async def test_videos_have_a_limit_of_their_own(make_engine: MakeEngine) -> None:
    engine = facing(make_engine(LONGTAKE_KEEP_VIDEOS_DAYS=10), FarSide(Script().reply))
    await ended(engine, days=11)
    await ended(engine, days=9)

    pruned = await prune_once(engine)

    assert (pruned.videos, pruned.objects, pruned.jobs) == (1, 1, 0)
    assert len(videos(engine)) == 1
    sql = "SELECT count(*) AS n FROM output WHERE deleted_at IS NOT NULL AND key IS NULL"
    assert await engine.database.fetch(sql) == [{"n": 1}]
    assert await engine.database.run(violations) == []


# -- what is kept ---------------------------------------------------------------------------------


async def test_a_deleted_job_is_erased_before_it_goes(engine: Engine) -> None:
    job = await ended(engine, days=61)
    await delete(engine, job, tenant="default")
    assert (await prune_once(engine)).jobs == 0
    await pump(engine, What.ERASE)
    assert (await prune_once(engine)).jobs == 1


async def test_a_job_whose_webhook_was_replayed_meanwhile_is_kept(engine: Engine) -> None:
    await ended(engine, days=61)
    (delivery,) = await engine.database.fetch("SELECT id FROM delivery")
    await replay(engine, delivery["id"], tenant="default")
    assert (await prune_once(engine)).jobs == 0
    await pump(engine, What.DELIVER)
    assert (await prune_once(engine)).jobs == 1


async def test_old_jobs_that_are_kept_hold_up_no_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    kept = await ended(engine, days=99)
    await ended(engine, days=61)
    await delete(engine, kept, tenant="default")

    assert (await prune_once(engine)).jobs == 1
    assert [row["id"] for row in await engine.database.fetch("SELECT id FROM job")] == [kept]


# -- turns ----------------------------------------------------------------------------------------


async def test_many_old_events_hold_up_nothing_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WINDOW", 3)
    await ended(engine, days=31)  # of an hour of events, whose turn comes first
    await ended(engine, days=61, key="order-1")
    events = await count(engine, "event")

    pruned = await prune_once(engine, seconds=0)

    assert pruned.events == 3 < events
    assert (pruned.jobs, pruned.objects, pruned.keys) == (1, 1, 1)


async def test_a_run_goes_on_until_nothing_old_is_left(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WINDOW", 3)
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(3):
        await ended(engine, days=61)
    await ended(engine, days=31)
    await prune_once(engine)
    assert (await count(engine, "job"), await count(engine, "event")) == (1, 0)
    assert videos(engine) != []
    assert _nothing(await prune_once(engine))


def _nothing(pruned: Pruned) -> bool:
    return all(getattr(pruned, name) == 0 for name in Pruned.__slots__)


# -- a pruned database ----------------------------------------------------------------------------


async def test_doctor_finds_nothing_in_a_pruned_database(engine: Engine) -> None:
    await ended(engine, days=31)
    young = await ended(engine)
    pruned = await prune_once(engine)
    assert (pruned.events > 0, pruned.tries, pruned.jobs) == (True, 1, 0)
    assert await engine.database.run(violations) == []

    # What retention has not reached is still watched.
    await engine.database.fetch("DELETE FROM event WHERE job = %s AND kind = 'complete'", (young,))
    await engine.database.fetch("DELETE FROM delivery_try")
    found = {each.kind for each in await engine.database.run(violations)}
    assert found == {"events_end_elsewhere", "delivery_tries"}
    await engine.database.fetch("DELETE FROM job WHERE id = %s", (young,))


async def test_doctor_finds_nothing_where_a_part_of_a_jobs_events_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WINDOW", 2)
    await ended(engine, days=31)
    assert (await prune_once(engine, seconds=0)).events == 2
    assert await engine.database.run(violations) == []


async def test_doctor_finds_nothing_after_a_replay_of_what_has_lost_its_tries(
    engine: Engine,
) -> None:
    await ended(engine, days=31)
    await prune_once(engine)
    (delivery,) = await engine.database.fetch("SELECT id FROM delivery")
    await replay(engine, delivery["id"], tenant="default")
    assert await engine.database.run(violations) == []
    await pump(engine, What.DELIVER)
    assert await engine.database.run(violations) == []


async def test_events_that_doctor_asks_for_stay_with_their_job(engine: Engine) -> None:
    job = await ended(engine, days=31)
    await engine.database.fetch("DELETE FROM delivery")  # as if its event could not be rendered
    await engine.database.fetch(
        "INSERT INTO event (job, at, kind) "
        "VALUES (%s, now() - interval '31 days', 'webhook.unannounced')",
        (job,),
    )
    await prune_once(engine)
    kinds = [row["kind"] for row in await engine.database.fetch("SELECT kind FROM event")]
    assert kinds == ["webhook.unannounced"]
    assert await engine.database.run(violations) == []


async def test_old_events_of_a_job_that_ended_lately_hold_up_no_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WINDOW", 1)
    lately = await ended(engine, days=31)
    await engine.database.fetch("UPDATE job SET finished_at = now() WHERE id = %s", (lately,))
    await enter_anew(engine)
    await ended(engine, days=31)
    await prune_once(engine)
    left = {row["job"] for row in await engine.database.fetch("SELECT job FROM event")}
    assert left == {lately}


# -- what it reads --------------------------------------------------------------------------------

_GIVEN = {
    "days": 30,
    "batch": 10,
    "window": 10,
    "after": 0,
    "after_at": "1970-01-01",
    "kept": [""],
    "ids": ["a"],
}
_STATEMENTS: Sequence[str] = [
    name for name, value in vars(old_rows).items() if name.startswith("OLD_") and value
]


@pytest.mark.parametrize("name", _STATEMENTS)
async def test_what_is_old_is_found_by_an_index(engine: Engine, name: str) -> None:
    sql: str = getattr(old_rows, name)
    given = _GIVEN | ({"after": ""} if name == "OLD_JOBS" else {})

    async def plan(connection: Connection) -> str:
        # A small table is read whole unless that is forbidden; a large one is not.
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_sort = off")
        cursor = await connection.execute(f"EXPLAIN {sql}", given)
        return "\n".join(line for row in await cursor.fetchall() for line in row.values())

    explained = await engine.database.run(plan)
    assert [table for table in LARGE if f"Seq Scan on {table}" in explained] == [], explained


async def test_what_is_to_be_charged_is_found_by_an_index(engine: Engine) -> None:
    async def plan(connection: Connection) -> str:
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_sort = off")
        cursor = await connection.execute(f"EXPLAIN {overlooked.NEXT}")
        return "\n".join(line for row in await cursor.fetchall() for line in row.values())

    assert "using job_by_end" in await engine.database.run(plan)


async def test_whatever_goes_with_a_row_is_found_by_an_index(engine: Engine) -> None:
    """A foreign key without an index makes each deletion read its whole table."""
    found = await engine.database.fetch(
        """
        SELECT own.conrelid::regclass::text AS name, array_agg(attname) AS columns
        FROM pg_constraint AS own
        JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)
        WHERE contype = 'f' AND confrelid <> ALL('{tenant, gate}'::regclass[])
          AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid
                          AND (indkey::int2[])[0] = conkey[1])
        GROUP BY own.oid
        """
    )
    assert found == []
