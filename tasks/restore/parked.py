"""Parked attempts: those that may have been sent before a restore, and how each is resolved.

A parked attempt is planned, and due in ten years. If its provider can look up our marker, it is due
at once for a look-up: if found, its operation is adopted; if proven absent twice, it is released
and sent. If no look-up is possible, an operator releases, settles or fails it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from models import due
from models.advance import advance_attempts, fail_outputs, tell
from models.database import Connection
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Failure, Fault, RequestRefused
from models.high_water import FAR_SECONDS, known_accounts, known_fingerprints
from models.ids import marker_after
from models.locks import lock_whole_of
from models.state import AttemptState
from models.verbs import What
from providers.base import Accepted, Found, LookUp, ProviderError, can_be_asked
from providers.registry import provider_of
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import settle as settle_jobs
from tasks.outcomes.sent import fingerprint
from tasks.outcomes.unknown import MOST_ATTEMPTS
from tasks.rebuild import Sendable, ask_of, plan_of
from transport.base import TransportError

log = structlog.get_logger()

#: Number of look-ups that must prove the absence before a parked attempt is released.
LOOKS = 2
#: Delay between two look-ups, and before a failed one is retried, in seconds.
LOOKS_APART, RETRY_AFTER = 10.0, 60.0
#: How long after the parking a look-up proves absence at the earliest, in seconds: by then no POST
#: sent before the restore is still in flight, whatever its sender's timeouts.
ABSENT_AFTER = 1800.0
#: How long failed look-ups are retried before the decision is left to an operator, in seconds.
GIVE_UP_AFTER = 86_400.0

MAYBE_PAID = Failure(
    fault=Fault.UNKNOWN,
    code="submit_unknown",
    message="the database was restored to an earlier time, so the video may already have been paid "
    "for; the request was not sent again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A planned attempt that may have been sent."""

    id: str
    job: str
    tenant: str
    account: str
    route: str
    marker: str
    created_at: datetime
    parked_at: datetime
    #: Estimated cost of sending it again, in millionths of a US dollar.
    at_risk_micros: int
    #: Look-ups that proved its absence, and whether another is scheduled.
    looks: int
    is_looked_up: bool


class ParkedItem(Sendable, Protocol):
    """The fields that a look-up of a parked attempt needs."""

    @property
    def job(self) -> str: ...
    @property
    def parked_ago(self) -> float | None: ...
    @property
    def parked_looks(self) -> int: ...
    @property
    def has_fallbacks(self) -> bool: ...


# -- looking --------------------------------------------------------------------------------------


async def look_for(engine: Engine, item: ParkedItem, *, lease: str) -> None:
    """Look up a parked attempt at its provider, and act on the answer."""
    ago = item.parked_ago or 0.0
    if not _can_be_looked_up(engine, item.account):
        await _postpone(engine, item, lease, wait=FAR_SECONDS)
        return
    try:
        account, found = await _found_at(engine, item)
    except (ProviderError, TransportError) as error:
        is_over = ago > GIVE_UP_AFTER
        log.warning("parked.look_up_failed", attempt=item.id, error=str(error), ended=is_over)
        await _postpone(engine, item, lease, wait=FAR_SECONDS if is_over else RETRY_AFTER)
        return
    if found.operation_id is not None:
        log.info("parked.found", attempt=item.id, operation=found.operation_id, account=account)
        if account != item.account:
            await _pin(engine, item, account, lease=lease)
        await record_accepted(engine, item.id, Accepted(operation_id=found.operation_id))
    elif item.has_fallbacks or not (  # another model may have made its videos since the backup
        _is_proof(engine, item.account, found)
        and await _has_only_our_credentials(engine, item.account)
        and not await _has_siblings(engine, item.account)
    ):
        log.warning("parked.for_the_operator", attempt=item.id, alikes=found.look_alikes)
        await _postpone(engine, item, lease, wait=FAR_SECONDS)
    elif (too_early := ABSENT_AFTER - ago) > 0:
        await _postpone(engine, item, lease, wait=min(too_early + 0.1, RETRY_AFTER))
    elif item.parked_looks + 1 < LOOKS:
        await _postpone(
            engine, item, lease, wait=_until_next_look_up(), looks=item.parked_looks + 1
        )
    else:
        log.info("parked.absent", attempt=item.id)
        await _release_held(engine, item, lease)


