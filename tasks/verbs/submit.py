"""Submit: pay for one attempt, once.

The order is the promise. `sent` is committed alone just before the POST, the answer alone right
after it; what may have been accepted is never sent again. Running twice is harmless: the second run
finds the attempt no longer planned, and a row found `sent` after its lease had no answer.
"""

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from models import due
from models.advance import advance_attempts, advance_jobs, fail_outputs
from models.database import Connection
from models.failure import Failure, Fault
from models.state import AttemptState, JobState, What
from providers.base import Accepted, ProviderError
from providers.exchange import converse
from scheduler.claim import Claimed
from scheduler.intervals import backoff
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.finish import settle
from tasks.pictures import BadPicture, PictureTrouble, frames_for, inline
from tasks.verbs.accepted import ask_of, plan_of, record_accepted
from tasks.verbs.unknown import mark_unknown
from transport.base import NotSent, Request, Unanswered

log = structlog.get_logger()

#: First and longest wait before an attempt that provably reached nobody is sent, in seconds.
RETRY_BASE, RETRY_CEILING = 1.0, 60.0
#: How long after its time-out a POST's answer may still be on its way to us, in seconds.
ANSWER_MARGIN = 5.0
#: A worker that was stopped for this share of its lease does not begin a POST any more.
FRESH_ENOUGH = 0.5


