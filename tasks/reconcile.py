"""Reconcile: attempts that may have cost money unknown to us, and how an operator settles them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models import due
from models.database import Connection
from models.failure import RequestRefused
from models.state import What
from providers.base import Accepted
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.verbs.accepted import record_accepted
from tasks.verbs.unknown import replace_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """An attempt whose POST has no known answer."""

    id: str
    job: str
    tenant: str
    account: str
    route: str
    marker: str
    sent_at: datetime
    job_state: str
    #: The estimate of what it would have cost, in millionths of a US dollar.
    at_risk_micros: int
    #: Whether a look-up is still due.
    is_looked_up: bool
    #: How its provider could be asked.
    ways: tuple[str, ...]


async def doubtful(connection: Connection) -> list[Doubtful]:
    """Every unknown attempt, the oldest first."""
    cursor = await connection.execute(
        """
        SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.route, attempt.marker,
               attempt.sent_at, job.state AS job_state, attempt.provider,
               (job.estimated_cost_micros * attempt.count
                / greatest(1, (SELECT count(*) FROM output WHERE output.job = job.id)))::bigint
                   AS at_risk_micros,
               EXISTS (SELECT 1 FROM due WHERE due.what = 'look_up' AND due.id = attempt.id)
                   AS is_looked_up
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.state = 'unknown' ORDER BY attempt.id
        """
    )
    return [_doubtful(row) for row in await cursor.fetchall()]


def _doubtful(row: dict[str, Any]) -> Doubtful:
    ways = PROVIDERS[row.pop("provider")].capabilities.look_up
    return Doubtful(**row, ways=tuple(str(way) for way in ways))


async def look_up_again(connection: Connection, attempts: list[str]) -> int:
    """Make unknown attempts due to be looked up now; returns how many."""
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
        if PROVIDERS[row["provider"]].capabilities.look_up
    ]
    await due.put(connection, What.LOOK_UP, rows)
    return len(rows)


async def settle_accepted(engine: Engine, attempt: str, operation_id: str) -> None:
    """The operator found the operation at the provider: it is adopted and polled.

    Raises:
        RequestRefused: the attempt is not unknown.
    """
    await _must_be_unknown(engine, attempt)
    await record_accepted(engine, attempt, Accepted(operation_id=operation_id))


async def settle_absent(engine: Engine, attempt: str) -> None:
    """The operator found that the provider took nothing. Raises as `settle_accepted`."""
    await _must_be_unknown(engine, attempt)

    async def work(connection: Connection) -> None:
        await due.drop(connection, What.LOOK_UP, [attempt])
        await replace_absent(engine, connection, attempt)

    await engine.database.run(work)


async def _must_be_unknown(engine: Engine, attempt: str) -> None:
    rows = await engine.database.fetch("SELECT state FROM attempt WHERE id = %s", (attempt,))
    state = rows[0]["state"] if rows else "not there"
    if state != "unknown":
        msg = f"attempt {attempt} is {state}; only an unknown one can be settled"
        raise RequestRefused(msg, param="attempt")
