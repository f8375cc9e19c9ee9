"""Look up: find the operation of an attempt whose answer was lost, or prove that there is none.

Only what carries the attempt's unique marker is adopted. Running twice is harmless: it reads, and
an attempt leaves `unknown` once.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from models import due
from models.advance import tell
from models.database import Connection
from models.state import What
from providers.base import Accepted, Found, LookUp, ProviderError
from providers.exchange import converse
from scheduler.claim import Claimed
from scheduler.intervals import ELSEWHERE, backoff
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.verbs.accepted import ask_of, plan_of, record_accepted
from tasks.verbs.ended import ABANDONED_AFTER
from tasks.verbs.unknown import absence_counts_after, end_by_policy, replace_absent
from transport.base import TransportError

log = structlog.get_logger()

#: First and longest wait between two look-ups, in seconds.
RETRY_BASE, RETRY_CEILING = 2.0, 60.0
#: A look-up that brings no answer for so long leaves the attempt to its policy, in seconds.
GIVE_UP_AFTER = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpItem:
    """An attempt that may or may not have been accepted."""

    id: str
    job: str
    account: str
    marker: str
    count: int
    plan: dict[str, Any]
    scene: bytes = field(repr=False)
    variation: int | None
    #: Seconds since its POST was sent.
    sent_ago: float
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look-up showed, when it did not find the operation."""

    id: str
    job: str
    found: Found | None = None
    #: Seconds until the next look; None ends the looking.
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpVerb:
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.LOOK_UP
    concurrency: int = 8
    each: int = 100
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[LookUpItem]:
        rows = await self.engine.database.fetch(
            """
            SELECT attempt.id, attempt.job, attempt.account, attempt.marker, attempt.count,
                   job.plan, job.scene, attempt.poll_faults AS tries,
                   (SELECT min(position) FROM output WHERE output.attempt = attempt.id)
                       AS variation,
                   extract(epoch FROM now() - attempt.sent_at)::float8 AS sent_ago
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state = 'unknown'
            """,
            ([row.id for row in claimed],),
        )
        return [LookUpItem(**row) for row in rows]

    async def act(self, item: LookUpItem, *, lease: str, pace: Pace) -> Looked | None:
        """Ask the provider once; an operation that is found is recorded at once."""
        del lease, pace
        if item.account not in self.engine.accounts:
            log.warning("look_up.no_credentials", attempt=item.id, account=item.account)
            wait = ELSEWHERE if item.sent_ago < ABANDONED_AFTER else None
            return Looked(id=item.id, job=item.job, wait=wait)
        provider = self.engine.provider(item.account)
        if not set(provider.capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}:
            return Looked(id=item.id, job=item.job)  # its callback did not come
        try:
            found = await converse(
                provider.look_up(ask_of(self.engine, item, plan_of(self.engine, item))),
                provider=provider,
                account=self.engine.accounts[item.account],
                client=self.engine.exact,
                now=time.time(),
            )
        except (ProviderError, TransportError) as error:
            log.warning("look_up.failed", attempt=item.id, error=str(error))
            return Looked(id=item.id, job=item.job, wait=self._wait(item))
        if found.operation_id is not None:
            crash_point("look_up.found")
            log.info("look_up.found", attempt=item.id, operation=found.operation_id)
            await record_accepted(self.engine, item.id, Accepted(operation_id=found.operation_id))
            return None
        too_early = absence_counts_after(self.engine, item.account) - item.sent_ago
        if too_early > 0:
            wait = min(backoff_of(item), too_early + 0.1)
            return Looked(id=item.id, job=item.job, wait=wait)
        return Looked(id=item.id, job=item.job, found=found)

    def _wait(self, item: LookUpItem) -> float | None:
        return backoff_of(item) if item.sent_ago < GIVE_UP_AFTER else None

    async def write(self, connection: Connection, results: Sequence[Looked]) -> None:
        again = {one.id: one.wait for one in results if one.wait is not None}
        await connection.execute(
            "UPDATE attempt SET poll_faults = poll_faults + 1 WHERE id = ANY(%s)", (list(again),)
        )
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        for one in results:
            if one.wait is None:
                await self._end(connection, one)

    async def _end(self, connection: Connection, one: Looked) -> None:
        await due.drop(connection, self.what, [one.id])
        if one.found is not None and one.found.is_proof and not one.found.look_alikes:
            await replace_absent(self.engine, connection, one.id)
            return
        alikes = list(one.found.look_alikes) if one.found else []
        if alikes:
            await tell(
                connection, "attempt.look_alikes", [(one.job, {"attempt": one.id, "ids": alikes})]
            )
        await end_by_policy(self.engine, connection, one.id)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nobody can tell: each job's policy decides."""
        await due.drop(connection, self.what, ids)
        for id_ in ids:
            await end_by_policy(self.engine, connection, id_)


def backoff_of(item: LookUpItem) -> float:
    """Seconds before the next look-up of an attempt."""
    return backoff(tries=item.tries, base=RETRY_BASE, ceiling=RETRY_CEILING, dice=random.random())
