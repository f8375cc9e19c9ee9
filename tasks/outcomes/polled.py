"""What a poll shows of an operation, and the statements that write it of many at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from psycopg.types.json import Jsonb

from models.advance import Clock, fail_outputs, tell
from models.database import Connection, fetch_ids
from models.failure import Failure, Fault
from providers.again import Kept
from providers.base import Update

log = structlog.get_logger()

#: The failure code of a poll, and the kind of event, for a status that no documentation has.
STRANGE: Final = "status.undocumented"

_WORDS: Final = {Fault.GONE: "denied", Fault.RATE: "limited"}
_LOST = Failure(
    fault=Fault.GONE, code="operation_lost", message="the provider no longer knows the operation"
)


# Neither is frozen: a frozen value takes three times as long to make, and each poll makes both.
@dataclass(slots=True, kw_only=True)
class PollItem:
    """One accepted operation; its seconds are counted at `read_at`."""

    id: str
    job: str
    tenant: str
    account: str
    operation_id: str
    #: Upstream model and length.
    route: str
    elapsed: float
    #: Seconds since it left its vendor's queue; None if no poll has seen it run.
    running_for: float | None = None
    #: Seconds since the last poll that returned an update; None if none did.
    seen_ago: float | None = None
    typical: float
    poll_faults: int
    #: Number of polls so far. A holder continues the count that it read and writes the total, so
    #: writing it twice changes nothing. Polls without news are written with the next news: those
    #: that are unwritten when a process hands over or dies are not counted.
    polls: int = 0
    #: Whether its provider has an address for callbacks, and called since the last update.
    has_callbacks: bool = False
    was_called: bool = False
    #: Seconds since its provider first denied it, with no update in between.
    denied_for: float | None
    #: Its job's estimated cost, in millionths of a US dollar.
    estimate: int
    #: Whether an expected video depends on it.
    is_wanted: bool
    #: Whether its job shows reported progress, not an estimate that is computed when it is read.
    shows_reports: bool
    #: Seconds until its job's deadline, which may be over.
    time_left: float
    #: Fault and code of the last poll, if it got no update.
    last_fault: dict[str, str] | None
    #: Seconds since its account last reported on any operation; read when denials go on.
    answered_ago: float | None = None
    read_at: float = field(default_factory=time.monotonic)
    #: What is kept between two looks; None: there is only one.
    kept: Kept | None = None

    def run_for(self, now: float) -> float | None:
        """Seconds for which an operation that is seen to run, or to have ended, has run.

        None if it was never seen in its vendor's queue; else it left it halfway between two looks.
        """
        since = now - self.read_at
        if self.running_for is not None:
            return self.running_for + since
        return None if self.seen_ago is None else (self.seen_ago + since) / 2

    def note(self, *, running_for: float | None, now: float) -> None:
        """Remember a look: who keeps the item looks again without reading it."""
        since = now - self.read_at
        self.seen_ago, self.was_called = -since, False
        if running_for is not None:
            self.running_for = running_for - since

    def clock(self, now: float) -> Clock:
        """Since when it ran, and when it was last seen to, as its end records it."""
        since = now - self.read_at
        return Clock(
            running_for=None if self.running_for is None else self.running_for + since,
            seen_ago=None if self.seen_ago is None else self.seen_ago + since,
        )

    def age(self, now: float) -> None:
        """Count its seconds up to `now`."""
        passed = now - self.read_at
        self.elapsed += passed
        self.time_left -= passed
        if self.denied_for is not None:
            self.denied_for += passed
        if self.running_for is not None:
            self.running_for += passed
        if self.seen_ago is not None:
            self.seen_ago += passed
        self.read_at = now


@dataclass(slots=True, kw_only=True)
class Seen:
    """The result of one poll: an update or a fault, and when to poll again."""

    item: PollItem
    wait: float
    #: What the job's progress is computed from, 0..1; None if the update says nothing about it.
    progress: float | None = None
    update: Update | None = None
    #: Seconds for which it has run; None if it is queued.
    running_for: float | None = None
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
    #: Number of polls of the operation, including this one.
    polls: int = 1

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
        return self.is_abandoned or self.is_lost or self.is_stray or self.has_ended

    @property
    def has_ended(self) -> bool:
        return self.update is not None and self.update.phase.is_final


async def write_lost(connection: Connection, lost: Sequence[Seen]) -> None:
    """Give up the videos of lost operations; they stay accepted: they may have to be paid."""
    if not lost:
        return
    log.error("poll.lost", attempts=[seen.id for seen in lost])
    await fail_outputs(connection, {seen.id: _LOST for seen in lost}, of="attempt")
    told = [(seen.item.job, {"attempt": seen.id}) for seen in lost]
    await tell(connection, "attempt.lost", told)


async def write_running(connection: Connection, running: Sequence[Seen]) -> None:
    """The pump's hot path: attempts and due rows, in one statement.

    A job's progress is computed from its attempts' when it is read, so no poll waits for a job.
    """
    if not running:
        return
    await connection.execute(
        """
        WITH seen AS (
            SELECT * FROM unnest(%(ids)b::text[], %(progress)b::float8[], %(polls)b::int[],
                                 %(waits)b::float8[], %(running)b::float8[])
                AS seen(id, progress, polls, wait, running_for)
        ), looked AS (
            UPDATE attempt SET progress = greatest(attempt.progress, seen.progress),
                               polls = greatest(attempt.polls, seen.polls), poll_faults = 0,
                               error = NULL, seen_at = now(), denied_since = NULL,
                               running_at = coalesce(
                                   attempt.running_at,
                                   now() - seen.running_for * interval '1 second')
            FROM seen WHERE attempt.id = seen.id AND attempt.state = 'accepted'
        )
        UPDATE due SET at = now() + seen.wait * interval '1 second', lease = NULL, tries = 0,
                       faults = 0
        FROM seen WHERE due.what = 'poll' AND due.id = seen.id
        """,
        {
            "ids": [seen.id for seen in running],
            "progress": [seen.progress for seen in running],
            "polls": [seen.polls for seen in running],
            "waits": [seen.wait for seen in running],
            "running": [seen.running_for for seen in running],
        },
    )


async def write_faults(connection: Connection, faulty: Sequence[Seen]) -> None:
    """Record polls without an update; an undocumented status also gets one event.

    A poll that is already counted was written by a transaction whose commit was not confirmed.
    """
    if not faulty:
        return
    # An operation may have had several while the database was unreachable: only the last counts.
    last = list({seen.id: seen for seen in faulty}.values())
    new = await fetch_ids(
        connection,
        """
        UPDATE attempt SET polls = new.polls, poll_faults = new.faults,
                           error = new.error,
                           denied_since = CASE WHEN new.error ->> 'fault' = 'gone'
                                               THEN coalesce(denied_since, now())
                                               ELSE denied_since END
        FROM unnest(%s::text[], %s::int[], %s::int[], %s::jsonb[])
             AS new(id, polls, faults, error)
        WHERE attempt.id = new.id AND attempt.state = 'accepted' AND attempt.polls < new.polls
        RETURNING attempt.id
        """,
        (
            [seen.id for seen in last],
            [seen.polls for seen in last],
            [seen.faults for seen in last],
            [Jsonb(kind_of(seen.fault)) for seen in last],
        ),
    )
    await tell(
        connection,
        STRANGE,
        [
            (seen.item.job, {"attempt": seen.id, "said": seen.fault.message})
            for seen in faulty
            if seen.fault and seen.fault.code == STRANGE and seen.is_news and seen.id in new
        ],
    )


def kind_of(fault: Failure | None) -> dict[str, str]:
    """The part of a fault that is stored: not its message, in which vendors quote prompts."""
    return {"fault": fault.fault, "code": fault.code} if fault else {}
