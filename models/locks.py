"""The one order in which transactions lock rows: job, due, attempt, output, delivery.

Rows of a kind are locked in the order of their ids. Whoever ends something of a job, or makes a due
row for it, locks the job first and then every due row of the job's things; whoever only moves its
own due row (a poll of an operation that goes on, the renewal of a lease) locks that row alone. An
attempt or output is written by who holds its due row or, where it has none, its job: nobody ever
waits for the locks of these, so no two transactions wait for each other. A job's key is not locked,
so events of it may be written meanwhile.
"""

from collections.abc import Collection, Sequence

from models.database import Connection
from models.state import What

_OF_ATTEMPTS = ", ".join(f"'{what}'" for what in What if what.table == "attempt")
#: Every due row that the things of these jobs may have; deliveries are created when jobs end.
DUE_OF_JOBS = f"""
    SELECT 'expire' AS what, id FROM unnest(%(jobs)s::text[]) AS id
    UNION ALL
    SELECT kind, attempt.id FROM attempt, unnest(ARRAY[{_OF_ATTEMPTS}]) AS kind
    WHERE attempt.job = ANY(%(jobs)s)
    UNION ALL
    SELECT 'store', id FROM output WHERE job = ANY(%(jobs)s)
"""  # noqa: S608 - constants


async def lock_jobs(connection: Connection, jobs: Collection[str]) -> None:
    """Lock the rows of jobs, and nothing of theirs: the first thing that a transaction does."""
    if jobs:
        await connection.execute(
            "SELECT id FROM job WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            (sorted(set(jobs)),),
        )


async def lock_whole(connection: Connection, jobs: Collection[str]) -> None:
    """Lock jobs and then all due rows of their things: enough to end anything of theirs."""
    if not jobs:
        return
    await lock_jobs(connection, jobs)
    # A statement of its own: it must see what those wrote who had the jobs before.
    await connection.execute(
        f"""
        SELECT due.id FROM due JOIN ({DUE_OF_JOBS}) AS wanted USING (what, id)
        ORDER BY due.what, due.id FOR UPDATE OF due
        """,  # noqa: S608 - a constant
        {"jobs": sorted(set(jobs))},
    )


async def lock_whole_of(connection: Connection, attempts: Sequence[str]) -> None:
    """As `lock_whole`, for the jobs of these attempts."""
    await lock_whole(connection, await jobs_of(connection, What.SUBMIT, attempts))


async def jobs_of(connection: Connection, what: What, ids: Sequence[str]) -> list[str]:
    """The jobs to which things belong that due rows of this kind name; a delivery needs none."""
    if what.table == "job":
        return list(ids)
    if what.table == "delivery":
        return []
    cursor = await connection.execute(
        f"SELECT DISTINCT job FROM {what.table} WHERE id = ANY(%s)",  # noqa: S608 - one of two constants
        (list(ids),),
    )
    return [row["job"] for row in await cursor.fetchall()]
