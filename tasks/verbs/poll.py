"""Poll: ask for the state of running operations, and write the results, hundreds at once.

Running twice is harmless: a poll costs nothing, progress only grows, and a final answer moves an
attempt only out of `accepted`.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from psycopg.types.json import Jsonb

from models import due
from models.advance import fail_outputs, tell
from models.database import Connection
from models.failure import Failure, Fault
from models.rows.attempts import ESTIMATE
from models.verbs import What
from providers.answers import UnknownStatus
from providers.base import ProviderError, Update
from scheduler.claim import Claimed
from scheduler.intervals import (
    LOST_AFTER,
    Backoff,
    bounded,
    estimated_progress,
    next_denied_look,
    next_poll,
)
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.gatherer import Gatherer
from tasks.measures import note_work
from tasks.outcomes.attempt import Operation
from tasks.outcomes.denied import answered_ago, is_lost
from tasks.outcomes.ended import ABANDONED_AFTER, Ended, record_abandoned, record_ended
from tasks.outcomes.finish import stop_operations
from tasks.upstream import NoCredentials, Upstream
from tasks.verbs.verb import Hold, Verb
from transport.base import BadAnswer, TransportError

log = structlog.get_logger()

#: The failure code of a poll, and the kind of event, for a status that no documentation has.
STRANGE = "status.undocumented"
#: After a poll without a usable response.
BACKOFF = Backoff(base=2.0, ceiling=60.0)


# Neither is frozen: a frozen value takes three times as long to make, and each poll makes both.
@dataclass(slots=True, kw_only=True)
class PollItem:
    """One accepted operation."""

    id: str
    job: str
    tenant: str
    account: str
    operation_id: str
    elapsed: float
    typical: float
    poll_faults: int
    #: Seconds since its provider first denied it, with no update in between.
    denied_for: float | None
    #: Its job's estimated cost, in millionths of a US dollar.
    estimate: int
    #: Whether an expected video depends on it.
    is_wanted: bool
    #: Seconds until its job's deadline, which may be over.
    time_left: float
    #: Fault and code of the last poll, if it got no update.
    last_fault: dict[str, str] | None
    #: Seconds since its account last reported on any operation; read when denials go on.
    answered_ago: float | None = None
    read_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True, kw_only=True)
class Seen:
    """The result of one poll: an update or a fault, and when to poll again."""

    item: PollItem
    wait: float
    percent: int = 0
    update: Update | None = None
    fault: Failure | None = None
    #: Polls in a row with this kind of fault, this one included.
    faults: int = 0
    #: Whether the result differs from the previous poll's.
    is_news: bool = True
    #: Whether it is no longer polled, although it has not ended.
    is_abandoned: bool = False
    #: Whether it is unwanted, and its cancel was held back while its provider denied it.
    is_stray: bool = False
    #: Whether its videos are given up, although it is still polled, for its cost.
    is_lost: bool = False

    @property
    def id(self) -> str:
        return self.item.id

    @property
    def word(self) -> str:
        """What it showed, as it is counted."""
        if self.update is not None:
            phase = self.update.phase
            return str(phase) if phase.is_final else "running"
        if self.fault is not None and self.fault.code == STRANGE:
            return "strange"
        return _WORDS.get(self.fault.fault, "faulty") if self.fault else "faulty"

    @property
    def moves_job(self) -> bool:
        """Whether writing it may end the job, or make a due row of another kind for it."""
        return self.has_ended or self.is_abandoned or self.is_lost or self.is_stray

    @property
    def has_ended(self) -> bool:
        return self.update is not None and self.update.phase.is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll(Verb[PollItem, Seen]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    _gatherers: dict[str, Gatherer] = field(default_factory=dict)
    what: What = What.POLL
    concurrency: int = 64
    each: int = 500
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[PollItem]:
        rows = await self.engine.database.fetch(
            f"""
            SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.operation_id,
                   extract(epoch FROM now() - attempt.accepted_at)::float8 AS elapsed,
                   job.typical_seconds AS typical, attempt.poll_faults,
                   extract(epoch FROM now() - attempt.denied_since)::float8 AS denied_for,
                   {ESTIMATE} AS estimate,
                   extract(epoch FROM job.deadline_at - now())::float8 AS time_left,
                   attempt.error AS last_fault, EXISTS (
                       SELECT 1 FROM output
                       WHERE output.attempt = attempt.id AND output.state = 'expected'
                   ) AS is_wanted
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%b) AND attempt.state = 'accepted'
            """,  # noqa: S608 - a constant
            ([row.id for row in claimed],),
        )
        items = [PollItem(**row) for row in rows]
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
        seen = await self._looked(item, hold.pace)
        note_work(self.what, seen.word, account=item.account, began=began)
        if item.is_wanted or seen.has_ended or item.elapsed < ABANDONED_AFTER:
            return seen
        log.warning("poll.abandoned", attempt=item.id, account=item.account)
        return replace(seen, is_abandoned=True)

    async def _looked(self, item: PollItem, pace: Pace) -> Seen:
        try:
            update = await self._look(item, pace)
        except UnknownStatus as error:
            log.error("poll.undocumented_status", account=item.account, word=error.word)  # noqa: TRY400 - the word is all there is to tell
            return self._faulty(item, _failure(str(error), code=STRANGE))
        except ProviderError as error:
            return self._faulty(item, error.failure)
        except (NoCredentials, TransportError) as error:
            return self._faulty(item, _failure(str(error)))
        crash_point("poll.answered")
        return self._seen(item, update) if update else self._faulty(item, _DENIED)

    async def _look(self, item: PollItem, pace: Pace) -> Update | None:
        """Poll alone, or with others in one call; after an unreadable shared answer, alone."""
        upstream = self.engine.upstream(item.account)
        most = upstream.provider.capabilities.poll_many
        ask = partial(_ask, upstream, pace)
        if most > 1:
            gatherer = self._gatherers.setdefault(item.account, Gatherer(most, ask))
            try:
                return await gatherer.look(item.operation_id)
            except (UnknownStatus, BadAnswer):
                pass  # one operation's answer can't be read: polling alone shows which
        return (await ask([item.operation_id])).get(item.operation_id)

    def _seen(self, item: PollItem, update: Update) -> Seen:
        elapsed = item.elapsed + time.monotonic() - item.read_at
        capabilities = self.engine.provider(item.account).capabilities
        wait = next_poll(
            elapsed=elapsed,
            p50=item.typical,
            floor=self.engine.poll_floor(item.account),
            ceiling=capabilities.poll_ceiling,
            asked=bounded(update.poll_after, time_left=item.time_left),
            dice=random.random(),
        )
        if not item.is_wanted:
            percent = 0  # another operation's progress is the job's
        elif capabilities.progress:
            percent = min(99, int(100 * (update.progress or 0.0)))
        else:
            percent = estimated_progress(elapsed=elapsed, typical=item.typical)
        return Seen(
            item=item,
            wait=wait,
            percent=percent,
            update=update,
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
        await _write_running(connection, running)
        await self._stop(connection, [seen for seen in running if seen.is_stray])
        lost = [seen for seen in faulty if seen.is_lost]
        await _write_lost(connection, lost)
        await record_abandoned(connection, [seen.id for seen in results if seen.is_abandoned])
        await record_ended(
            self.engine,
            connection,
            [
                Ended(attempt=seen.item, update=seen.update)
                for seen in kept
                if seen.update and seen.update.phase.is_final
            ],
            others=[seen.item.job for seen in lost],
        )
        # The end of a lost operation's job makes its poll due at once: this puts it off again.
        await _write_faulty(connection, faulty)

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


async def _ask(upstream: Upstream, pace: Pace, operations: Sequence[str]) -> Mapping[str, Update]:
    """Ask once for operations; the lane's pace counts the answer once, however many they are."""
    begun = pace.now()
    try:
        updates = await upstream.poll(operations)
    except ProviderError as error:
        if error.failure.fault is Fault.RATE:
            pace.was_limited(error.failure.retry_after, begun=begun)
        raise
    pace.went_well()
    return updates


