"""An attempt whose POST has no known answer: looked up, or ended by policy; never sent again."""

import random
from dataclasses import dataclass

import structlog

from models import due
from models.advance import advance_attempts, fail_outputs, tell
from models.database import Connection, fetch_row
from models.failure import Failure, Fault
from models.locks import lock_whole_of
from models.state import FINAL_JOB_STATES, AttemptState
from models.verbs import What
from providers.base import LookUp, can_be_asked
from providers.registry import PROVIDERS
from scheduler.intervals import Backoff
from tasks.engine import Engine
from tasks.outcomes.finish import settle
from tasks.outcomes.replacement import (
    REPLACEMENTS,
    Replacement,
    expected_of,
    marker_of,
    plan_replacement,
)

log = structlog.get_logger()

#: Seconds from the lost answer to the first look-up.
FIRST_LOOK = 1.0
#: Before the next attempt, which may be paid for as well.
BACKOFF = Backoff(base=1.0, ceiling=60.0)
#: Attempts of one job that may be planned one after another, under either policy.
MOST_ATTEMPTS = 5

ABSENT = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the request never reached the provider, as look-ups proved",
)
TOO_MANY = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the provider's answer was lost too many times",
)
SUBMIT_UNKNOWN = Failure(
    fault=Fault.UNKNOWN,
    code="submit_unknown",
    message="the provider's answer was lost: the video may have been paid for, so it was not "
    "asked for again (policy at_most_once)",
)


async def mark_unknown(engine: Engine, attempt: str, reason: str) -> None:
    """Record that a sent attempt may or may not have been accepted. Repeatable."""

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        moved = await advance_attempts(connection, AttemptState.UNKNOWN, [attempt])
        if not moved:
            return
        row = moved[0]
        await due.drop(connection, What.SUBMIT, [attempt])
        await tell(
            connection, "attempt.unknown", [(row["job"], {"attempt": attempt, "reason": reason})]
        )
        wait = await _first_look(engine, connection, attempt, provider=row["provider"])
        if wait is None:
            await settle(engine, connection, await end_by_policy(connection, attempt))
            return
        look = due.Row(id=attempt, lane=row["account"], tenant=row["tenant"], after=wait)
        await due.put(connection, What.LOOK_UP, [look])

    await engine.database.run(work)
    log.warning("attempt.unknown", attempt=attempt, reason=reason)


async def _first_look(
    engine: Engine, connection: Connection, attempt: str, *, provider: str
) -> float | None:
    """Seconds until a look-up, or until its callback is given up; None when neither can come."""
    known = PROVIDERS.get(provider)
    if known is None:
        return FIRST_LOOK  # by a worker of the version that knows this provider
    ways = known.capabilities.look_up
    if can_be_asked(ways):
        return FIRST_LOOK
    if LookUp.CALLBACK in ways and await _has_address(engine, connection, attempt):
        return engine.settings.callback_wait_seconds
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SentAs:
    """What was sent of an attempt; `sent_as` is None for an older version's."""

    callback_base: str | None
    sent_as: str | None


async def _has_address(engine: Engine, connection: Connection, attempt: str) -> bool:
    """Whether a callback address was sent; for an older version's attempt, whether it may have."""
    sql = "SELECT callback_base, sent_as FROM attempt WHERE id = %s"
    sent = await fetch_row(connection, _SentAs, sql, (attempt,))
    if sent is None or sent.sent_as is None:
        return engine.settings.public_url is not None
    return sent.callback_base is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unanswered:
    """An attempt without a known answer, its job's policy, and what a replacement needs."""

    id: str
    job: str
    tenant: str
    provider: str
    account: str
    route: str
    choice: int
    marker: str
    state: str
    unknown_policy: str
    job_is_final: bool
    #: Attempts of the job on this route, and those that have replaced this one.
    attempts: int
    replacements: int
    #: Videos of the whole job.
    videos: int


async def replace_absent(connection: Connection, attempt: str) -> list[str]:
    """Refuse an attempt that look-ups proved absent; its job may send another.

    Returns the jobs that may end with it: the caller settles those of a batch at once, so that
    budgets are locked in order.
    """
    moved = await advance_attempts(
        connection, AttemptState.REFUSED, [attempt], failures={attempt: ABSENT}
    )
    if not moved:
        return []
    row = await _read(connection, attempt)
    if row is None or row.job_is_final:
        return []
    return await _plan_another(connection, row)


async def end_by_policy(connection: Connection, attempt: str) -> list[str]:
    """End an attempt that no look-up can settle: by policy the job fails or sends another.

    Returns the jobs that may end with it, as `replace_absent`.
    """
    row = await _read(connection, attempt)
    if row is None or row.job_is_final or row.state != AttemptState.UNKNOWN:
        return []  # the job has ended, or a callback has just named the operation
    if row.unknown_policy == "at_least_once":
        return await _plan_another(connection, row)
    await fail_outputs(connection, {attempt: SUBMIT_UNKNOWN}, of="attempt")
    return [row.job]


async def _read(connection: Connection, attempt: str) -> _Unanswered | None:
    return await fetch_row(
        connection,
        _Unanswered,
        f"""
        SELECT attempt.id, attempt.job, job.tenant, attempt.provider, attempt.account,
               attempt.route, attempt.choice, attempt.marker, attempt.state, job.unknown_policy,
               job.state = ANY(%s) AS job_is_final,
               (SELECT count(*) FROM attempt AS other
                WHERE other.job = attempt.job AND other.route = attempt.route) AS attempts,
               {REPLACEMENTS.format(of="attempt")} AS replacements,
               (SELECT count(*) FROM output WHERE output.job = attempt.job) AS videos
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = %s
        FOR NO KEY UPDATE OF job, attempt
        """,  # noqa: S608 - a constant
        (list(FINAL_JOB_STATES), attempt),
    )


async def _plan_another(connection: Connection, row: _Unanswered) -> list[str]:
    """A replacement by the same route takes over the videos that the attempt was to make.

    None is planned where no video is expected any more: it would be paid for in vain. Returns the
    job if it may end instead.
    """
    expected = await expected_of(connection, row.id)
    if not expected:
        return []
    if row.attempts >= MOST_ATTEMPTS + row.videos:
        await fail_outputs(connection, {row.id: TOO_MANY}, of="attempt")
        return [row.job]
    new = Replacement(
        of=row.id,
        job=row.job,
        tenant=row.tenant,
        provider=row.provider,
        account=row.account,
        route=row.route,
        choice=row.choice,
        marker=marker_of(row.marker, row.replacements),
        wait=BACKOFF.wait(row.attempts, dice=random.random()),
    )
    another = await plan_replacement(connection, new, expected)
    await tell(connection, "attempt.repeated", [(row.job, {"attempt": another, "after": row.id})])
    return []
