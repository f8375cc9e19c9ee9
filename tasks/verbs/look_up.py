"""Look up: find the operation of an attempt whose answer was lost, or prove that there is none.

Only an operation with the attempt's unique marker is adopted. The attempt's row, as its sender
wrote it, decides whether finding nothing proves an absence: neither today's settings nor this
worker's timeouts count. Running twice is harmless: it reads, and an attempt leaves `unknown` once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from models import due
from models.advance import tell
from models.database import Connection
from models.rows.attempts import PLAN
from models.rows.jobs import SCENE
from models.state import FINAL_JOB_STATES
from models.verbs import What
from providers.base import Accepted, Found, ProviderError, can_be_asked
from scheduler.claim import Claimed
from scheduler.intervals import NO_CREDENTIALS_WAIT, Backoff
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.ended import ABANDONED_AFTER
from tasks.outcomes.finish import settle
from tasks.outcomes.sent import ABSENT_AFTER, fingerprint
from tasks.outcomes.unknown import end_by_policy, replace_absent
from tasks.rebuild import ask_of, plan_of
from tasks.upstream import NoCredentials
from tasks.verbs.verb import Hold, Verb
from transport.base import TransportError

log = structlog.get_logger()

#: Between two look-ups.
BACKOFF = Backoff(base=2.0, ceiling=60.0)
#: Seconds after the POST for which failing look-ups are retried; then the job's policy ends the
#: attempt.
GIVE_UP_AFTER = 3600.0
#: Complete look-ups in a row that must find nothing, and the seconds between them, at least.
NEGATIVES, NEGATIVES_APART = 2, 10.0
#: Seconds after an absence would count for which look-ups that prove nothing are repeated; then the
#: job's policy ends the attempt.
UNPROVEN_AFTER = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpItem:
    """An attempt that may or may not have been accepted."""

    id: str
    job: str
    account: str
    marker: str
    count: int
    plan: dict[str, Any]
    scene: bytes | None = field(repr=False)
    variation: int | None
    #: Seconds since its POST was sent.
    sent_ago: float
    #: Seconds until a look-up that finds nothing counts; negative once it does.
    counts_in: float
    callback_base: str | None
    sent_as: bytes | None
    #: Look-ups in a row that found nothing and counted, and seconds since the latest ended.
    negatives: int
    negative_ago: float | None
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The result of a look-up that did not find the operation."""

    item: LookUpItem
    found: Found | None = None
    #: Seconds until the next look-up; None when there is none.
    wait: float | None = None
    #: Look-ups in a row that found nothing and counted; None leaves their number as it is.
    negatives: int | None = 0

    @property
    def id(self) -> str:
        return self.item.id

    @property
    def is_absent(self) -> bool:
        """Whether enough look-ups found nothing to prove that there is no operation."""
        return self.wait is None and (self.negatives or 0) >= NEGATIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpVerb(Verb[LookUpItem, Looked]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.LOOK_UP
    concurrency: int = 8
    each: int = 100
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[LookUpItem]:
        rows = await self.engine.database.fetch(
            f"""
            SELECT attempt.id, attempt.job, attempt.account, attempt.marker, attempt.count,
                   {PLAN} AS plan, {SCENE} AS scene, attempt.look_ups AS tries,
                   attempt.callback_base,
                   attempt.sent_as, attempt.negative_looks AS negatives,
                   extract(epoch FROM {ABSENT_AFTER} - now())::float8 AS counts_in,
                   extract(epoch FROM now() - attempt.negative_at)::float8 AS negative_ago,
                   (SELECT min(position) FROM output WHERE output.attempt = attempt.id)
                       AS variation,
                   extract(epoch FROM now() - attempt.sent_at)::float8 AS sent_ago
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state = 'unknown' AND job.erased_at IS NULL
            """,  # noqa: S608 - constants
            ([row.id for row in claimed],),
        )
        return [LookUpItem(**row) for row in rows]

    async def act(self, item: LookUpItem, hold: Hold) -> Looked | None:
        """Ask the provider once; an operation that is found is recorded at once."""
        del hold
        try:
            upstream = self.engine.upstream(item.account)
        except NoCredentials:
            log.warning("look_up.no_credentials", attempt=item.id, account=item.account)
            wait = NO_CREDENTIALS_WAIT if item.sent_ago < ABANDONED_AFTER else None
            return Looked(item=item, wait=wait, negatives=None)
        if not can_be_asked(upstream.provider.capabilities.look_up):
            return Looked(item=item)  # the callback did not come in time
        plan = await plan_of(self.engine, item)
        ask = ask_of(self.engine, item, plan, callback_base=item.callback_base)
        try:
            found = await upstream.look_up(ask)
        except (ProviderError, TransportError) as error:
            log.warning("look_up.failed", attempt=item.id, error=str(error))
            return Looked(item=item, wait=self._wait(item))
        if found.operation_id is not None:
            crash_point("look_up.found")
            log.info("look_up.found", attempt=item.id, operation=found.operation_id)
            await record_accepted(self.engine, item.id, Accepted(operation_id=found.operation_id))
            return None
        return self._missed(item, found)

    def _wait(self, item: LookUpItem) -> float | None:
        return backoff_of(item) if item.sent_ago < GIVE_UP_AFTER else None

    def _missed(self, item: LookUpItem, found: Found) -> Looked:
        """The meaning of an empty result, by the times at which the look-up began."""
        looked = Looked(item=item, found=found)
        if item.counts_in > 0:
            return replace(looked, wait=min(backoff_of(item), item.counts_in + 0.1))
        # Others may hold the credentials that it was sent with, or see the listing whole.
        is_at_home = item.sent_as == fingerprint(self.engine.accounts[item.account])
        if not (is_at_home and found.is_whole):
            is_early = item.counts_in > -UNPROVEN_AFTER
            return replace(looked, wait=backoff_of(item) if is_early else None)
        if not found.is_proof or found.look_alikes:
            return looked
        if item.negative_ago is not None and item.negative_ago < NEGATIVES_APART:
            return replace(looked, wait=NEGATIVES_APART - item.negative_ago, negatives=None)
        negatives = item.negatives + 1
        is_enough = negatives >= NEGATIVES
        return replace(looked, wait=None if is_enough else NEGATIVES_APART, negatives=negatives)

    def jobs(self, results: Sequence[Looked]) -> list[str]:
        return [one.item.job for one in results if one.wait is None]

    async def write(self, connection: Connection, results: Sequence[Looked]) -> None:
        again = {one.id: one.wait for one in results if one.wait is not None}
        await connection.execute(
            """
            UPDATE attempt SET
                look_ups = look_ups + 1, negative_looks = coalesce(new.negatives, negative_looks),
                negative_at = CASE WHEN new.negatives > 0 THEN now()
                                   WHEN new.negatives = 0 THEN NULL ELSE negative_at END
            FROM unnest(%s::text[], %s::int[]) AS new(id, negatives)
            WHERE attempt.id = new.id AND attempt.state = 'unknown'
            """,
            ([one.id for one in results], [one.negatives for one in results]),
        )
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        jobs: list[str] = []
        for one in results:
            if one.wait is None:
                jobs += await self._end(connection, one)
        await settle(self.engine, connection, jobs)

    async def _end(self, connection: Connection, one: Looked) -> list[str]:
        """End an attempt; returns the jobs that may end with it."""
        await due.drop(connection, self.what, [one.id])
        if one.is_absent:
            return await replace_absent(connection, one.id)
        alikes = list(one.found.look_alikes) if one.found else []
        if alikes:
            detail = {"attempt": one.id, "ids": alikes}
            await tell(connection, "attempt.look_alikes", [(one.item.job, detail)])
        return await end_by_policy(connection, one.id)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Leave attempts of ended jobs to the operator two days after they were sent."""
        cursor = await connection.execute(
            """
            SELECT attempt.id FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND job.state = ANY(%s)
              AND attempt.sent_at <= now() - %s * interval '1 second'
            """,
            (list(ids), list(FINAL_JOB_STATES), ABANDONED_AFTER),
        )
        await due.drop(connection, self.what, [row["id"] for row in await cursor.fetchall()])


def backoff_of(item: LookUpItem) -> float:
    """Seconds before the next look-up of an attempt."""
    return BACKOFF.wait(item.tries, dice=random.random())
