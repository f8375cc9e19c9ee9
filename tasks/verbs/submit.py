"""Submit: pay for one attempt, once.

The order is the promise. `sent` is committed alone just before the POST, the answer alone right
after it; what may have been accepted is never sent again. Running twice is harmless: the second run
finds the attempt no longer planned, and a row found `sent` after its lease had no answer.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog

from models import due
from models.advance import advance_attempts, advance_jobs, fail_outputs
from models.database import Connection, DatabaseAway
from models.failure import Failure, Fault
from models.high_water import read_identity
from models.locks import lock_jobs, lock_whole_of
from models.state import AttemptState, JobState, What
from providers.base import Accepted, ProviderError
from providers.exchange import converse
from scheduler.claim import Claimed
from scheduler.intervals import backoff
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.outcomes.accepted import ask_of, insist, plan_of, record_accepted
from tasks.outcomes.finish import settle
from tasks.outcomes.sent import (
    ANSWER_BY,
    ANSWER_MARGIN,
    Sending,
    base_in,
    fingerprint,
    payload_hash,
    take_back,
    write_sent,
)
from tasks.outcomes.unknown import mark_unknown
from tasks.pictures import BadPicture, PictureTrouble, frames_for, inline
from tasks.restore.clearance import NotCleared
from tasks.restore.clearing import seconds_until_clear
from tasks.restore.parked import look_for
from transport.base import NotSent, Request, Unanswered
from transport.deadline import Deadline

log = structlog.get_logger()

#: First and longest wait before an attempt that provably reached nobody is sent, in seconds.
RETRY_BASE, RETRY_CEILING = 1.0, 60.0
#: Seconds until an attempt is tried again whose database must be compared with the mark first.
COMPARED_AGAIN_AFTER = 0.5
#: A worker that was stopped for this share of its lease does not begin a POST any more.
FRESH_ENOUGH = 0.5
#: Seconds in which the POST's connection must stand after that.
TO_CONNECT = 10.0
#: For so long an attempt of which nothing was sent is put off in vain while PostgreSQL is away.
HOLD_OFF = 60.0


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
    #: Seconds until its POST has an answer or never gets one; None when it was not sent.
    answered_in: float | None
    #: Seconds since a restore parked it; None when it may be sent.
    parked_ago: float | None
    parked_looks: int


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
            f"""
            SELECT attempt.id, attempt.job, job.tenant, attempt.state, attempt.account,
                   attempt.marker, attempt.count, attempt.rejections, job.plan, job.scene,
                   (SELECT min(position) FROM output WHERE output.attempt = attempt.id)
                       AS variation,
                   extract(epoch FROM {ANSWER_BY} - now())::float8 AS answered_in,
                   extract(epoch FROM now() - attempt.parked_at)::float8 AS parked_ago,
                   attempt.parked_looks
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state IN ('planned', 'sent')
            """,  # noqa: S608 - a constant
            ([row.id for row in claimed],),
        )
        return [SubmitItem(**{**row, "state": AttemptState(row["state"])}) for row in rows]

    async def act(self, item: SubmitItem, *, lease: str, pace: Pace) -> None:
        """Send one attempt and record what came of it; everything is committed here."""
        if item.state is AttemptState.SENT:
            await self._left_alone(item, lease)
            return
        if await self._kept_back(item, lease):
            return
        token = str(uuid4())
        try:
            accepted = await self._post(item, lease, token)
        except NotOurs:
            return
        except NotCleared:
            await self._compare_again(item, lease, token)
        except (NotSent, PictureTrouble) as error:
            await self._wait(item, lease, str(error), token=token)
        except BadPicture as error:
            await record_unsendable(self.engine, item.id, error.failure, lease=lease)
        except Unanswered as error:
            await mark_unknown(self.engine, item.id, str(error))
        except ProviderError as error:
            await self._answered_with_error(item, lease, error, pace, token=token)
        else:
            pace.went_well()
            crash_point("submit.posted")
            await record_accepted(self.engine, item.id, accepted)
            crash_point("submit.answer_committed")

    async def _kept_back(self, item: SubmitItem, lease: str) -> bool:
        """Whether it may not be sent now, or not from here; it is put off then."""
        if item.parked_ago is not None:
            await look_for(self.engine, item, lease=lease)
        elif wait := await seconds_until_clear(self.engine):
            await self._put_back(item, lease, wait)
        elif item.account not in self.engine.accounts:
            await self._wait(item, lease, f"no credentials for {item.account} on this worker")
        else:
            return False
        return True

    async def _post(self, item: SubmitItem, lease: str, token: str) -> Accepted:
        provider = self.engine.provider(item.account)
        plan = plan_of(self.engine, item)
        frames = await frames_for(self.engine, plan, tenant=item.tenant)
        # A vendor that was turned down by our own address may get the next try without one: a
        # public address that providers can't reach must cost hints, not jobs.
        has_address = not (provider.capabilities.callback_challenged and item.rejections)
        root = self.engine.settings.public_url if has_address else None
        ask = ask_of(self.engine, item, plan, pictures=frames, callback_base=root)
        if provider.capabilities.inline_pictures:
            ask = await inline(self.engine, ask)
        fresh_for = FRESH_ENOUGH * self.engine.settings.lease_seconds
        begin_within = fresh_for + TO_CONNECT

        async def commit_sent(request: Request) -> None:
            fresh = Deadline(fresh_for)
            sending = Sending(
                attempt=item.id,
                job=item.job,
                token=token,
                payload_hash=payload_hash(request),
                lasts=begin_within + request.timeout + ANSWER_MARGIN,
                listed_after=provider.capabilities.look_up_delay,
                callback_base=base_in(request, address=ask.callback_url, root=root),
                sent_as=fingerprint(self.engine.accounts[item.account]),
            )
            await self._mark_sent(sending, lease)
            crash_point("submit.sent_committed")
            if fresh.is_over:
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
            begin_within=begin_within,
        )

    async def _left_alone(self, item: SubmitItem, lease: str) -> None:
        """Its worker lost its lease, but may live and still get its answer: wait for that."""
        wait = item.answered_in or 0.0
        if wait <= 0:
            await mark_unknown(self.engine, item.id, "the worker that sent it left no answer")
            return
        await self._put_back(item, lease, wait)

    async def _put_back(self, item: SubmitItem, lease: str, wait: float) -> None:
        """It is as it was, and due again in `wait` seconds."""

        async def work(connection: Connection) -> None:
            ours = await due.hold(connection, self.what, [item.id], lease=lease)
            await due.put_back(connection, self.what, sorted(ours), after=[wait] * len(ours))

        await self.engine.database.run(work)

    async def _mark_sent(self, sending: Sending, lease: str) -> None:
        """Commit `sent`.

        Raises:
            NotOurs: the attempt is not there to be sent.
            NotSent: it may be marked, but is not ours to send: the mark is to be taken back.
        """

        async def work(connection: Connection) -> bool:
            await lock_jobs(connection, [sending.job])
            if not await due.hold(connection, self.what, [sending.attempt], lease=lease):
                msg = "its lease ended before it was sent"
                raise NotSent(msg)
            job = await write_sent(connection, sending)
            if job is None:
                await release_if_unwanted(connection, sending.attempt)
                return False
            if not self.engine.clearance.holds_for(**await read_identity(connection)):
                raise NotCleared  # and nothing of this is committed
            await advance_jobs(connection, JobState.SUBMITTING, [job])
            return True

        try:
            is_marked = await self.engine.database.run(work)
        except DatabaseAway as error:
            msg = f"nobody knows whether it is marked as sent: {error}"
            raise NotSent(msg) from error
        if not is_marked:
            raise NotOurs
        self.engine.clearance.note_sent(sending.attempt)

    async def _answered_with_error(
        self, item: SubmitItem, lease: str, error: ProviderError, pace: Pace, *, token: str
    ) -> None:
        refusals = self.engine.provider(item.account).capabilities.refusals
        if error.status not in refusals:
            await mark_unknown(self.engine, item.id, f"HTTP {error.status}: {error.failure.code}")
        elif error.failure.fault.may_be_tried_again:
            if error.failure.fault is Fault.RATE:
                pace.was_limited(error.failure.retry_after)
            asked = error.failure.retry_after
            await self._wait(item, lease, error.failure.code, asked=asked, token=token)
        else:
            await record_refused(self.engine, item.id, error.failure)

    async def _compare_again(self, item: SubmitItem, lease: str, token: str) -> None:
        """The database is not the one that was compared with the mark: nothing was sent to it.

        A commit of `sent` that this try repeated after a lost answer may stand, and is taken back.
        """
        self.engine.clearance.withdraw()

        async def work(connection: Connection) -> None:
            is_held = bool(await due.hold(connection, self.what, [item.id], lease=lease))
            is_undone = await take_back(connection, item.id, token=token, is_held=False)
            if is_held or is_undone:
                await due.put_back(connection, self.what, [item.id], after=[COMPARED_AGAIN_AFTER])

        await self.engine.database.run(work)

    async def _wait(
        self,
        item: SubmitItem,
        lease: str,
        reason: str,
        *,
        asked: float | None = None,
        token: str | None = None,
    ) -> None:
        """It provably reached nobody: planned again, and due later; the deadline ends this.

        `token` names the try that may have marked it as sent.
        """
        wait = max(
            asked or 0.0,
            backoff(
                tries=item.rejections, base=RETRY_BASE, ceiling=RETRY_CEILING, dice=random.random()
            ),
        )

        self.engine.clearance.take_back(item.id)

        async def work(connection: Connection) -> None:
            is_held = bool(await due.hold(connection, self.what, [item.id], lease=lease))
            # Otherwise another worker may be sending it by now: planned again, it would be twice.
            if await take_back(connection, item.id, token=token, is_held=is_held):
                await due.put_back(connection, self.what, [item.id], after=[wait])
                await release_if_unwanted(connection, item.id)

        await insist(self.engine, work, item.id, seconds=HOLD_OFF)
        log.info(
            "submit.put_off", attempt=item.id, job=item.job, reason=reason, wait=round(wait, 1)
        )

    def jobs(self, results: Sequence[Any]) -> tuple[str, ...]:
        del results
        return ()

    async def write(self, connection: Connection, results: Sequence[Any]) -> None:
        """Nothing: each answer was committed by itself."""

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: a planned attempt ends with its job, and one that was sent is settled."""


