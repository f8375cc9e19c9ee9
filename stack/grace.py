"""Time that a worker gets to stop: as long as its longest paid POST may take."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.database import Connection, Database, DatabaseAway
from models.estimate import SHARE_OF_ESTIMATE
from models.verbs import What
from providers.registry import PROVIDERS, accounts
from settings import Settings
from tasks.outcomes.sent import ANSWER_MARGIN
from tasks.routing import queue_of

#: Time for a worker without a long POST to finish its work, in seconds.
WORKER_GRACE = 40.0
#: Time for reading pictures and for unpaid calls before an attempt's POST, in seconds.
BEFORE_POST = 30.0
#: Timeout of the query for POSTs in flight, in seconds.
ASK_BOUND = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Paid POSTs at one account that were sent and not yet answered."""

    account: str
    count: int
    #: Seconds until the last of them is answered or times out.
    seconds: float
    #: Their estimated cost, in millionths of a US dollar.
    at_risk_micros: int


def submit_timeouts(queues: Iterable[str], settings: Settings) -> dict[str, float]:
    """Timeout of a POST in seconds, for each account whose submits use these queues."""
    taken = frozenset(queues)
    return {
        name: PROVIDERS[account.provider].capabilities.submit_timeout
        or settings.submit_timeout_seconds
        for name, account in accounts(settings).items()
        if queue_of(What.SUBMIT, name) in taken
    }


def stop_grace(queues: Iterable[str], settings: Settings) -> float:
    """Seconds that a worker on these queues gets to stop."""
    longest = max(submit_timeouts(queues, settings).values(), default=0.0)
    return max(WORKER_GRACE, BEFORE_POST + longest + ANSWER_MARGIN if longest else 0.0)


async def in_flight(settings: Settings, queues: Iterable[str]) -> list[InFlight] | None:
    """POSTs in flight on these queues, by account; None if the database is unavailable."""
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


def waiting_message(name: str, flying: Sequence[InFlight]) -> str:
    """What a stopping worker waits for, and the price of a second Ctrl-C."""
    seconds = max(each.seconds for each in flying)
    return (
        f"{name}: waiting up to {seconds:.0f} s for {_what(flying)}; press Ctrl-C again to stop "
        "now: they may be billed and end as submit_unknown"
    )


def cut_off_message(flying: Sequence[InFlight] | None) -> str:
    """The price of a stop that did not wait."""
    if flying is None:
        return "Stopped at once; the database is unavailable, so what was in flight is not known."
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


#: An attempt is `sent` from just before its POST until its answer is committed. Once its lease has
#: expired, its worker is gone.
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