async def _write_lost(connection: Connection, lost: Sequence[Seen]) -> None:
    """Give up the videos of lost operations; they stay accepted: they may have to be paid."""
    if not lost:
        return
    log.error("poll.lost", attempts=[seen.id for seen in lost])
    await fail_outputs(connection, {seen.id: _LOST for seen in lost}, of="attempt")
    told = [(seen.item.job, {"attempt": seen.id}) for seen in lost]
    await tell(connection, "attempt.lost", told)


async def _write_running(connection: Connection, running: Sequence[Seen]) -> None:
    """The hot path: attempts, jobs whose progress grew, and due rows, in one statement.

    A locked job is skipped: the next poll writes its progress.
    """
    if not running:
        return
    await connection.execute(
        """
        WITH seen AS (
            SELECT * FROM unnest(%(ids)b::text[], %(progress)b::float8[], %(percent)b::int[],
                                 %(waits)b::float8[]) AS seen(id, progress, percent, wait)
        ), looked AS (
            UPDATE attempt SET progress = greatest(attempt.progress, seen.progress),
                               polls = polls + 1, poll_faults = 0, error = NULL,
                               seen_at = now(), denied_since = NULL
            FROM seen WHERE attempt.id = seen.id AND attempt.state = 'accepted'
            RETURNING attempt.job, seen.percent
        ), grown AS (
            SELECT job.id, looked.percent FROM job JOIN looked ON looked.job = job.id
            WHERE job.state = 'processing' AND looked.percent > job.progress_percent
            FOR NO KEY UPDATE OF job SKIP LOCKED
        ), told AS (
            UPDATE job SET progress_percent = grown.percent FROM grown WHERE job.id = grown.id
        )
        UPDATE due SET at = now() + seen.wait * interval '1 second', lease = NULL, tries = 0,
                       faults = 0
        FROM seen WHERE due.what = 'poll' AND due.id = seen.id
        """,
        {
            "ids": [seen.id for seen in running],
            "progress": [seen.update.progress if seen.update else None for seen in running],
            "percent": [seen.percent for seen in running],
            "waits": [seen.wait for seen in running],
        },
    )


