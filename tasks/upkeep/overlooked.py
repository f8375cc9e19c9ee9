"""Ledger entries and usage rows that a worker of an older version left out, during an upgrade."""

from dataclasses import dataclass

from models import ledger, usage
from models.database import Connection, fetch_ids, fetch_row
from models.rows.upkeep import Reached

#: Days after a job's end in which such a worker may have ended it.
_WITHIN_DAYS = 7
#: Jobs of one transaction, in the order of their ends.
_BATCH = 2000
#: SQL: jobs that ended in it are looked at again: an end may be committed after a later one.
_LATEST = "interval '1 minute'"
#: SQL: whether a `job` was not charged; with OFFSET it is asked of one job by an index.
_UNCHARGED = """NOT EXISTS (
    SELECT 1 FROM ledger_entry WHERE ledger_entry.entry_set = 'charge ' || job.id
                                 AND ledger_entry.counts_at = job.created_at OFFSET 0)"""
_NEXT = """
    SELECT id, finished_at FROM job
    WHERE finished_at IS NOT NULL AND (finished_at, id) > (
        greatest((SELECT reached_at FROM upkeep WHERE kind = '{kind}'),
                 now() - {days} * interval '1 day'),
        coalesce((SELECT reached_id FROM upkeep WHERE kind = '{kind}'), ''))
    ORDER BY finished_at, id LIMIT {batch}
"""
#: SQL: the next jobs by their ends, after those already checked; relies on `job_by_end`.
NEXT = _NEXT.format(kind=Reached.CHARGED, days=_WITHIN_DAYS, batch=_BATCH)
#: SQL: the same, for the check of usage rows.
_NEXT_OF_USAGE = _NEXT.format(kind=Reached.USAGE, days=_WITHIN_DAYS, batch=_BATCH)
_REACHED = f"""
INSERT INTO upkeep (kind, reached_at, reached_id)
SELECT '{{kind}}', least(finished_at, recent.at),
       CASE WHEN finished_at < recent.at THEN id ELSE '' END
FROM (SELECT * FROM ({{next}}) AS next ORDER BY finished_at DESC, id DESC LIMIT 1) AS last,
     (SELECT now() - {_LATEST} AS at) AS recent
ON CONFLICT (kind) DO UPDATE SET reached_at = excluded.reached_at, reached_id = excluded.reached_id
WHERE (upkeep.reached_at, upkeep.reached_id) < (excluded.reached_at, excluded.reached_id)
"""  # noqa: S608 - constants


#: SQL: whether more jobs have ended than the `next` ones.
_HAS_MORE = f"""
    (SELECT count(*) = {_BATCH} AND max(finished_at) < now() - {_LATEST} FROM next) AS has_more
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """Of the next jobs by their ends, those that lack something; whether more have ended since."""

    jobs: list[str]
    has_more: bool


async def charge_overlooked(connection: Connection) -> tuple[int, bool]:
    """Charge final jobs that nobody has charged, among those that ended next; idempotent.

    Returns how many were charged, and whether more jobs have ended than were looked at.
    """
    found = await fetch_row(
        connection,
        _Next,
        f"""
        WITH next AS MATERIALIZED ({NEXT}), uncharged AS (
            SELECT job.id FROM next JOIN job USING (id)
            WHERE (job.reserved_micros > 0 OR job.cost_micros > 0) AND {_UNCHARGED}
            ORDER BY job.id FOR NO KEY UPDATE OF job)
        SELECT array(SELECT id FROM uncharged) AS jobs, {_HAS_MORE}
        """,  # noqa: S608 - constants
    )
    assert found is not None  # noqa: S101 - an aggregate
    # A separate statement sees what another run charged while this one waited for the jobs.
    sql = f"SELECT job.id FROM job WHERE job.id = ANY(%s) AND {_UNCHARGED}"  # noqa: S608 - a constant
    jobs = await fetch_ids(connection, sql, (found.jobs,)) if found.jobs else []
    await ledger.charge(connection, jobs)
    await connection.execute(_REACHED.format(kind=Reached.CHARGED, next=NEXT))
    return len(jobs), found.has_more


async def enter_overlooked(connection: Connection) -> tuple[int, bool]:
    """Enter the usage of jobs without a row, among the next jobs by their ends; idempotent.

    Returns how many were entered, and whether more jobs have ended than were looked at.
    """
    found = await fetch_row(
        connection,
        _Next,
        f"""
        WITH next AS MATERIALIZED ({_NEXT_OF_USAGE})
        SELECT array(SELECT job.id FROM next JOIN job USING (id) WHERE NOT EXISTS (
                   SELECT 1 FROM job_usage AS entered
                   WHERE entered.tenant = job.tenant AND entered.created_at = job.created_at
                     AND entered.job = job.id OFFSET 0)) AS jobs, {_HAS_MORE}
        """,  # noqa: S608 - constants
    )
    assert found is not None  # noqa: S101 - an aggregate
    entered = await usage.enter(connection, found.jobs)
    await connection.execute(_REACHED.format(kind=Reached.USAGE, next=_NEXT_OF_USAGE))
    return len(entered), found.has_more