def _can_be_looked_up(engine: Engine, account: str) -> bool:
    if account not in engine.accounts:
        return False
    return can_be_asked(engine.provider(account).capabilities.look_up)


async def _found_at(engine: Engine, item: ParkedItem) -> tuple[str, Found]:
    """Look up the attempt at its account, then at others of its provider: it may have moved."""
    provider = provider_of(item.account)
    others = (name for name in engine.accounts if provider_of(name) == provider)
    own = await _found(engine, item, item.account)
    if own.operation_id is None:
        for other in sorted(set(others) - {item.account}):
            found = await _found(engine, item, other)
            if found.operation_id is not None:
                return other, found
    return item.account, own


async def _found(engine: Engine, item: ParkedItem, account: str) -> Found:
    """Look up the attempt's operation, or that of an attempt that replaced it after the backup."""
    upstream = engine.upstream(account)
    # The callback URL that was sent is lost; an operation found by today's URL is still its own.
    plan = await plan_of(engine, item)
    ask = ask_of(engine, item, plan, callback_base=engine.settings.public_url)
    found = Found(operation_id=None)
    for _ in range(MOST_ATTEMPTS):
        found = await upstream.look_up(ask)
        if found.operation_id is not None or not _is_proof(engine, account, found):
            return found
        ask = replace(ask, marker=marker_after(ask.marker))
    return found


async def _pin(engine: Engine, item: ParkedItem, account: str, *, lease: str) -> None:
    """Pin a parked attempt to the account that sent it."""

    async def work(connection: Connection) -> None:
        if not await due.hold(connection, What.SUBMIT, [item.id], lease=lease, jobs=[item.job]):
            return
        cursor = await connection.execute(
            """
            UPDATE attempt SET account = %s FROM job
            WHERE attempt.id = %s AND attempt.state = 'planned' AND parked_at IS NOT NULL
              AND job.id = attempt.job
            RETURNING job.tenant
            """,
            (account, item.id),
        )
        if (row := await cursor.fetchone()) is None:
            return
        await due.drop(connection, What.SUBMIT, [item.id])
        moved = due.Row(id=item.id, lane=account, tenant=row["tenant"], after=RETRY_AFTER)
        await due.put(connection, What.SUBMIT, [moved])

    await engine.database.run(work)


def _is_proof(engine: Engine, account: str, found: Found) -> bool:
    """Whether an empty look-up proves absence: only if the provider searches by external id.

    Every POST carries an external id. Searching a listing needs the callback URL, and the restored
    database no longer has whether the POST carried one.
    """
    ways = engine.provider(account).capabilities.look_up
    return LookUp.EXTERNAL_ID in ways and found.is_proof and not found.look_alikes


async def _has_only_our_credentials(engine: Engine, account: str) -> bool:
    """Whether the account never had other credentials than the current ones."""
    ours = fingerprint(engine.accounts[account]).hex()
    return [ours] == await engine.database.run_statement(
        lambda connection: known_fingerprints(connection, account)
    )


async def _has_siblings(engine: Engine, account: str) -> bool:
    """Whether its provider has or had other accounts: the attempt may have moved to one of them."""
    told = await engine.database.run_statement(known_accounts)
    provider = provider_of(account)
    return any(
        provider_of(name) == provider and name != account for name in [*engine.accounts, *told]
    )


def _until_next_look_up() -> float:
    return LOOKS_APART * (1 + 0.2 * random.random())


async def _postpone(
    engine: Engine, item: ParkedItem, lease: str, *, wait: float, looks: int | None = None
) -> None:
    async def work(connection: Connection) -> None:
        if not await due.hold(connection, What.SUBMIT, [item.id], lease=lease):
            return
        await due.put_back(connection, What.SUBMIT, [item.id], after=[wait])
        await connection.execute(
            "UPDATE attempt SET parked_looks = coalesce(%s, parked_looks) WHERE id = %s",
            (looks, item.id),
        )

    await engine.database.run(work)