class NotOurs(Exception):
    """The attempt is no longer ours to send: its lease, its plan or its job has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitItem:
    """A planned attempt, or one that was sent and whose answer nobody recorded."""

    id: str
    job: str
    tenant: str
    state: AttemptState
    account: str
    marker: str
    count: int
    rejections: int
    plan: dict[str, Any]
    scene: bytes = field(repr=False)
    #: Videos that earlier attempts of the job make.
    variation: int | None
    #: Seconds since it was sent; None when it was not.
    sent_ago: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.SUBMIT
    concurrency: int = 16
    each: int = 64
    #: A POST that may cost money is never cut off by us.
    abandons: bool = False

    async def load(self, claimed: Sequence[Claimed]) -> list[SubmitItem]:
        rows = await self.engine.database.fetch(
            """
            SELECT attempt.id, attempt.job, job.tenant, attempt.state, attempt.account,
                   attempt.marker, attempt.count, attempt.rejections, job.plan, job.scene,
                   (SELECT min(position) FROM output WHERE output.attempt = attempt.id)
                       AS variation,
                   extract(epoch FROM now() - attempt.sent_at)::float8 AS sent_ago
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state IN ('planned', 'sent')
            """,
            ([row.id for row in claimed],),
        )
        return [SubmitItem(**{**row, "state": AttemptState(row["state"])}) for row in rows]

    async def act(self, item: SubmitItem, *, lease: str, pace: Pace) -> None:
        """Send one attempt and record what came of it; everything is committed here."""
        if item.state is AttemptState.SENT:
            await self._left_alone(item, lease)
            return
        if item.account not in self.engine.accounts:
            await self._wait(item, lease, f"no credentials for {item.account} on this worker")
            return
        try:
            accepted = await self._post(item, lease)
        except NotOurs:
            return
        except (NotSent, PictureTrouble) as error:
            await self._wait(item, lease, str(error))
        except BadPicture as error:
            await record_unsendable(self.engine, item.id, error.failure)
        except Unanswered as error:
            await mark_unknown(self.engine, item.id, str(error))
        except ProviderError as error:
            await self._answered_with_error(item, lease, error, pace)
        else:
            pace.went_well()
            crash_point("submit.posted")
            await record_accepted(self.engine, item.id, accepted)
            crash_point("submit.answer_committed")

    async def _post(self, item: SubmitItem, lease: str) -> Accepted:
        provider = self.engine.provider(item.account)
        plan = plan_of(self.engine, item)
        frames = await frames_for(self.engine, plan, tenant=item.tenant)
        # A vendor that was turned down by our own address may get the next try without one: a
        # public address that providers can't reach must cost hints, not jobs.
        has_address = not (provider.capabilities.callback_challenged and item.rejections)
        ask = ask_of(self.engine, item, plan, pictures=frames, has_address=has_address)
        if provider.capabilities.inline_pictures:
            ask = await inline(self.engine, ask)

        async def commit_sent(request: Request) -> None:
            began = time.monotonic()
            await self._mark_sent(item, lease, request)
            crash_point("submit.sent_committed")
            if time.monotonic() - began > FRESH_ENOUGH * self.engine.settings.lease_seconds:
                msg = "this worker was stopped for too long to send it"
                raise NotSent(msg)

        return await converse(
            provider.submit(ask),
            provider=provider,
            account=self.engine.accounts[item.account],
            client=self.engine.exact,
            now=time.time(),
            before_paid=commit_sent,
            paid_timeout=self.engine.submit_timeout(item.account),
        )

    async def _left_alone(self, item: SubmitItem, lease: str) -> None:
        """Its worker lost its lease, but may live and still get its answer: wait for that."""
        wait = self.engine.submit_timeout(item.account) + ANSWER_MARGIN - (item.sent_ago or 0.0)
        if wait <= 0:
            await mark_unknown(self.engine, item.id, "the worker that sent it left no answer")
            return

        async def work(connection: Connection) -> None:
            ours = await due.hold(connection, self.what, [item.id], lease=lease)
            await due.put_back(connection, self.what, sorted(ours), after=[wait] * len(ours))

        await self.engine.database.run(work)

    async def _mark_sent(self, item: SubmitItem, lease: str, request: Request) -> None:
        async def work(connection: Connection) -> bool:
            if not await due.hold(connection, self.what, [item.id], lease=lease):
                return False
            cursor = await connection.execute(
                """
                UPDATE attempt SET state = 'sent', sent_at = now(), payload_hash = %s
                WHERE id = %s AND state = 'planned' RETURNING id
                """,
                (payload_hash(request), item.id),
            )
            if not await cursor.fetchone():
                return False
            await advance_jobs(connection, JobState.SUBMITTING, [item.job])
            return True

        if not await self.engine.database.run(work):
            raise NotOurs

    async def _answered_with_error(
        self, item: SubmitItem, lease: str, error: ProviderError, pace: Pace
    ) -> None:
        refusals = self.engine.provider(item.account).capabilities.refusals
        if error.status not in refusals:
            await mark_unknown(self.engine, item.id, f"HTTP {error.status}: {error.failure.code}")
        elif error.failure.fault.may_be_tried_again:
            if error.failure.fault is Fault.RATE:
                pace.was_limited(error.failure.retry_after)
            await self._wait(item, lease, error.failure.code, asked=error.failure.retry_after)
        else:
            await record_refused(self.engine, item.id, error.failure)

    async def _wait(
        self, item: SubmitItem, lease: str, reason: str, *, asked: float | None = None
    ) -> None:
        """It provably reached nobody: planned again, and due later; the deadline ends this."""
        wait = max(
            asked or 0.0,
            backoff(
                tries=item.rejections, base=RETRY_BASE, ceiling=RETRY_CEILING, dice=random.random()
            ),
        )

        async def work(connection: Connection) -> None:
            if not await due.hold(connection, self.what, [item.id], lease=lease):
                return  # another worker may be sending it by now: planned again, it would be twice
            await connection.execute(
                """
                UPDATE attempt SET state = 'planned', sent_at = NULL, payload_hash = NULL,
                                   rejections = rejections + 1
                WHERE id = %s AND state IN ('planned', 'sent')
                """,
                (item.id,),
            )
            await due.put_back(connection, self.what, [item.id], after=[wait])
            await release_if_unwanted(connection, item.id)

        await self.engine.database.run(work)
        log.info(
            "submit.put_off", attempt=item.id, job=item.job, reason=reason, wait=round(wait, 1)
        )

    async def write(self, connection: Connection, results: Sequence[Any]) -> None:
        """Nothing: each answer was committed by itself."""

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """A planned attempt fails; one that was sent stays unknown, for the operator."""
        failure = Failure(
            fault=Fault.UNKNOWN, code="internal_error", message="the attempt could not be sent"
        )
        failures = dict.fromkeys(ids, failure)
        moved = await advance_attempts(
            connection, AttemptState.FAILED, list(ids), failures=failures
        )
        await fail_outputs(connection, {row["id"]: failure for row in moved}, of="attempt")
        await due.drop(connection, self.what, [row["id"] for row in moved])
        await settle(self.engine, connection, [row["job"] for row in moved])
        sent = set(ids) - {row["id"] for row in moved}
        await due.put_back(connection, self.what, sorted(sent), after=[0.0] * len(sent))


def payload_hash(request: Request) -> bytes:
    """What was sent, in 32 bytes: to compare with what a provider lists."""
    head = f"{request.method} {request.url}\n".encode()
    return hashlib.sha256(head + (request.content or b"")).digest()


async def record_unsendable(engine: Engine, attempt: str, failure: Failure) -> None:
    """Nothing was sent and nothing ever can be: a planned attempt is over, and its job with it."""

    async def work(connection: Connection) -> None:
        moved = await advance_attempts(
            connection, AttemptState.FAILED, [attempt], failures={attempt: failure}
        )
        if not moved:
            return
        await due.drop(connection, What.SUBMIT, [attempt])
        await fail_outputs(connection, {attempt: failure}, of="attempt")
        await settle(engine, connection, [row["job"] for row in moved])

    await engine.database.run(work)


async def record_refused(engine: Engine, attempt: str, failure: Failure) -> None:
    """The provider provably took nothing: the attempt is over, and its job with it."""

    async def work(connection: Connection) -> None:
        await due.drop(connection, What.SUBMIT, [attempt])
        await due.drop(connection, What.LOOK_UP, [attempt])
        moved = await advance_attempts(
            connection, AttemptState.REFUSED, [attempt], failures={attempt: failure}
        )
        await fail_outputs(connection, {row["id"]: failure for row in moved}, of="attempt")
        await settle(engine, connection, [row["job"] for row in moved])

    await engine.database.run(work)


async def release_if_unwanted(connection: Connection, attempt: str) -> None:
    """The job may have ended while the POST was under way: then a planned attempt is released."""
    cursor = await connection.execute(
        """
        UPDATE attempt SET state = 'cancelled', finished_at = now() FROM job
        WHERE attempt.id = %s AND job.id = attempt.job AND attempt.state = 'planned'
          AND job.state IN ('complete', 'failed', 'cancelled')
        RETURNING attempt.id
        """,
        (attempt,),
    )
    if await cursor.fetchone():
        await due.drop(connection, What.SUBMIT, [attempt])
