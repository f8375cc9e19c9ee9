"""The one order in which transactions lock rows.

Batch, limits, job, due, account rule, attempt, output, delivery, receiver, picture, budget use.

Rows of a kind are locked in the order of their ids. A transaction that ends something of a job, or
inserts a due row for it, first locks the job and then all due rows of its attempts and outputs. A
transaction that only reschedules its own due row (the poll of a running operation, the renewal of a
lease) locks that row alone. A writer of an attempt or output holds its due row or, without one, its
job: so no transaction waits for a lock on these, and no two wait for each other. News of watched
operations locks attempts alone, in the order of their ids, and passes over those that are locked:
it waits for nobody (`tasks.watch.news`). A submit locks its
account's rule, if there is one, between its due row and its attempt. A job's key stays
unlocked, so events can be inserted meanwhile. What a budget has used is locked last, since all jobs
of a tenant wait for it: see `models.ledger`.

A batch's row is locked alone, by its tally, its cancel and its deletion; no transaction of a job
locks it. Limits are locked by intake, which waits for no job (`models.limits`), and by a tally,
which comes to its lines afterwards.
"""

from collections.abc import Collection, Sequence

from models.database import Connection, fetch_ids
from models.verbs import What

_OF_ATTEMPTS = ", ".join(f"'{what}'" for what in What if what.table == "attempt")
_OF_JOBS = ", ".join(f"'{what}'" for what in What if what.table == "job")
#: All due rows that these jobs may have; deliveries are only created with the final state.
DUE_OF_JOBS = f"""
    SELECT kind AS what, id FROM unnest(%(jobs)s::text[]) AS id, unnest(ARRAY[{_OF_JOBS}]) AS kind
    UNION ALL
    SELECT kind, attempt.id FROM attempt, unnest(ARRAY[{_OF_ATTEMPTS}]) AS kind
    WHERE attempt.job = ANY(%(jobs)s)
    UNION ALL
    SELECT 'store', id FROM output WHERE job = ANY(%(jobs)s)
"""  # noqa: S608 - constants


async def lock_jobs(connection: Connection, jobs: Collection[str]) -> None:
    """Lock jobs, but none of their due rows; must come first in its transaction."""
    if jobs:
        await connection.execute(
            "SELECT id FROM job WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            (sorted(set(jobs)),),
        )


async def lock_whole(connection: Connection, jobs: Collection[str]) -> None:
    """Lock jobs and then all their due rows, which allows any write to them."""
    if not jobs:
        return
    await lock_jobs(connection, jobs)
    # A separate statement, because it must see what the previous lock holders wrote.
    await connection.execute(
        f"""
        SELECT due.id FROM due JOIN ({DUE_OF_JOBS}) AS wanted USING (what, id)
        ORDER BY due.what, due.id FOR UPDATE OF due
        """,  # noqa: S608 - a constant
        {"jobs": sorted(set(jobs))},
    )


async def lock_whole_of(connection: Connection, attempts: Sequence[str]) -> None:
    """Like `lock_whole`, for the jobs of these attempts."""
    await lock_whole(connection, await jobs_of(connection, What.SUBMIT, attempts))


async def jobs_of(connection: Connection, what: What, ids: Sequence[str]) -> list[str]:
    """The jobs of due rows of this kind, by their ids; none of those that lock no job."""
    if what.table == "job":
        return list(ids)
    if what.table in {"delivery", "batch"}:
        return []
    sql = f"SELECT DISTINCT job FROM {what.table} WHERE id = ANY(%s)"  # noqa: S608 - one of two constants
    return await fetch_ids(connection, sql, (list(ids),))
