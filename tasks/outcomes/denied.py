"""Operations that their provider denies: when one is lost, and when only its edge fails."""

from collections.abc import Sequence

from models.database import Database
from scheduler.intervals import lost_after

#: Denials in a row after which an operation may be lost.
GONE_AFTER = 5
#: Seconds within which an account must have reported on another operation: two polls far apart.
RECENTLY = 120.0
#: Newest attempts among which successes show that an account answers.
_NEWEST = 2000


def is_lost(
    *,
    looks: int,
    denied_for: float,
    answered_ago: float | None,
    typical: float,
    cost_micros: int,
) -> bool:
    """Whether denials went on for long enough while its account answered for other operations.

    `looks` are denials in a row; `denied_for` and `answered_ago` are the seconds since the first of
    them and since the account last reported on any operation. While an account denies all its
    operations, the account or the provider's edge is at fault, and only the deadline ends a job.
    """
    answers_others = answered_ago is not None and answered_ago < min(denied_for, RECENTLY)
    patience = lost_after(typical=typical, cost_micros=cost_micros)
    return looks >= GONE_AFTER and answers_others and denied_for >= patience


async def answered_ago(database: Database, accounts: Sequence[str]) -> dict[str, float]:
    """Seconds since accounts last reported an operation as running or succeeded."""
    rows = await database.fetch(
        """
        SELECT account, extract(epoch FROM now() - max(seen))::float8 AS ago FROM (
            SELECT attempt.account, attempt.seen_at AS seen
            FROM due JOIN attempt ON attempt.id = due.id
            WHERE due.what = 'poll' AND due.lane = ANY(%(accounts)s)
            UNION ALL
            SELECT account, finished_at FROM (
                SELECT account, state, finished_at FROM attempt
                ORDER BY id DESC LIMIT %(newest)s) AS latest
            WHERE state = 'succeeded' AND account = ANY(%(accounts)s)
            UNION ALL
            SELECT key, beat - value::float8 * interval '1 second'
            FROM holder, jsonb_each_text(answered) WHERE key = ANY(%(accounts)s)) AS told
        WHERE seen IS NOT NULL GROUP BY account
        """,
        {"accounts": list(accounts), "newest": _NEWEST},
    )
    return {row["account"]: row["ago"] for row in rows}
