"""Poll: ask for the state of running operations, and write the results, hundreds at once.

Running twice is harmless: a poll costs nothing, progress only grows, and a final answer moves an
attempt only out of `accepted`.
"""

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import structlog

from models import due
from models.database import Connection
from models.failure import Failure, Fault
from models.rows.attempts import ESTIMATE
from models.verbs import What
from providers.again import Asker, Kept
from providers.answers import UnknownStatus
from providers.base import Phase, ProviderError, Update
from scheduler.claim import Claimed
from scheduler.intervals import (
    LOST_AFTER,
    Backoff,
    bounded,
    estimated_progress,
    next_denied_look,
)
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.gatherer import Gatherer
from tasks.measures import POLLS
from tasks.outcomes.attempt import Operation
from tasks.outcomes.denied import answered_ago, is_lost
from tasks.outcomes.ended import ABANDONED_AFTER, Ended, record_abandoned, record_ended
from tasks.outcomes.finish import stop_operations
from tasks.outcomes.polled import (
    STRANGE,
    PollItem,
    Seen,
    write_faults,
    write_lost,
    write_running,
)
from tasks.surveyor import Surveyor, is_doubted
from tasks.upstream import NoCredentials, Upstream
from tasks.verbs.verb import Hold, Verb
from transport.base import BadAnswer, TransportError

log = structlog.get_logger()

_Asked = TypeVar("_Asked")

