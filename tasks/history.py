"""A job's history as its owner follows it: its states in their order, and what is new of many jobs.

Only transitions are told. Each is inserted under its job's lock, so a job's ids are committed in
their order and none appears below one that was told. What else the table has is for operators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Self

from models.database import Connection
from models.failure import RequestRefused
from models.keys import IS_VALID
from models.records import Json
from models.state import FINAL_JOB_STATES, JobState
from tasks.engine import Engine
from tasks.jobs import own_job
from tasks.view import FURTHEST, ShownJob, progress_percent, read_jobs

#: One look at all that are asked for, by the primary keys and the index event_by_job.
_LOOK: Final = f"""
SELECT asked.job, asked.after, asked.key, job.state, job.progress_percent, job.progress_source,
       ({FURTHEST}) AS furthest, job.typical_seconds, job.accepted_at, job.finished_at,
       now() AS now,
       job.id IS NULL OR job.deleted_at IS NOT NULL OR (asked.key IS NOT NULL AND NOT EXISTS (
           SELECT FROM api_key WHERE api_key.id = asked.key AND {IS_VALID})) AS is_gone,
       coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'state', kind, 'at', at) ORDER BY id)
                 FROM event WHERE event.job = asked.job AND event.id > asked.after
                   AND kind = ANY(%(states)s)), '[]') AS events
FROM unnest(%(jobs)s::text[], %(afters)s::bigint[], %(keys)s::text[]) AS asked (job, after, key)
LEFT JOIN job ON job.id = asked.job
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One job that is watched."""

    job: str
    #: The id of the last event that is known; None: only the job's end is of interest.
    after: int | None = None
    #: The id of the key that must stay valid, if one must.
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The move of a job to a state."""

    id: int
    state: str
    at: datetime

    @classmethod
    def from_json(cls, values: Json) -> Self:
        return cls(**values | {"at": datetime.fromisoformat(values["at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A job as a look reads it; without a job all of its columns are None."""

    job: str
    after: int | None
    key: str | None
    state: str | None
    progress_percent: int
    furthest: float | None
    progress_source: str
    typical_seconds: float
    accepted_at: datetime | None
    finished_at: datetime | None
    now: datetime
    is_gone: bool
    events: Sequence[Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job at one moment."""

    #: It is deleted, unknown, or the key is valid no more: nothing of it is shown.
    is_gone: bool
    #: A JobState, or a state that only a newer version knows.
    state: str
    percent: int
    #: `reported` or `estimated`.
    source: str
    #: Those after the known one, in the order of their ids.
    events: tuple[Transition, ...]
    #: The job as it is shown, once it is final and if its events were asked for.
    job: ShownJob | None = field(default=None, compare=False)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_JOB_STATES

    @property
    def is_over(self) -> bool:
        return self.is_gone or self.is_final


_GONE: Final = Seen(is_gone=True, state="", percent=0, source="", events=())


async def look(engine: Engine, asked: Sequence[Asked]) -> Mapping[Asked, Seen]:
    """What is new of all of them: one statement, and one more for the views of those that ended."""

    async def work(connection: Connection) -> Mapping[Asked, Seen]:
        found = await _look(connection, asked)
        ended = [
            each.job for each, seen in found.items() if each.after is not None and seen.is_final
        ]
        if not ended:
            return found
        views = {job.id: job for job in await read_jobs(connection, ended)}
        return {each: replace(seen, job=views.get(each.job)) for each, seen in found.items()}

    return await engine.database.run_statement(work)


async def begin(
    engine: Engine, job_id: str, *, tenant: str | None, after: int | None
) -> tuple[ShownJob, Seen]:
    """The tenant's job, or for None anyone's, and all of its transitions, which may be older.

    Raises:
        RequestRefused: `not_found`, or `after` is not the id of one of its events.
    """

    async def work(connection: Connection) -> tuple[ShownJob, Seen]:
        every = Asked(job=job_id, after=0)
        # The events first: a job that moves meanwhile is told of again, not left out.
        seen = (await _look(connection, [every]))[every] if job_id.isprintable() else _GONE
        return await own_job(connection, job_id, tenant=tenant), seen

    job, seen = await engine.database.run(work)
    newest = seen.events[-1].id if seen.events else 0
    are_pruned = seen.is_final and not seen.events
    if after is not None and after > newest and not are_pruned:
        msg = f"Last-Event-ID must be the id of an event of job {job_id} (it is {after})"
        raise RequestRefused(msg, param="Last-Event-ID")
    return job, replace(seen, job=job if seen.is_final else None)


async def _look(connection: Connection, asked: Sequence[Asked]) -> dict[Asked, Seen]:
    parameters: dict[str, Any] = {
        "jobs": [each.job for each in asked],
        "afters": [each.after for each in asked],
        "keys": [each.key for each in asked],
        "states": list(JobState),
    }
    cursor = await connection.execute(_LOOK, parameters)
    rows = [_Row(**values) for values in await cursor.fetchall()]
    return {Asked(job=row.job, after=row.after, key=row.key): _seen(row) for row in rows}


def _seen(row: _Row) -> Seen:
    if row.is_gone or row.state is None:
        return _GONE
    return Seen(
        is_gone=False,
        state=row.state,
        percent=progress_percent(row),
        source=row.progress_source,
        events=tuple(map(Transition.from_json, row.events)),
    )
