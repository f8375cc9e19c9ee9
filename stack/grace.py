"""How long a worker may take to stop: as long as a paid POST that it may have in flight."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.database import Connection, Database, DatabaseAway
from models.state import What
from providers.registry import PROVIDERS, accounts
from settings import Settings
from tasks.outcomes.estimate import SHARE_OF_ESTIMATE
from tasks.outcomes.sent import ANSWER_MARGIN
from tasks.queue import queue_of

#: How long a worker without a long POST may take to end its work, in seconds.
WORKER_GRACE = 40.0
#: Before its POST an attempt may fetch pictures and make unpaid calls, for about so many seconds.
BEFORE_POST = 30.0
#: How long the question what is in flight may take, in seconds.
ASK_BOUND = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Paid POSTs at one account that were sent and have no answer yet."""

    account: str
    count: int
    #: Within so many seconds the last of them is answered or given up.
    seconds: float
    #: The estimate of what they cost, in millionths of a US dollar.
    at_risk_micros: int


def submit_timeouts(queues: Iterable[str], settings: Settings) -> dict[str, float]:
    """Seconds that a POST may take at each account whose submits come by these queues."""
    taken = frozenset(queues)
    return {
        name: PROVIDERS[account.provider].capabilities.submit_timeout
        or settings.submit_timeout_seconds
        for name, account in accounts(settings).items()
        if queue_of(What.SUBMIT, name) in taken
    }


def stop_grace(queues: Iterable[str], settings: Settings) -> float:
    """Seconds that a worker on these queues may take to stop, when it has begun an attempt."""
    longest = max(submit_timeouts(queues, settings).values(), default=0.0)
    return max(WORKER_GRACE, BEFORE_POST + longest + ANSWER_MARGIN if longest else 0.0)


async def in_flight(settings: Settings, queues: Iterable[str]) -> list[InFlight] | None:
    """What workers on these queues have in flight, by account; None when it can't be told."""
    timeouts = submit_timeouts(queues, settings)
    if not timeouts:
        return []
    database = Database(settings.require_database(), connections=2, timeout=ASK_BOUND)

    async def work(connection: Connection) -> list[InFlight]:
        cursor = await connection.execute(
            _IN_FLIGHT, {"accounts": list(timeouts), "timeouts": list(timeouts.values())}
        )
        return [InFlight(**row) for row in await cursor.fetchall()]

    try:
        async with asyncio.timeout(ASK_BOUND):
            return await database.run(work)
    except (DatabaseAway, TimeoutError):
        return None
    finally:
        await database.close()


def waiting_words(name: str, flying: Sequence[InFlight]) -> str:
    """What a worker that is to stop is waited for, and what it costs not to wait."""
    seconds = max(each.seconds for each in flying)
    return (
        f"{name}: {_what(flying)}, up to {seconds:.0f} s; press Ctrl-C again to stop now: "
        "they may be billed and end as submit_unknown"
    )


def cut_off_words(flying: Sequence[InFlight] | None) -> str:
    """What a stop at once has cost."""
    if flying is None:
        return "Stopped at once; the database does not tell what was in flight."
    if not flying:
        return "Stopped at once; no paid request was in flight."
    dollars = sum(each.at_risk_micros for each in flying) / 1_000_000
    return (
        f"Stopped at once, with {_what(flying)}: up to ${dollars:.2f} may be billed for what ends "
        "as submit_unknown (longtake reconcile list)"
    )


def _what(flying: Sequence[InFlight]) -> str:
    count = sum(each.count for each in flying)
    places = ", ".join(sorted(each.account for each in flying))
    return f"{count} paid request{'s' if count > 1 else ''} in flight at {places}"


#: An attempt is `sent` from just before its POST until its answer is committed; where nobody renews
#: its lease any more, its worker is gone.
_IN_FLIGHT = f"""
SELECT attempt.account, count(*) AS count,
       greatest(1, max(known.timeout + {ANSWER_MARGIN}
                       - extract(epoch FROM now() - attempt.sent_at)))::float8 AS seconds,
       sum({SHARE_OF_ESTIMATE})::bigint AS at_risk_micros
FROM attempt JOIN job ON job.id = attempt.job
JOIN due ON due.what = 'submit' AND due.id = attempt.id
JOIN unnest(%(accounts)s::text[], %(timeouts)s::float8[]) AS known(account, timeout)
     ON known.account = attempt.account
WHERE attempt.state = 'sent' AND due.lease IS NOT NULL AND due.at > now()
GROUP BY attempt.account ORDER BY attempt.account
"""  # noqa: S608 - a constant
