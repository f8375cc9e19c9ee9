"""Submit: pay for one attempt, once.

The order is the promise. `sent` is committed alone just before the POST, the answer alone right
after it; an attempt that may have been accepted is never sent again. Running twice is harmless:
the second run finds the attempt no longer planned; one that is still `sent` had no answer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Never
from uuid import uuid4

from models import due
from models.accounts import HAS_RULE, Obstacle, permit_to_send
from models.advance import advance_jobs
from models.blocks import begin_probe
from models.database import Connection, DatabaseAway
from models.failure import Fault
from models.high_water import read_identity
from models.locks import lock_jobs
from models.rows.attempts import PLAN
from models.rows.jobs import SCENE
from models.state import AttemptState, JobState
from models.verbs import What
from providers.base import Accepted, Ask, ProviderError
from providers.registry import provider_of
from scheduler.claim import Claimed
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.measures import note_first_post, note_work
from tasks.outcomes.blocked import record_probe
from tasks.outcomes.errors import (
    NO_OPERATION,
    MayNotSpend,
    left_by_its_worker,
    outcome_of_answer,
    outcome_without_answer,
    put_off,
)
from tasks.outcomes.sent import (
    ANSWER_BY,
    ANSWER_MARGIN,
    Sending,
    base_in,
    fingerprint,
    payload_hash,
    write_sent,
)
from tasks.outcomes.submitted import (
    Blocked,
    NotOurs,
    Outcome,
    Postponed,
    Waits,
    record,
    word_of,
)
from tasks.outcomes.unsent import release_if_unwanted
from tasks.pictures import pictures_for
from tasks.rebuild import ask_of, plan_of
from tasks.restore.clearance import NotCleared
from tasks.restore.clearing import seconds_until_clear
from tasks.restore.parked import look_for
from tasks.upstream import Prepared
from tasks.verbs.verb import Hold, Verb
from transport.base import NotSent
from transport.deadline import Deadline

#: Share of its lease after which a worker that was suspended no longer begins a POST.
FRESH_ENOUGH = 0.5
#: Seconds after that in which the POST's connection must be established.
TO_CONNECT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitItem:
    """A planned attempt, or one that was sent and has no recorded answer."""

    id: str
    job: str
    tenant: str
    state: AttemptState
    account: str
    marker: str
    count: int
    rejections: int
    plan: dict[str, Any]
    scene: bytes | None = field(repr=False)
    #: Whether its job's gate has other models, which may be asked in its place.
    has_fallbacks: bool
    #: Whether its account, or its provider, is paused or capped.
    has_rule: bool
    #: Videos of the job that earlier attempts make.
    variation: int | None
    #: Seconds until its POST is answered or times out; None when it was not sent.
    answered_in: float | None
    #: Seconds since a restore parked it; None when it may be sent.
    parked_ago: float | None
    parked_looks: int
    #: Seconds until its job's deadline, or the one for its start, which may be over.
    time_left: float
    #: When it became due: its place in the queue.
    since: datetime
    #: Seconds from its job's acceptance, or scheduled start, to `read_at`; None if it is not the
    #: first POST of its job, or one of a batch, whose lines wait for each other.
    waited: float | None
    read_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Try:
    """One try of an attempt."""

    #: Names it: no other may take its commit back.
    token: str = field(default_factory=lambda: str(uuid4()))
    #: Whether its account is blocked, and this try shows whether it still is.
    is_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit(Verb[SubmitItem, Never]):
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
                   attempt.marker, attempt.count, attempt.rejections, {PLAN} AS plan,
                   {SCENE} AS scene, job.fallbacks IS NOT NULL AS has_fallbacks,
                   {HAS_RULE} AS has_rule,
                   (SELECT min(position) FROM output WHERE output.attempt = attempt.id)
                       AS variation,
                   extract(epoch FROM {ANSWER_BY} - now())::float8 AS answered_in,
                   extract(epoch FROM now() - attempt.parked_at)::float8 AS parked_ago,
                   attempt.parked_looks, attempt.due_since,
                   CASE WHEN attempt.rejections = 0 AND attempt.replaces IS NULL
                             AND job.batch_id IS NULL
                        THEN extract(epoch FROM now() - greatest(
                            job.created_at, job.run_at))::float8 END AS waited,
                   extract(epoch FROM least(job.deadline_at, CASE WHEN job.accepted_at IS NULL
                           THEN job.start_by END) - now())::float8 AS time_left
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state IN ('planned', 'sent')
            """,  # noqa: S608 - constants
            ([row.id for row in claimed],),
            first=True,
        )
        claims = {row.id: row.since for row in claimed}
        since = [row.pop("due_since") or claims[row["id"]] for row in rows]
        own = [
            {"state": AttemptState(row["state"]), "since": place}
            for row, place in zip(rows, since, strict=True)
        ]
        return [SubmitItem(**row | values) for row, values in zip(rows, own, strict=True)]

    async def act(self, item: SubmitItem, hold: Hold) -> None:
        """Send one attempt and record the outcome; everything is committed here."""
        if item.state is AttemptState.PLANNED and item.parked_ago is not None:
            await look_for(self.engine, item, lease=hold.lease)
            return
        this, began = Try(), time.monotonic()
        outcome = await self._held_back(item) or await self._send(item, hold, this)
        note_work(self.what, word_of(outcome), account=item.account, began=began)
        await record(self.engine, item, outcome, lease=hold.lease)
        if isinstance(outcome, Accepted):
            crash_point("submit.answer_committed")
        if this.is_probe and not isinstance(outcome, Blocked):
            is_taken = isinstance(outcome, Accepted)
            await record_probe(self.engine, item.account, token=this.token, is_taken=is_taken)

    async def _held_back(self, item: SubmitItem) -> Outcome | None:
        """Why it may not be sent now; None when it may."""
        if item.state is AttemptState.SENT:
            return left_by_its_worker(item.answered_in)
        if wait := await seconds_until_clear(self.engine):
            return Postponed(wait)
        if item.has_rule and (obstacle := await self._obstacle(item)):
            return Waits(obstacle, str(uuid4()))
        return None

    async def _obstacle(self, item: SubmitItem) -> Obstacle | None:
        """Why its account does not take it now: asked before anything is prepared."""
        provider = provider_of(item.account)
        found = await self.engine.database.run(
            lambda on: permit_to_send(
                on, item.account, provider=provider, attempt=item.id, lock=False
            )
        )
        return found if isinstance(found, Obstacle) else None

    async def _send(self, item: SubmitItem, hold: Hold, this: Try) -> Outcome:
        """Commit `sent`, then POST; every error is an outcome."""
        token, begun = this.token, hold.pace.now()
        try:
            upstream = self.engine.upstream(item.account)
            ask = await self._ask(item)
            prepared = await upstream.prepare(ask)
            fresh = Deadline(FRESH_ENOUGH * self.engine.settings.lease_seconds)
            begin_by = Deadline(fresh.seconds + TO_CONNECT)
            sending = self._sending(item, ask, prepared, begin_by, token=token)
            if not await self._mark_sent(sending, hold.lease, this):
                return NotOurs()
            crash_point("submit.sent_committed")
            if fresh.is_over:
                return put_off(item, "this worker was stopped for too long", token=token)
            begun = hold.pace.now()
            if item.waited is not None:
                waited = item.waited + time.monotonic() - item.read_at
                note_first_post(item.account, waited=waited)
            accepted = await prepared.post(begin_by)
        except ProviderError as error:
            if error.failure.fault is Fault.RATE:
                hold.pace.was_limited(error.failure.retry_after, begun=begun)
            refusals = self.engine.capabilities(item.account).refusals
            return outcome_of_answer(item, error, refusals=refusals, token=token)
        except NO_OPERATION as error:
            return outcome_without_answer(error, item, token=token)
        hold.pace.went_well()
        crash_point("submit.posted")
        return accepted

    async def _ask(self, item: SubmitItem) -> Ask:
        plan = await plan_of(self.engine, item)
        pictures = await pictures_for(
            self.engine,
            plan,
            job=item.job,
            tenant=item.tenant,
            inline=self.engine.capabilities(item.account).inline_pictures,
        )
        root = self._callback_root(item)
        return ask_of(self.engine, item, plan, pictures=pictures, callback_base=root)

    def _callback_root(self, item: SubmitItem) -> str | None:
        """The public root of the callback address to send, if any.

        A vendor that refused a try because of our address may get the next one without it: a
        public address that providers can't reach must cost hints, not jobs.
        """
        is_challenged = self.engine.capabilities(item.account).callback_challenged
        return None if is_challenged and item.rejections else self.engine.settings.public_url

    def _sending(
        self, item: SubmitItem, ask: Ask, prepared: Prepared, begin_by: Deadline, *, token: str
    ) -> Sending:
        """The facts about the POST that the attempt's row records."""
        request, upstream = prepared.request, prepared.upstream
        return Sending(
            attempt=item.id,
            job=item.job,
            account=item.account,
            token=token,
            payload_hash=payload_hash(request),
            lasts=begin_by.seconds + request.timeout + ANSWER_MARGIN,
            listed_after=upstream.provider.capabilities.look_up_delay,
            callback_base=base_in(
                request, address=ask.callback_url, root=self._callback_root(item)
            ),
            sent_as=fingerprint(upstream.account),
        )

    async def _mark_sent(self, sending: Sending, lease: str, this: Try) -> bool:
        """Commit `sent`; False if the attempt can't be sent any more.

        Raises:
            NotSent: it may be marked, but is not ours to send: the mark is to be taken back.
            NotCleared: the database was not compared with the mark; nothing is committed.
            MayNotSpend: its account is paused or at its cap; nothing is committed.
        """

        async def work(connection: Connection) -> bool:
            await lock_jobs(connection, [sending.job])
            if not await due.hold(connection, self.what, [sending.attempt], lease=lease):
                msg = "its lease ended before it was sent"
                raise NotSent(msg)
            account = sending.account
            permit = await permit_to_send(
                connection,
                account,
                provider=provider_of(account),
                attempt=sending.attempt,
                lock=True,
            )
            if isinstance(permit, Obstacle):
                raise MayNotSpend(permit)
            if permit.is_probe:
                this.is_probe = True
                lasts = sending.lasts + ANSWER_MARGIN
                await begin_probe(connection, account, token=this.token, lasts=lasts)
            job = await write_sent(connection, sending)
            if job is None:
                await release_if_unwanted(connection, sending.attempt)
                return False
            if not self.engine.clearance.holds_for(**await read_identity(connection)):
                raise NotCleared
            await advance_jobs(connection, JobState.SUBMITTING, [job])
            return True

        try:
            is_marked = await self.engine.database.run(work)
        except DatabaseAway as error:
            msg = f"it may or may not be marked as sent: {error}"
            raise NotSent(msg) from error
        if is_marked:
            self.engine.clearance.note_sent(sending.attempt)
        return is_marked

    def jobs(self, results: Sequence[Never]) -> tuple[str, ...]:
        del results
        return ()

    async def write(self, connection: Connection, results: Sequence[Never]) -> None:
        """Nothing: each answer was committed by itself."""

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: a planned attempt ends with its job, and one that was sent is settled."""
