"""Cancel: stop an operation upstream whose job has ended without it.

Running twice is harmless: a provider that already stopped it answers that it is gone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from models import due
from models.advance import advance_attempts
from models.database import Connection
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Fault
from models.state import AttemptState
from models.verbs import What
from providers.base import ProviderError
from scheduler.claim import Claimed
from scheduler.intervals import NO_CREDENTIALS_WAIT, Backoff
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.outcomes.ended import ABANDONED_AFTER
from tasks.upstream import NoCredentials
from tasks.verbs.verb import Hold, Verb
from transport.base import TransportError

log = structlog.get_logger()

#: Tries before the operation is left running, and polled for its cost; and denials in a row that
#: are believed, for which it is tried beyond that.
TRIES = 6
#: Between two tries; all of them take one to two minutes, longer than an edge usually stumbles.
BACKOFF = Backoff(base=4.0, ceiling=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelItem:
    """An accepted operation of a job that has ended."""

    id: str
    job: str
    tenant: str
    account: str
    operation_id: str
    estimate: int
    #: Tries that failed, and the latest of them that were denials.
    faults: int
    denials: int
    #: Seconds since it was accepted.
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Whether the provider stopped the operation, and when to retry if not."""

    item: CancelItem
    done: bool
    cost_micros: int = 0
    #: None hands the operation back to polling.
    wait: float | None = None
    #: Whether this try counts against `TRIES`.
    counts: bool = True
    #: Whether the provider knows no such operation.
    is_denied: bool = False

    @property
    def id(self) -> str:
        return self.item.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Verb[CancelItem, Stopped]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.CANCEL
    concurrency: int = 8
    each: int = 100
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[CancelItem]:
        rows = await self.engine.database.fetch(
            f"""
            SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.operation_id,
                   {SHARE_OF_ESTIMATE} AS estimate, attempt.cancel_faults AS faults,
                   attempt.cancel_denials AS denials,
                   extract(epoch FROM now() - attempt.accepted_at)::float8 AS elapsed
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state = 'accepted'
            """,  # noqa: S608 - a constant
            ([row.id for row in claimed],),
        )
        return [CancelItem(**row) for row in rows]

    async def act(self, item: CancelItem, hold: Hold) -> Stopped:
        del hold
        try:
            upstream = self.engine.upstream(item.account)
        except NoCredentials:
            log.warning("cancel.no_credentials", attempt=item.id, account=item.account)
            # An account that is gone for good leaves it to polling, which gives it up.
            wait = NO_CREDENTIALS_WAIT if item.elapsed < ABANDONED_AFTER else None
            return self._later(item, wait, counts=False)
        stopped = Stopped(
            item=item,
            done=True,
            cost_micros=round(item.estimate * upstream.provider.capabilities.cancelled_costs),
        )
        try:
            await upstream.cancel(item.operation_id)
        except ProviderError as error:
            # An edge that denies everything for a while must not leave a paid operation running.
            is_denied = error.failure.fault is Fault.GONE
            if is_denied and item.denials + 1 >= TRIES:
                return stopped
            return self._failed(item, str(error), is_denied=is_denied)
        except TransportError as error:
            return self._failed(item, str(error), is_denied=False)
        crash_point("cancel.posted")
        return stopped

    def _failed(self, item: CancelItem, reason: str, *, is_denied: bool) -> Stopped:
        log.warning("cancel.failed", attempt=item.id, error=reason, tries=item.faults + 1)
        # Denials end by themselves: after TRIES in a row they are believed.
        is_last = item.faults + 1 >= TRIES and not is_denied
        wait = None if is_last else BACKOFF.wait(item.faults, dice=random.random())
        return self._later(item, wait, is_denied=is_denied)

    def _later(
        self, item: CancelItem, wait: float | None, *, counts: bool = True, is_denied: bool = False
    ) -> Stopped:
        return Stopped(item=item, done=False, wait=wait, counts=counts, is_denied=is_denied)

    def jobs(self, results: Sequence[Stopped]) -> list[str]:
        return [one.item.job for one in results if one.wait is None]

    async def write(self, connection: Connection, results: Sequence[Stopped]) -> None:
        done = {one.id: one.cost_micros for one in results if one.done}
        again = {one.id: one.wait for one in results if one.wait is not None}
        left = [one for one in results if not one.done and one.wait is None]
        await advance_attempts(connection, AttemptState.CANCELLED, list(done), costs=done)
        # One that is left to polling gets all its tries again, should it be cancelled once more.
        await connection.execute(
            """
            UPDATE attempt
            SET cancel_faults = CASE WHEN id = ANY(%(left)s) THEN 0 ELSE cancel_faults + 1 END,
                cancel_denials = CASE WHEN id = ANY(%(denied)s) THEN cancel_denials + 1 ELSE 0 END
            WHERE id = ANY(%(tried)s)
            """,
            {
                "left": [one.id for one in left],
                "denied": [one.id for one in results if one.is_denied],
                "tried": [one.id for one in results if not one.done and one.counts],
            },
        )
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        await due.drop(connection, self.what, [*done, *(one.id for one in left)])
        await due.put(
            connection,
            What.POLL,
            [due.Row(id=one.id, lane=one.item.account, tenant=one.item.tenant) for one in left],
        )

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Leave operations accepted two days ago to polling, which gives them up."""
        cursor = await connection.execute(
            """
            SELECT attempt.id, account, tenant FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.accepted_at <= now() - %s * interval '1 second'
            """,
            (list(ids), ABANDONED_AFTER),
        )
        rows = await cursor.fetchall()
        await due.drop(connection, self.what, [row["id"] for row in rows])
        await due.put(
            connection,
            What.POLL,
            [due.Row(id=row["id"], lane=row["account"], tenant=row["tenant"]) for row in rows],
        )
