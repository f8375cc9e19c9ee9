"""Reconcile: attempts that may have cost money unknown to us, and how an operator settles them.

Of an unknown one nobody has the operation's id; of a lost one its provider denies it, and nobody
waits for its videos any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models import due
from models.database import Connection
from models.failure import RequestRefused
from models.locks import lock_whole_of
from models.state import What
from providers.base import Accepted, can_be_asked
from providers.registry import capabilities_of
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.estimate import SHARE_OF_ESTIMATE
from tasks.outcomes.evidence import owner_of
from tasks.outcomes.sent import ABSENT_AFTER
from tasks.outcomes.unknown import replace_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """An attempt whose POST has no known answer, or whose operation its provider denies."""

    id: str
    #: `unknown` or `lost`.
    kind: str
    job: str
    tenant: str
    account: str
    route: str
    marker: str
    sent_at: datetime
    #: From when on finding nothing counts, and how many look-ups in a row have found nothing since.
    absent_after: datetime
    negative_looks: int
    job_state: str
    #: The estimate of what it would have cost, in millionths of a US dollar.
    at_risk_micros: int
    #: Whether a look-up, or of a lost one a poll, is still due.
    is_looked_up: bool
    #: How its provider could be asked.
    ways: tuple[str, ...]


async def doubtful(connection: Connection) -> list[Doubtful]:
    """Every unknown and every lost attempt, the oldest first."""
    cursor = await connection.execute(
        f"""
        SELECT attempt.id, CASE attempt.state WHEN 'unknown' THEN 'unknown' ELSE 'lost' END AS kind,
               attempt.job, job.tenant, attempt.account, attempt.route, attempt.marker,
               attempt.sent_at, {ABSENT_AFTER} AS absent_after, attempt.negative_looks,
               job.state AS job_state, attempt.provider,
               {SHARE_OF_ESTIMATE} AS at_risk_micros,
               EXISTS (SELECT 1 FROM due WHERE due.what IN ('look_up', 'poll')
                       AND due.id = attempt.id) AS is_looked_up
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.state = 'unknown'
           OR (attempt.state = 'accepted' AND attempt.denied_since IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM output WHERE output.attempt = attempt.id
                               AND output.state = 'expected'))
        ORDER BY attempt.id
        """  # noqa: S608 - a constant
    )
    return [_doubtful(row) for row in await cursor.fetchall()]


def _doubtful(row: dict[str, Any]) -> Doubtful:
    ways = capabilities_of(row.pop("provider")).look_up
    return Doubtful(**row, ways=tuple(str(way) for way in ways))


async def look_up_again(connection: Connection, attempts: list[str]) -> int:
    """Make unknown attempts due to be looked up now, and lost ones to be polled; how many."""
    await lock_whole_of(connection, attempts)
    polled = await connection.execute(
        """
        UPDATE due SET at = least(at, now()) FROM attempt
        WHERE due.what = 'poll' AND due.id = ANY(%s) AND due.lease IS NULL
          AND attempt.id = due.id AND attempt.denied_since IS NOT NULL
        """,
        (attempts,),
    )
    cursor = await connection.execute(
        """
        SELECT attempt.id, attempt.account, job.tenant, attempt.provider
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.id = ANY(%s) AND attempt.state = 'unknown'
        """,
        (attempts,),
    )
    rows = [
        due.Row(id=row["id"], lane=row["account"], tenant=row["tenant"])
        for row in await cursor.fetchall()
        if can_be_asked(capabilities_of(row["provider"]).look_up)
    ]
    await due.put(connection, What.LOOK_UP, rows)
    return len(rows) + polled.rowcount


async def settle_accepted(engine: Engine, attempt: str, operation_id: str) -> None:
    """The operator found the operation at the provider: it is adopted and polled.

    It is evidence, so the attempt may be in any state; nobody may use one operation for two.

    Raises:
        RequestRefused: there is no such attempt, or another one has the operation.
    """
    rows = await engine.database.fetch("SELECT account FROM attempt WHERE id = %s", (attempt,))
    if not rows:
        msg = f"there is no attempt {attempt}"
        raise RequestRefused(msg, param="attempt")
    account = rows[0]["account"]
    owner = await engine.database.run(lambda on: owner_of(on, account, operation_id))
    if owner not in {None, attempt}:
        msg = f"operation {operation_id} is attempt {owner}'s; name one that no attempt has"
        raise RequestRefused(msg, param="operation")
    await record_accepted(engine, attempt, Accepted(operation_id=operation_id))


async def settle_absent(engine: Engine, attempt: str) -> None:
    """The operator found that the provider took nothing.

    Raises:
        RequestRefused: the attempt is not unknown.
    """
    await _must_be_unknown(engine, attempt)

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        await due.drop(connection, What.LOOK_UP, [attempt])
        await replace_absent(engine, connection, attempt)

    await engine.database.run(work)


async def _must_be_unknown(engine: Engine, attempt: str) -> None:
    rows = await engine.database.fetch("SELECT state FROM attempt WHERE id = %s", (attempt,))
    state = rows[0]["state"] if rows else "not there"
    if state != "unknown":
        msg = f"attempt {attempt} is {state}; only an unknown one can be settled"
        raise RequestRefused(msg, param="attempt")