async def _write_faulty(connection: Connection, faulty: Sequence[Seen]) -> None:
    """Schedule the next poll; record an undocumented status as an event, once."""
    if not faulty:
        return
    await connection.execute(
        """
        UPDATE attempt SET polls = polls + 1, poll_faults = new.faults, error = new.error,
                           denied_since = CASE WHEN new.error ->> 'fault' = 'gone'
                                               THEN coalesce(denied_since, now())
                                               ELSE denied_since END
        FROM unnest(%s::text[], %s::int[], %s::jsonb[]) AS new(id, faults, error)
        WHERE attempt.id = new.id AND attempt.state = 'accepted'
        """,
        (
            [seen.id for seen in faulty],
            [seen.faults for seen in faulty],
            [Jsonb(_kind_of(seen.fault)) for seen in faulty],
        ),
    )
    await due.put_back(
        connection,
        What.POLL,
        [seen.id for seen in faulty],
        after=[seen.wait for seen in faulty],
    )
    await tell(
        connection,
        STRANGE,
        [
            (seen.item.job, {"attempt": seen.id, "said": seen.fault.message})
            for seen in faulty
            if seen.fault and seen.fault.code == STRANGE and seen.is_news
        ],
    )


def _kind_of(fault: Failure | None) -> dict[str, str]:
    """The part of a fault that is stored: not its message, in which vendors quote prompts."""
    return {"fault": fault.fault, "code": fault.code} if fault else {}


def _failure(message: str, *, code: str = "provider_unreachable") -> Failure:
    return Failure(fault=Fault.TRANSIENT, code=code, message=message)


_WORDS = {Fault.GONE: "denied", Fault.RATE: "limited"}
_DENIED = Failure(
    fault=Fault.GONE, code="operation_denied", message="the provider knows no such operation"
)
_LOST = Failure(
    fault=Fault.GONE, code="operation_lost", message="the provider no longer knows the operation"
)
