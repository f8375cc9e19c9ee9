"""A batch in the database, made of jobs that were accepted one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from models.database import Connection
from models.ids import new_id
from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller

HOOK = {"url": "https://hook.test/", "secret": None}


@dataclass(frozen=True, slots=True)
class TestBatch:
    """A batch and its lines' jobs, in their order."""

    __test__ = False

    id: str
    jobs: Sequence[str]


async def batch_of(
    engine: Engine,
    lines: int | Sequence[dict[str, Any]],
    *,
    concurrency: int | None = None,
    is_held: bool | None = None,
    webhook: bytes | None = None,
    tenant: str = "default",
    api_key: str | None = None,
    errors: Sequence[dict[str, Any]] = (),
) -> TestBatch:
    """A batch as intake leaves it: its lines are held if it has a concurrency."""
    asked = [{}] * lines if isinstance(lines, int) else lines
    requests = [
        VideoRequest.from_json({"prompt": f"line {number}", "model": "gen4.5"} | each)
        for number, each in enumerate(asked, 1)
    ]
    caller = Caller(api_key=api_key)
    jobs = [
        (await accept(engine, request, tenant=tenant, caller=caller)).job_id for request in requests
    ]
    batch, holds = new_id("batch"), concurrency is not None if is_held is None else is_held

    async def work(connection: Connection) -> None:
        await connection.execute(
            """
            INSERT INTO batch (id, tenant, api_key, state, options, webhook, lines, invalid, errors,
                               pending, running, concurrency, released_to,
                               estimated_cost_micros, reserved_micros, deadline_at)
            SELECT %(batch)s, %(tenant)s, %(api_key)s, 'in_progress', '{}', %(webhook)s, %(n)s,
                   %(invalid)s, %(errors)s::jsonb, %(n)s, %(running)s, %(concurrency)s,
                   %(running)s, sum(estimated_cost_micros), sum(reserved_micros), max(deadline_at)
            FROM job WHERE id = ANY(%(jobs)s)
            """,
            {
                "batch": batch,
                "tenant": tenant,
                "api_key": api_key,
                "webhook": webhook,
                "n": len(jobs),
                "invalid": len(errors),
                "errors": Jsonb(list(errors)) if errors else None,
                "running": 0 if holds else len(jobs),
                "concurrency": concurrency,
                "jobs": jobs,
            },
        )
        await connection.execute(
            "INSERT INTO due (what, id, lane, tenant) VALUES ('tally', %s, '-', %s)",
            (batch, tenant),
        )
        await connection.execute(
            """
            UPDATE job SET batch_id = %s, batch_line = number, custom_id = 'line-' || number
            FROM unnest(%s::text[]) WITH ORDINALITY AS line (id, number) WHERE job.id = line.id
            """,
            (batch, jobs),
        )
        if holds:
            await _hold(connection, jobs)

    await engine.database.run(work)
    return TestBatch(batch, jobs)


async def _hold(connection: Connection, jobs: Sequence[str]) -> None:
    await connection.execute(
        "UPDATE due SET lane = 'held' WHERE what = 'expire' AND id = ANY(%s)", (jobs,)
    )
    await connection.execute(
        """
        UPDATE due SET at = now() + interval '3650 days' FROM attempt
        WHERE what = 'submit' AND due.id = attempt.id AND attempt.job = ANY(%s)
        """,
        (jobs,),
    )


async def tally(engine: Engine, *, rounds: int = 1) -> None:
    """Look after every batch `rounds` times, whenever it is due."""
    for _ in range(rounds):
        await pumped(engine, What.TALLY)


async def pumped(engine: Engine, *kinds: What) -> None:
    """All that is due of each kind, and what is due of it soon; held lines are not."""
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s' WHERE what = %s AND at < now() + "
            "interval '1 year'",
            (what,),
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def state_of(engine: Engine, batch: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM batch WHERE id = %s", (batch,))
    return row


async def statuses(engine: Engine, batch: TestBatch) -> list[str]:
    """The states of its lines, in their order."""
    sql = "SELECT state FROM job WHERE batch_id = %s ORDER BY batch_line"
    return [row["state"] for row in await engine.database.fetch(sql, (batch.id,))]


async def held(engine: Engine, batch: TestBatch) -> list[int]:
    """The numbers of its held lines."""
    sql = """
    SELECT batch_line FROM job JOIN due ON due.id = job.id
    WHERE batch_id = %s AND what = 'expire' AND lane = 'held' ORDER BY batch_line
    """
    return [row["batch_line"] for row in await engine.database.fetch(sql, (batch.id,))]


async def found_wrong(engine: Engine) -> list[str]:
    """The kinds of what the doctor finds."""
    return sorted({each.kind for each in await engine.database.run(violations)})
