"""Attempts that waited for an account, made due once nothing holds them back any more.

Many thousands may wait, so they are woken in slices, each in a transaction of its own after the one
that ended the wait. An attempt that is missed, since the process ended, is tried again by itself
in at most ten minutes.
"""

from dataclasses import dataclass
from functools import partial

from models.database import Connection, Database, fetch_row
from models.verbs import What

#: Due rows that one transaction wakes.
SLICE = 5000


async def wake(database: Database, account: str) -> None:
    """Make the submits due that wait for an account of the same provider: they may move to it.

    The caller has committed what ended the wait. Running twice is harmless.
    """
    after: str | None = ""
    while after is not None:
        after = await database.run(partial(wake_next, account=account, after=after))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    last: str | None
    number: int


async def wake_next(connection: Connection, *, account: str, after: str) -> str | None:
    """The last id of a slice that is woken; None if it was the last slice.

    Each is back at its place in the queue. A row that somebody works on is left: whoever has it
    asks again, with the account's row locked, before it is put off (`tasks.outcomes.waits`).
    """
    row = await fetch_row(
        connection,
        _Slice,
        """
        WITH ours AS (
            SELECT due.what, due.id, least(attempt.due_since, now()) AS since
            FROM due JOIN attempt ON attempt.id = due.id
            WHERE due.what = %(what)s AND due.id > %(after)s AND due.lease IS NULL
              AND attempt.state = 'planned' AND attempt.parked_at IS NULL
              AND attempt.waits_for IS NOT NULL
              AND split_part(due.lane, ':', 1) = split_part(%(account)s, ':', 1)
            ORDER BY due.id LIMIT %(most)s FOR UPDATE OF due SKIP LOCKED
        ), woken AS (
            UPDATE due SET at = ours.since FROM ours
            WHERE due.what = ours.what AND due.id = ours.id RETURNING due.id)
        SELECT max(id) AS last, count(*) AS number FROM woken
        """,
        {"what": What.SUBMIT, "account": account, "after": after, "most": SLICE},
    )
    return row.last if row and row.number == SLICE else None
