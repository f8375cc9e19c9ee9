"""What a tenant's jobs were and cost, in groups: the use case behind `GET /v1/usage`.

Ended jobs are counted by their usage rows, which outlive them, unfinished ones by their job rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.failure import RequestRefused
from models.usage import MADE, MODEL, PROVIDER
from tasks.engine import Engine

#: SQL: the day of a `job`'s submission, formatted as text once for each group.
_DAY = "(job.created_at AT TIME ZONE 'UTC')::date"
#: SQL: the key of each kind of group, for a usage row and for an unfinished job.
_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "app_id": ("job.app_id", "job.app_id"),
    "model": ("job.model", MODEL),
    "provider": ("job.provider", PROVIDER),
    "day": (_DAY, _DAY),
    "key": ("job.api_key", "job.api_key"),
    "tenant": ("job.tenant", "job.tenant"),
}
#: What usage can be grouped by.
GROUPS: Final = tuple(_GROUPS)
#: Groups of one answer; app ids are the callers' own.
MOST_GROUPS = 1000

#: A pending job has no videos yet. The percentiles sort plain numbers, not whole rows.
_SELECT = """
WITH counted AS (
    SELECT {of_row} AS group_value, job.state, job.cost_micros, 0::bigint AS reserved_micros,
           job.videos, job.video_seconds, job.took_seconds
    FROM job_usage AS job WHERE {wanted_rows}
    UNION ALL
    SELECT {of_job}, job.state, 0, job.reserved_micros, made.videos, made.video_seconds, NULL
    FROM job LEFT JOIN LATERAL ({made}) AS made ON job.state <> 'pending'
    WHERE job.finished_at IS NULL AND {wanted_jobs}
), grouped AS (
    SELECT group_value,
           count(*) AS jobs,
           count(*) FILTER (WHERE state = 'complete') AS complete,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           coalesce(sum(videos), 0)::bigint AS videos,
           coalesce(sum(video_seconds), 0)::float8 AS video_seconds,
           sum(cost_micros)::bigint AS cost_micros,
           sum(reserved_micros)::bigint AS reserved_micros,
           array_agg(took_seconds) FILTER (WHERE took_seconds IS NOT NULL) AS took_seconds
    FROM counted GROUP BY group_value
)
SELECT {shown} AS group_value, jobs, complete, failed, cancelled, videos, video_seconds,
       cost_micros, reserved_micros,
       (SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds)
        FROM unnest(took_seconds) AS seconds) AS took
FROM grouped ORDER BY grouped.group_value NULLS LAST LIMIT %(limit)s
"""
#: SQL: whether the `request` of the job `asked` has the wanted metadata.
_HAS_METADATA = """NOT EXISTS (
    SELECT 1 FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted(name, value)
    WHERE asked.request -> 'metadata' ->> wanted.name IS DISTINCT FROM wanted.value)"""
#: SQL: whether the job of a usage row, or an unfinished job, still exists and has that metadata.
_ASKED_BY_ID = """EXISTS (
    SELECT 1 FROM job AS asked WHERE asked.id = {id} AND asked.created_at = job.created_at
                                 AND {has_metadata})"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The jobs of one group, by when they were submitted."""

    #: None where the jobs have no such thing, as an app id.
    group_value: str | None
    jobs: int
    complete: int
    failed: int
    cancelled: int
    #: Videos that were stored and charged, and their length.
    videos: int
    video_seconds: float
    cost_micros: int
    #: What unfinished jobs may still cost.
    reserved_micros: int
    #: 50th and 95th percentile of the seconds from submission, or `run_at`, to the video.
    took: tuple[float, float] | None

    @property
    def success_rate(self) -> float | None:
        """Complete jobs among those that were not cancelled; None before any has ended."""
        ended = self.complete + self.failed
        return self.complete / ended if ended else None


async def usage(
    engine: Engine,
    *,
    tenant: str | None,
    group_by: str,
    since: datetime | None = None,
    until: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[Usage]:
    """The usage of a tenant, or of all for None, in the order of the group's key.

    `metadata` selects jobs by values of their request's metadata, compared as text; jobs whose
    request was deleted have none.

    Raises:
        RequestRefused: there are no such groups, or too many.
    """
    if group_by not in _GROUPS:
        message = f"group_by must be one of {', '.join(GROUPS)} (it is {group_by[:64]})"
        raise RequestRefused(message, param="group_by")
    asked = metadata or {}
    given = {"tenant": tenant, "since": since, "until": until}
    found = await engine.database.fetch(
        _statement(
            group_by,
            {name for name, value in given.items() if value is not None},
            by_metadata=bool(asked),
        ),
        given | {"names": list(asked), "values": list(asked.values()), "limit": MOST_GROUPS + 1},
        row=_read,
    )
    if len(found) > MOST_GROUPS:
        message = f"there are more than {MOST_GROUPS} groups: ask for less with since and until"
        raise RequestRefused(message, param="group_by")
    return found


#: SQL: the conditions on a `job` or its row.
_CONDITIONS: Final[Mapping[str, str]] = {
    "tenant": "job.tenant = %(tenant)s",
    "since": "job.created_at >= %(since)s",
    "until": "job.created_at < %(until)s",
}


def _statement(group_by: str, given: set[str], *, by_metadata: bool) -> str:
    """Contains only conditions that were given, so that an index can serve each of them."""
    wanted = ["true", *(sql for name, sql in _CONDITIONS.items() if name in given)]
    of_row, of_job = _GROUPS[group_by]

    def where(id_: str) -> str:
        asked = _ASKED_BY_ID.format(id=id_, has_metadata=_HAS_METADATA)
        return " AND ".join([*wanted, asked] if by_metadata else wanted)

    return _SELECT.format(
        of_row=of_row,
        of_job=of_job,
        made=MADE,
        wanted_rows=where("job.job"),
        wanted_jobs=where("job.id"),
        shown="to_char(group_value, 'YYYY-MM-DD')" if group_by == "day" else "group_value",
    )


def _read(*, took: list[float] | None, **values: object) -> Usage:
    both = (took[0], took[1]) if took and took[0] is not None else None
    return Usage(took=both, **values)  # type: ignore[arg-type]