async def record_unsendable(engine: Engine, attempt: str, failure: Failure, *, lease: str) -> None:
    """Nothing was sent and nothing ever can be: a planned attempt is over, and its job with it.

    Only while the caller holds its due row: by now another worker may have sent it.
    """

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        if not await due.hold(connection, What.SUBMIT, [attempt], lease=lease):
            return
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
        await lock_whole_of(connection, [attempt])
        moved = await advance_attempts(
            connection, AttemptState.REFUSED, [attempt], failures={attempt: failure}
        )
        # One that did not move, since a restore has set it back, keeps its due row.
        await due.drop(connection, What.SUBMIT, [row["id"] for row in moved])
        await due.drop(connection, What.LOOK_UP, [row["id"] for row in moved])
        await fail_outputs(connection, {row["id"]: failure for row in moved}, of="attempt")
        await settle(engine, connection, [row["job"] for row in moved])

    await engine.database.run(work)


async def release_if_unwanted(connection: Connection, attempt: str) -> None:
    """Release a planned attempt whose job has ended meanwhile, or that is to make no video."""
    cursor = await connection.execute(
        """
        UPDATE attempt SET state = 'cancelled', finished_at = now() FROM job
        WHERE attempt.id = %s AND job.id = attempt.job AND attempt.state = 'planned'
          AND (job.state IN ('complete', 'failed', 'cancelled') OR NOT EXISTS (
              SELECT 1 FROM output
              WHERE output.attempt = attempt.id AND output.state = 'expected'))
        RETURNING attempt.id
        """,
        (attempt,),
    )
    if await cursor.fetchone():
        await due.drop(connection, What.SUBMIT, [attempt])
