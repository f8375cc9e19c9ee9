"""Ledger entries that a worker of an older version left out, during an upgrade."""

from models import ledger
from models.database import Connection, fetch_ids

#: Days after a job's end in which such a worker may have ended it.
_WITHIN_DAYS = 7
#: Jobs of one transaction.
_BATCH = 500


async def charge_overlooked(connection: Connection) -> int:
    """Charge final jobs that nobody has charged; returns how many. Idempotent."""
    jobs = await fetch_ids(
        connection,
        """
        SELECT job.id FROM job
        WHERE job.finished_at > now() - %s * interval '1 day'
          AND (job.reserved_micros > 0 OR job.cost_micros > 0)
          AND NOT EXISTS (SELECT 1 FROM ledger_entry
                          WHERE ledger_entry.entry_set = 'charge ' || job.id
                            AND ledger_entry.counts_at = job.created_at)
        ORDER BY job.id LIMIT %s FOR NO KEY UPDATE
        """,
        (_WITHIN_DAYS, _BATCH),
    )
    await ledger.charge(connection, jobs)
    return len(jobs)
