"""What pages watch: whether a job, or something of all jobs, changed since they were drawn.

A glance says only that; what changed is read by drawing the page again. So one statement a second
serves all open pages of a process.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models.page_sessions import IS_OPEN
from tasks.engine import Engine
from tasks.view import FURTHEST, progress_percent

#: Seconds after which a list is drawn again while a job of it goes on: its progress is estimated.
_TICK: Final = 5
#: All that is asked for, by primary keys and the index job_unfinished; ids of events and of tries
#: only grow.
_LOOK: Final = f"""
SELECT asked.session, asked.tenant, asked.job AS subject, now() AS now,
       NOT EXISTS (SELECT FROM page_session WHERE page_session.id = asked.session AND {IS_OPEN})
           AS is_gone,
       CASE WHEN asked.job IS NULL
            THEN concat_ws(' ', (SELECT max(id) FROM event), (SELECT max(id) FROM delivery_try),
                           (SELECT max(id) FROM job), (SELECT max(id) FROM delivery),
                           (SELECT max(id) FROM intake_failure))
            ELSE concat_ws(' ', job.state, job.deleted_at, job.cost_micros,
                           (SELECT max(id) FROM event WHERE event.job = job.id),
                           (SELECT string_agg(concat_ws(' ', state, waits_for, operation_id,
                                                        cost_micros), ',' ORDER BY id)
                            FROM attempt WHERE attempt.job = job.id),
                           (SELECT string_agg(concat_ws(' ', state, tries), ',' ORDER BY id)
                            FROM delivery WHERE delivery.job = job.id),
                           (SELECT string_agg(concat_ws(' ', state, recovered_at, deleted_at), ','
                                              ORDER BY position)
                            FROM output WHERE output.job = job.id))
            END AS mark,
       asked.job IS NULL AND EXISTS (
           SELECT FROM job WHERE finished_at IS NULL AND job.tenant = asked.tenant) AS goes_on,
       job.id AS job, coalesce(job.progress_percent, 0) AS progress_percent,
       ({FURTHEST}) AS furthest,
       coalesce(job.progress_source, '') AS progress_source,
       coalesce(job.typical_seconds, 0) AS typical_seconds, job.accepted_at, job.finished_at
FROM unnest(%(sessions)s::text[], %(tenants)s::text[], %(jobs)s::text[])
     AS asked (session, tenant, job)
LEFT JOIN job ON job.id = asked.job AND (asked.tenant IS NULL OR job.tenant = asked.tenant)
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one page shows."""

    #: The session that must go on.
    session: str
    #: Whose; None: all tenants'.
    tenant: str | None
    #: One job's; None: lists and sums of all of them.
    job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a page shows, at one moment: another mark or tick means that it changed."""

    mark: str
    #: Time, while progress is estimated; None if nothing goes on.
    tick: int | None = None
    #: The session has ended, or there is no such job.
    is_gone: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_gone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    session: str
    tenant: str | None
    subject: str | None
    now: datetime
    is_gone: bool
    mark: str
    goes_on: bool
    job: str | None
    progress_percent: int
    furthest: float | None
    progress_source: str
    typical_seconds: float
    accepted_at: datetime | None
    finished_at: datetime | None


async def look(engine: Engine, asked: Sequence[Asked]) -> Mapping[Asked, Seen]:
    """All that are asked for, with one statement."""
    given: dict[str, Any] = {
        "sessions": [each.session for each in asked],
        "tenants": [each.tenant for each in asked],
        "jobs": [each.job for each in asked],
    }
    rows = await engine.database.fetch(_LOOK, given, row=_Row)
    return {
        Asked(session=row.session, tenant=row.tenant, job=row.subject): _seen(row) for row in rows
    }


def _seen(row: _Row) -> Seen:
    if row.is_gone or (row.subject is not None and row.job is None):
        return Seen(mark="", is_gone=True)
    mark = hashlib.sha256(row.mark.encode()).hexdigest()[:16]
    if row.subject is not None:
        return Seen(mark=mark, tick=None if row.finished_at else progress_percent(row))
    return Seen(mark=mark, tick=int(row.now.timestamp()) // _TICK if row.goes_on else None)
