"""What a tenant's jobs were and cost, in groups: the use case behind `GET /v1/usage`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.failure import RequestRefused
from tasks.engine import Engine

#: SQL: the plan that the job's first stored video was made by, or else the one that it began with.
_PLAN = "coalesce(job.fallbacks -> made.choice::text, job.plan)"
#: SQL: what each group has in common, as text.
GROUPS: Final[Mapping[str, str]] = {
    "app_id": "job.app_id",
    # A gate chose the model, and may have moved on from it.
    "model": f"CASE WHEN job.gate IS NULL THEN job.model ELSE {_PLAN} ->> 'model' END",
    "provider": f"{_PLAN} ->> 'provider'",
    "day": "to_char(job.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "key": "job.api_key",
    "tenant": "job.tenant",
}
#: Groups of one answer; app ids are the callers' own.
MOST_GROUPS = 1000

_SELECT = """
SELECT {group} AS group_value,
       count(*) AS jobs,
       count(*) FILTER (WHERE job.state = 'complete') AS complete,
       count(*) FILTER (WHERE job.state = 'failed') AS failed,
       count(*) FILTER (WHERE job.state = 'cancelled') AS cancelled,
       coalesce(sum(made.videos), 0)::bigint AS videos,
       coalesce(sum(made.seconds), 0)::float8 AS video_seconds,
       coalesce(sum(job.cost_micros), 0)::bigint AS cost_micros,
       coalesce(sum(job.reserved_micros) FILTER (WHERE job.finished_at IS NULL), 0)::bigint
           AS reserved_micros,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(
           epoch FROM job.finished_at - greatest(job.created_at, job.run_at))::float8)
           FILTER (WHERE job.state = 'complete') AS took
FROM job
LEFT JOIN LATERAL (SELECT count(*) AS videos, sum(output.duration_seconds) AS seconds,
                          (array_agg(attempt.choice ORDER BY output.position))[1] AS choice
                   FROM output JOIN attempt ON attempt.id = output.attempt
                   WHERE output.job = job.id AND output.state = 'stored'
                     AND output.recovered_at IS NULL) AS made ON true
WHERE {whose}
  AND (%(since)s::timestamptz IS NULL OR job.created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR job.created_at < %(until)s)
  AND NOT EXISTS (SELECT 1 FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted(name, value)
                  WHERE job.request -> 'metadata' ->> wanted.name IS DISTINCT FROM wanted.value)
GROUP BY 1 ORDER BY 1 NULLS LAST LIMIT %(limit)s
"""


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
    """A tenant's usage, or for None all tenants', in the order of what each group has in common.

    `metadata` selects jobs by values of their request's metadata, compared as text.

    Raises:
        RequestRefused: there are no such groups, or too many.
    """
    if group_by not in GROUPS:
        message = f"group_by must be one of {', '.join(GROUPS)} (it is {group_by[:64]})"
        raise RequestRefused(message, param="group_by")
    wanted = metadata or {}
    found = await engine.database.fetch(
        _SELECT.format(
            group=GROUPS[group_by], whose="true" if tenant is None else "job.tenant = %(tenant)s"
        ),
        {
            "tenant": tenant,
            "since": since,
            "until": until,
            "names": list(wanted),
            "values": list(wanted.values()),
            "limit": MOST_GROUPS + 1,
        },
        row=_read,
    )
    if len(found) > MOST_GROUPS:
        message = f"there are more than {MOST_GROUPS} groups: ask for less with since and until"
        raise RequestRefused(message, param="group_by")
    return found


def _read(*, took: list[float] | None, **values: object) -> Usage:
    both = (took[0], took[1]) if took and took[0] is not None else None
    return Usage(took=both, **values)  # type: ignore[arg-type]