async def _release_held(engine: Engine, item: ParkedItem, lease: str) -> None:
    async def work(connection: Connection) -> None:
        ours = await due.hold(connection, What.SUBMIT, [item.id], lease=lease, jobs=[item.job])
        if ours:
            await release(connection, [item.id])

    await engine.database.run(work)


# -- the operator ---------------------------------------------------------------------------------


async def parked(connection: Connection) -> list[Parked]:
    """Every parked attempt, oldest first."""
    cursor = await connection.execute(
        f"""
        SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.route, attempt.marker,
               attempt.created_at, attempt.parked_at, attempt.parked_looks AS looks,
               {SHARE_OF_ESTIMATE} AS at_risk_micros,
               EXISTS (SELECT 1 FROM due WHERE due.what = 'submit' AND due.id = attempt.id
                       AND due.at < now() + interval '1 day') AS is_looked_up
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.state = 'planned' AND attempt.parked_at IS NOT NULL ORDER BY attempt.id
        """  # noqa: S608 - a constant
    )
    return [Parked(**row) for row in await cursor.fetchall()]


async def release(connection: Connection, attempts: Sequence[str]) -> list[str]:
    """Release parked attempts that were never sent, so that they are sent; returns their ids.

    Those of a batch's held lines are sent once their lines are released.
    """
    await lock_whole_of(connection, attempts)
    cursor = await connection.execute(
        """
        UPDATE attempt SET parked_at = NULL, parked_looks = 0 FROM job
        WHERE attempt.id = ANY(%s) AND attempt.state = 'planned' AND parked_at IS NOT NULL
          AND job.id = attempt.job
        RETURNING attempt.id, attempt.job, attempt.account, job.tenant,
                  EXISTS (SELECT FROM due WHERE what = 'expire' AND due.id = job.id
                          AND due.lane = %s) AS is_held
        """,
        (list(attempts), due.HELD_LANE),
    )
    rows = await cursor.fetchall()
    ids = sorted(row["id"] for row in rows)
    again = [
        due.Row(
            id=row["id"],
            lane=row["account"],
            tenant=row["tenant"],
            after=FAR_SECONDS if row["is_held"] else 0.0,
        )
        for row in rows
    ]
    await due.put(connection, What.SUBMIT, again)
    await tell(connection, "attempt.released", [(r["job"], {"attempt": r["id"]}) for r in rows])
    return ids


async def settle(engine: Engine, attempt: str, operation_id: str) -> None:
    """Adopt and poll the operation that an operator found at the provider.

    Raises:
        RequestRefused: the attempt is not parked.
    """
    rows = await engine.database.run(parked)
    if attempt not in {row.id for row in rows}:
        msg = f"attempt {attempt} is not parked; `longtake restore list` shows the parked attempts"
        raise RequestRefused(msg, param="attempt")
    await record_accepted(engine, attempt, Accepted(operation_id=operation_id))


async def fail(engine: Engine, connection: Connection, attempts: Sequence[str]) -> list[str]:
    """Fail parked attempts as `submit_unknown`: they may have been paid for. Returns their ids."""
    await lock_whole_of(connection, attempts)
    cursor = await connection.execute(
        """
        SELECT id FROM attempt
        WHERE id = ANY(%s) AND state = 'planned' AND parked_at IS NOT NULL
        """,
        (list(attempts),),
    )
    failures = {row["id"]: MAYBE_PAID for row in await cursor.fetchall()}
    moved = await advance_attempts(
        connection, AttemptState.FAILED, sorted(failures), failures=failures
    )
    ids = sorted(row["id"] for row in moved)
    await due.drop_unsent(connection, ids)
    await fail_outputs(connection, dict.fromkeys(ids, MAYBE_PAID), of="attempt")
    await settle_jobs(engine, connection, [row["job"] for row in moved])
    return ids
