"""Reconcile: lists attempts with unrecorded cost, and lets an operator settle them.

An unknown attempt has no operation id. A lost attempt has one, which its provider denies, and no
output of it is expected any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models import due, holders
from models.database import Connection, fetch_ids, fetch_rows
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import RequestRefused
from models.locks import lock_whole_of
from models.state import AttemptState
from models.verbs import What
from providers.base import Accepted, can_be_asked
from providers.registry import capabilities_of
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.evidence import owner_of
from tasks.outcomes.finish import settle
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
    #: Look-ups that begin later count as proof of absence; how many of them have found nothing.
    absent_after: datetime
    negative_looks: int
    job_state: str
    #: Its estimated cost, in millionths of a US dollar.
    at_risk_micros: int
    #: Whether a look-up (for a lost attempt: a poll) is still due.
    is_looked_up: bool
    #: The provider's means of look-up.
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unknown:
    """An unknown attempt, and what a due row of it needs."""

    id: str
    account: str
    tenant: str
    provider: str


async def doubtful(connection: Connection) -> list[Doubtful]:
    """Every unknown and every lost attempt, the oldest first."""
    return await fetch_rows(
        connection,
        _doubtful,
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
        """,  # noqa: S608 - a constant
    )


def _doubtful(*, provider: str, **columns: Any) -> Doubtful:
    ways = capabilities_of(provider).look_up
    return Doubtful(**columns, ways=tuple(str(way) for way in ways))


async def look_up_again(connection: Connection, attempts: list[str]) -> int:
    """Make unknown attempts due for a look-up now, and lost ones for a poll; returns how many.

    A look-up compares what was asked for, so there is none of an erased job's attempts.
    """
    await lock_whole_of(connection, attempts)
    polled = await connection.execute(
        """
        UPDATE due SET at = least(at, now()) FROM attempt
        WHERE due.what = 'poll' AND due.id = ANY(%s) AND due.lease IS NULL
          AND attempt.id = due.id AND attempt.denied_since IS NOT NULL
        """,
        (attempts,),
    )
    await holders.nudge(connection, attempts)
    unknown = await fetch_rows(
        connection,
        _Unknown,
        """
        SELECT attempt.id, attempt.account, job.tenant, attempt.provider
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.id = ANY(%s) AND attempt.state = 'unknown' AND job.erased_at IS NULL
        """,
        (attempts,),
    )
    rows = [
        due.Row(id=attempt.id, lane=attempt.account, tenant=attempt.tenant)
        for attempt in unknown
        if can_be_asked(capabilities_of(attempt.provider).look_up)
    ]
    await due.put(connection, What.LOOK_UP, rows)
    return len(rows) + polled.rowcount


async def settle_accepted(engine: Engine, attempt: str, operation_id: str) -> None:
    """Adopt the operation that the operator found at the provider; it is then polled.

    It is evidence, so the attempt may be in any state; an operation belongs to one attempt only.

    Raises:
        RequestRefused: the attempt does not exist, or another attempt has the operation.
    """
    sql = "SELECT account FROM attempt WHERE id = %s"
    accounts = await engine.database.run_statement(lambda on: fetch_ids(on, sql, (attempt,)))
    if not accounts:
        msg = f"there is no attempt {attempt}"
        raise RequestRefused(msg, param="attempt")
    owner = await engine.database.run(lambda on: owner_of(on, accounts[0], operation_id))
    if owner not in {None, attempt}:
        msg = f"operation {operation_id} already belongs to attempt {owner}"
        raise RequestRefused(msg, param="operation")
    await record_accepted(engine, attempt, Accepted(operation_id=operation_id))


async def settle_absent(engine: Engine, attempt: str) -> None:
    """Record the operator's finding that the provider did not accept the attempt.

    Raises:
        RequestRefused: the attempt is not unknown.
    """
    await _must_be_unknown(engine, attempt)

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        await due.drop(connection, What.LOOK_UP, [attempt])
        await settle(engine, connection, await replace_absent(connection, attempt))

    await engine.database.run(work)


async def _must_be_unknown(engine: Engine, attempt: str) -> None:
    sql = "SELECT state FROM attempt WHERE id = %s"
    states = await engine.database.run_statement(lambda on: fetch_ids(on, sql, (attempt,)))
    if states != [AttemptState.UNKNOWN]:
        state = states[0] if states else "missing"
        msg = f"attempt {attempt} is {state}; only an unknown one can be settled"
        raise RequestRefused(msg, param="attempt")
