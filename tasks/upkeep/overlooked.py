"""Ledger entries that a worker of an older version left out, during an upgrade."""

from models import ledger
from models.database import Connection, fetch_ids

#: Days after a job's end in which such a worker may have ended it.
_WITHIN_DAYS = 7
#: Jobs of one transaction.
_BATCH = 500
#: SQL: whether a `job` was not charged.
_UNCHARGED = """NOT EXISTS (
    SELECT 1 FROM ledger_entry WHERE ledger_entry.entry_set = 'charge ' || job.id
                                 AND ledger_entry.counts_at = job.created_at)"""


async def charge_overlooked(connection: Connection) -> int:
    """Charge final jobs that nobody has charged; returns how many. Idempotent."""
    found = await fetch_ids(
        connection,
        f"""
        SELECT job.id FROM job
        WHERE job.finished_at > now() - %s * interval '1 day'
          AND (job.reserved_micros > 0 OR job.cost_micros > 0) AND {_UNCHARGED}
        ORDER BY job.id LIMIT %s FOR NO KEY UPDATE
        """,  # noqa: S608 - a constant
        (_WITHIN_DAYS, _BATCH),
    )
    # A separate statement sees what another run charged while this one waited for the jobs.
    sql = f"SELECT job.id FROM job WHERE job.id = ANY(%s) AND {_UNCHARGED}"  # noqa: S608 - a constant
    jobs = await fetch_ids(connection, sql, (found,)) if found else []
    await ledger.charge(connection, jobs)
    return len(jobs)
