"""What became of one job: its events, attempts and the ledger's entries, for its page.

A tenant sees the transitions of its job and its own side of the ledger. What else there is names
accounts at providers, or what we paid them, and is for operators.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from models.database import Connection, fetch_rows
from models.records import Json, columns
from models.rows.attempts import ESTIMATE, PLAN
from models.rows.money import Account, EntryRow
from models.state import JobState
from tasks.engine import Engine

#: Events of the job's own that its owner is told of beside its transitions.
_TOLD: Final = (*JobState, "gate.hop")
_OWN_ACCOUNTS: Final = (Account.AVAILABLE, Account.RESERVED, Account.SPENT)
#: Rows of each kind that a page shows: a job that hopped and repeated for days has fewer.
_MOST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A transition or another occurrence."""

    at: datetime
    kind: str
    #: For operators; empty for others.
    detail: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt as pages show it."""

    id: str
    state: str
    choice: int
    model: str
    provider: str
    count: int
    #: The attempt that it replaces.
    replaces: str | None
    rejections: int
    polls: int
    look_ups: int
    waits_for: str | None
    error: Json | None
    estimate_micros: int
    created_at: datetime
    sent_at: datetime | None
    accepted_at: datetime | None
    finished_at: datetime | None
    #: For operators; None for others.
    account: str | None
    operation_id: str | None
    cost_micros: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What became of one job, each in the order of time."""

    events: tuple[Event, ...]
    attempts: tuple[Attempt, ...]
    entries: tuple[EntryRow, ...] = field(repr=False)


_EVENTS: Final = """
SELECT at, kind, CASE WHEN %(all)s THEN detail ELSE '{}' END AS detail FROM event
WHERE job = %(job)s AND (%(all)s OR kind = ANY(%(told)s)) ORDER BY id LIMIT %(most)s
"""
_ATTEMPTS: Final = f"""
SELECT attempt.id, attempt.state, attempt.choice, {PLAN} ->> 'model' AS model, attempt.provider,
       attempt.count, attempt.replaces, attempt.rejections, attempt.polls, attempt.look_ups,
       attempt.waits_for, attempt.error, {ESTIMATE} AS estimate_micros, attempt.created_at,
       attempt.sent_at, attempt.accepted_at, attempt.finished_at,
       CASE WHEN %(all)s THEN attempt.account END AS account,
       CASE WHEN %(all)s THEN attempt.operation_id END AS operation_id,
       CASE WHEN %(all)s THEN attempt.cost_micros END AS cost_micros
FROM attempt JOIN job ON job.id = attempt.job
WHERE attempt.job = %(job)s ORDER BY attempt.id LIMIT %(most)s
"""  # noqa: S608 - constants
#: By the unique index that begins with the set, and by ledger_by_attempt.
_ENTRIES: Final = f"""
SELECT {columns(EntryRow)} FROM ledger_entry
WHERE (entry_set = ANY(ARRAY['reserve ' || %(job)s, 'charge ' || %(job)s, 'absorb ' || %(job)s])
       OR attempt = ANY(ARRAY(SELECT id FROM attempt WHERE job = %(job)s)))
  AND tenant = %(tenant)s AND (%(all)s OR account = ANY(%(own)s))
ORDER BY id LIMIT %(most)s
"""  # noqa: S608 - columns of our own


async def read(engine: Engine, job_id: str, *, tenant: str, is_operators: bool) -> Traces:
    """The traces of a tenant's job, which the caller has read."""
    given: Mapping[str, object] = {
        "job": job_id,
        "tenant": tenant,
        "all": is_operators,
        "told": list(_TOLD),
        "own": list(_OWN_ACCOUNTS),
        "most": _MOST,
    }

    async def work(connection: Connection) -> Traces:
        return Traces(
            events=tuple(await fetch_rows(connection, Event, _EVENTS, given)),
            attempts=tuple(await fetch_rows(connection, Attempt, _ATTEMPTS, given)),
            entries=tuple(await fetch_rows(connection, EntryRow, _ENTRIES, given)),
        )

    return await engine.database.run(work)