#: After a poll without a usable response.
BACKOFF = Backoff(base=2.0, ceiling=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is the same for every poll of an account."""

    upstream: Upstream
    asker: Asker
    #: Whether one request can return many operations.
    is_shared: bool
    floor: float
    ceiling: float
    #: Whether it reports progress.
    reports: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll(Verb[PollItem, Seen]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    _known: dict[str, _Known] = field(default_factory=dict)
    _gatherers: dict[str, Gatherer] = field(default_factory=dict)
    _surveyors: dict[str, Surveyor] = field(default_factory=dict)
    what: What = What.POLL
    concurrency: int = 64
    each: int = 500
    abandons: bool = True
    #: Whether rows stay with who holds them: a watcher keeps its own schedule.
    keeps: bool = False

    async def load(self, claimed: Sequence[Claimed]) -> list[PollItem]:
        await self.engine.looks.refresh(self.engine.database, now=time.monotonic())
        rows = await self.engine.database.fetch(
            f"""
            SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.operation_id,
                   attempt.route, attempt.callback_base IS NOT NULL AS has_callbacks,
                   coalesce(attempt.called_at > coalesce(attempt.seen_at, attempt.accepted_at),
                            false) AS was_called,
                   extract(epoch FROM now() - attempt.running_at)::float8 AS running_for,
                   extract(epoch FROM now() - attempt.seen_at)::float8 AS seen_ago,
                   extract(epoch FROM now() - attempt.accepted_at)::float8 AS elapsed,
                   job.typical_seconds AS typical, attempt.poll_faults,
                   attempt.polls,
                   extract(epoch FROM now() - attempt.denied_since)::float8 AS denied_for,
                   {ESTIMATE} AS estimate,
                   extract(epoch FROM job.deadline_at - now())::float8 AS time_left,
                   job.progress_source = 'reported' AS shows_reports,
                   attempt.error AS last_fault, EXISTS (
                       SELECT 1 FROM output
                       WHERE output.attempt = attempt.id AND output.state = 'expected'
                   ) AS is_wanted
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%b) AND attempt.state = 'accepted'
            """,  # noqa: S608 - a constant
            ([row.id for row in claimed],),
        )
        items = [PollItem(**row, kept=Kept() if self.keeps else None) for row in rows]
        denied = [item for item in items if item.is_wanted and (item.denied_for or 0) > LOST_AFTER]
        if denied:
            ago = await answered_ago(
                self.engine.database, sorted({item.account for item in denied})
            )
            for item in denied:
                item.answered_ago = ago.get(item.account)
        return items

    async def act(self, item: PollItem, hold: Hold) -> Seen:
        """Poll one operation; an error is a result too."""
        began = time.monotonic()
        try:
            known = self._known_of(item.account)
            look = self._look_with_others if known.is_shared else self._look_alone
            update = await look(item, known, hold.pace)
        except UnknownStatus as error:
            log.error("poll.undocumented_status", account=item.account, word=error.word)  # noqa: TRY400 - the word is all there is to tell
            seen = self._faulty(item, _failure(str(error), code=STRANGE))
        except ProviderError as error:
            seen = self._faulty(item, error.failure)
        except (NoCredentials, TransportError) as error:
            seen = self._faulty(item, _failure(str(error)))
        else:
            crash_point("poll.answered")
            seen = self._seen(item, known, update) if update else self._faulty(item, _DENIED)
        POLLS.note(seen.word, account=item.account, began=began)
        if item.is_wanted or seen.has_ended or item.elapsed < ABANDONED_AFTER:
            return seen
        log.warning("poll.abandoned", attempt=item.id, account=item.account)
        return replace(seen, is_abandoned=True)

    async def _look_alone(self, item: PollItem, known: _Known, pace: Pace) -> Update | None:
        begun, id_ = pace.now(), item.operation_id
        try:
            if item.kept is not None:
                update = await known.asker.look(id_, item.kept)
            else:
                update = (await known.upstream.poll([id_])).get(id_)
        except ProviderError as error:
            _slow_down(pace, error, begun)
            raise
        pace.went_well()
        return update

    async def _look_with_others(self, item: PollItem, known: _Known, pace: Pace) -> Update | None:
        """Poll together with others in one call; alone after a shared answer that can't be read."""
        upstream, capabilities = known.upstream, known.upstream.provider.capabilities
        most = capabilities.poll_many
        if most > 1:
            ask = partial(_counted, pace, upstream.poll)
            gatherer = self._gatherers.setdefault(item.account, Gatherer(most, ask))
            try:
                return await gatherer.look(item.operation_id)
            except (UnknownStatus, BadAnswer):
                pass  # one operation's answer can't be read: polling alone shows which
        elif not is_doubted(
            elapsed=item.elapsed + time.monotonic() - item.read_at,
            typical=item.typical,
            dice=random.random(),
        ):
            survey = partial(_counted, pace, upstream.survey)
            surveyor = self._surveyors.setdefault(
                item.account,
                Surveyor(item.account, survey, self.engine.survey_memory(item.account)),
            )
            if (listed := await surveyor.look(item.operation_id)) is not None:
                return listed
        return await self._look_alone(item, known, pace)

    def _known_of(self, account: str) -> _Known:
        known = self._known.get(account)
        if known is None:
            upstream = self.engine.upstream(account)
            capabilities = upstream.provider.capabilities
            known = self._known[account] = _Known(
                upstream=upstream,
                asker=upstream.asker(),
                is_shared=capabilities.poll_many > 1 or capabilities.listed > 0,
                floor=self.engine.poll_floor(account),
                ceiling=capabilities.poll_ceiling,
                reports=capabilities.progress,
            )
        return known

    def _seen(self, item: PollItem, known: _Known, update: Update) -> Seen:
        now = time.monotonic()
        elapsed = item.elapsed + now - item.read_at
        phase, asked, looks = update.phase, update.poll_after, self.engine.looks
        if phase.is_final and item.has_callbacks:
            looks.ended(item.account, told=item.was_called)
        run_for = item.run_for(now)
        wait = looks.wait(
            lane=item.account,
            route=item.route,
            elapsed=elapsed,
            queued=phase is Phase.QUEUED,
            running_for=run_for,
            called=item.has_callbacks,
            floor=known.floor,
            ceiling=known.ceiling,
            asked=bounded(asked, time_left=item.time_left) if asked else 0.0,
            stride=self.engine.poll_stride(item.account) if known.is_shared else 0.0,
            wall=time.time(),
            now=now,
            dice=random.random(),
        )
        running_for = None
        if phase is Phase.RUNNING:
            running_for = elapsed if run_for is None else run_for
        if not phase.is_final:
            item.note(running_for=running_for, now=now)
        return Seen(
            item=item,
            wait=wait,
            progress=_progress(item, update, elapsed=elapsed, is_reported=known.reports),
            update=update,
            running_for=running_for,
            polls=item.polls + 1,
            is_stray=item.denied_for is not None and not item.is_wanted,
        )

    def _faulty(self, item: PollItem, fault: Failure) -> Seen:
        # Only denials in a row count: one after an outage is the first again.
        last = item.last_fault or {}
        is_denial = fault.fault is Fault.GONE
        before = item.poll_faults if (last.get("fault") == Fault.GONE) is is_denial else 0
        pause = BACKOFF.wait(before, dice=random.random())
        is_gone = (
            is_denial
            and item.is_wanted
            and is_lost(
                looks=before + 1,
                denied_for=item.denied_for or 0.0,
                answered_ago=item.answered_ago,
                typical=item.typical,
                cost_micros=item.estimate,
            )
        )
        if is_denial and (is_gone or not item.is_wanted):
            pause = next_denied_look(denied_for=item.denied_for or 0.0, dice=random.random())
        return Seen(
            item=item,
            wait=max(bounded(fault.retry_after, time_left=item.time_left), pause),
            fault=fault,
            faults=before + 1,
            polls=item.polls + 1,
            is_news=last.get("code") != fault.code,
            is_lost=is_gone,
        )

    def jobs(self, results: Sequence[Seen]) -> list[str]:
        return [seen.item.job for seen in results if seen.moves_job]

    async def write(self, connection: Connection, results: Sequence[Seen]) -> None:
        """Write the results in a handful of statements for the whole batch."""
        kept = [seen for seen in results if not seen.is_abandoned]
        running = [seen for seen in kept if seen.update and not seen.update.phase.is_final]
        faulty = [seen for seen in kept if seen.update is None]
        await write_running(connection, running)
        await self._stop(connection, [seen for seen in running if seen.is_stray])
        lost = [seen for seen in faulty if seen.is_lost]
        await write_lost(connection, lost)
        await write_faults(connection, faulty)  # an operation may have ended since
        await record_abandoned(connection, [seen.id for seen in results if seen.is_abandoned])
        await record_ended(
            self.engine,
            connection,
            [
                Ended(
                    attempt=seen.item,
                    update=seen.update,
                    polls=seen.polls,
                    clock=seen.item.clock(time.monotonic()),
                )
                for seen in kept
                if seen.update and seen.update.phase.is_final
            ],
            others=[seen.item.job for seen in lost],
        )
        # The end of a lost operation's job makes its poll due at once: this puts it off again.
        back = lost if self.keeps else faulty
        waits = [seen.wait for seen in back]
        await due.put_back(connection, What.POLL, [seen.id for seen in back], after=waits)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Abandon unwanted operations two days after they were accepted, as a poll would."""
        cursor = await connection.execute(
            """
            SELECT id FROM attempt
            WHERE id = ANY(%s) AND accepted_at <= now() - %s * interval '1 second'
              AND NOT EXISTS (SELECT 1 FROM output WHERE output.attempt = attempt.id
                              AND output.state = 'expected')
            """,
            (list(ids), ABANDONED_AFTER),
        )
        await record_abandoned(connection, [row["id"] for row in await cursor.fetchall()])

    async def _stop(self, connection: Connection, strays: Sequence[Seen]) -> None:
        operations = [
            Operation(
                id=seen.id,
                tenant=seen.item.tenant,
                account=seen.item.account,
                provider=self.engine.provider(seen.item.account).name,
            )
            for seen in strays
        ]
        await stop_operations(connection, operations)


async def _counted(
    pace: Pace, ask: Callable[[_Asked], Awaitable[Mapping[str, Update]]], operations: _Asked
) -> Mapping[str, Update]:
    """Ask once for operations; the lane's pace counts the answer once, however many they are."""
    begun = pace.now()
    try:
        updates = await ask(operations)
    except ProviderError as error:
        _slow_down(pace, error, begun)
        raise
    pace.went_well()
    return updates


def _slow_down(pace: Pace, error: ProviderError, begun: float) -> None:
    if error.failure.fault is Fault.RATE:
        pace.was_limited(error.failure.retry_after, begun=begun)


def _progress(item: PollItem, update: Update, *, elapsed: float, is_reported: bool) -> float | None:
    """What an update says about its job's progress, 0..1; None if it says nothing.

    Estimates are computed when they are read, except in a job whose first provider reported: it
    goes on from there by the estimate of the provider that does not.
    """
    if not item.is_wanted:
        return None  # another operation's progress is the job's
    if is_reported:
        return update.progress
    if item.shows_reports:
        return estimated_progress(elapsed=elapsed, typical=item.typical) / 100
    return None


def _failure(message: str, *, code: str = "provider_unreachable") -> Failure:
    return Failure(fault=Fault.TRANSIENT, code=code, message=message)


_DENIED = Failure(
    fault=Fault.GONE, code="operation_denied", message="the provider knows no such operation"
)
