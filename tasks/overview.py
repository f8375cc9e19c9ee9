"""How it goes at the moment: jobs by state, the last day's ends, durations and cost.

Each number is read from a bounded number of rows, whatever there is in the tables: of the last day
the MOST jobs are looked at that ended last, and as many unfinished ones. Where more have ended, the
time that is looked at begins with the first of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from models.budgets import ListedBudget, list_budgets
from models.database import Connection, fetch_row
from models.estimate import SHARE_OF_ESTIMATE
from models.records import Json
from models.state import JobState
from tasks.engine import Engine

#: Jobs of each kind that are looked at.
MOST: Final = 10_000
#: Budgets that are shown: those that have the least left.
MOST_BUDGETS: Final = 50
#: Parts of the time that is looked at: hours, if that is a day.
PARTS: Final = 24

#: By the indexes job_by_tenant_end or job_by_end, and job_unfinished.
_READ: Final = """
WITH recent AS MATERIALIZED (
    SELECT state, finished_at, typical_seconds, cost_micros,
           extract(epoch FROM finished_at - greatest(created_at, run_at))::float8 AS took
    FROM job WHERE {whose} AND finished_at >= %(day_ago)s ORDER BY finished_at DESC LIMIT %(most)s
), looked AS (
    SELECT count(*) = %(most)s AS is_cut,
           CASE WHEN count(*) = %(most)s THEN min(finished_at) ELSE %(day_ago)s END AS since
    FROM recent
), unfinished AS (
    SELECT state FROM job WHERE {whose} AND finished_at IS NULL AND deleted_at IS NULL
    LIMIT %(most)s
), ends AS (
    SELECT width_bucket(extract(epoch FROM finished_at)::float8, extract(epoch FROM since)::float8,
                        extract(epoch FROM now() + interval '1 s')::float8, %(parts)s) AS part,
           count(*) FILTER (WHERE state = 'complete') AS complete,
           count(*) FILTER (WHERE state = 'failed') AS failed
    FROM recent, looked GROUP BY 1
)
SELECT now() AS now, looked.since, looked.is_cut,
       coalesce((SELECT jsonb_object_agg(state, jobs)
                 FROM (SELECT state, count(*) AS jobs FROM unfinished GROUP BY 1) AS by_state),
                '{{}}') AS unfinished,
       coalesce((SELECT jsonb_object_agg(state, jobs)
                 FROM (SELECT state, count(*) AS jobs FROM recent GROUP BY 1) AS by_state),
                '{{}}') AS ended,
       coalesce((SELECT jsonb_object_agg(part, ARRAY[complete, failed]) FROM ends), '{{}}') AS ends,
       (SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took) FROM recent
        WHERE state = 'complete') AS took,
       (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY typical_seconds) FROM recent
        WHERE state = 'complete') AS typical,
       coalesce((SELECT sum(cost_micros) FROM recent
                 WHERE finished_at >= date_trunc('day', now())), 0)::bigint AS spent_micros
FROM looked
"""
#: By the index attempt_unknown.
_UNKNOWN: Final = f"""
SELECT count(*)::int AS attempts, coalesce(sum({SHARE_OF_ESTIMATE}), 0)::bigint AS micros
FROM attempt JOIN job ON job.id = attempt.job
WHERE attempt.state = 'unknown' AND (%(tenant)s::text IS NULL OR job.tenant = %(tenant)s)
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The jobs that ended in one part of the time, which begins at `at`."""

    at: datetime
    complete: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Attempts whose POST has no known answer, and what they may have cost."""

    attempts: int
    micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The numbers of one tenant, or of all."""

    now: datetime
    #: Since when the jobs that are counted have ended: for a day, or for less if there are more
    #: than MOST of them.
    since: datetime
    is_cut: bool
    #: Unfinished jobs by state, up to MOST together.
    unfinished: Mapping[str, int]
    #: Those jobs by state.
    ended: Mapping[str, int]
    #: Equal parts of that time, in their order.
    parts: tuple[Part, ...]
    #: 50th and 95th percentile of the seconds from submission or start to the video.
    took: tuple[float, float] | None
    #: What providers typically take for such videos, as was learned before; the median, in seconds.
    typical: float | None
    #: Of those jobs, the charges since midnight UTC.
    spent_micros: int
    budgets: tuple[ListedBudget, ...]
    unknown: Unknown

    @property
    def success_rate(self) -> float | None:
        """Complete jobs among those that were not cancelled; None before any has ended."""
        ended = self.ended[JobState.COMPLETE] + self.ended[JobState.FAILED]
        return self.ended[JobState.COMPLETE] / ended if ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    now: datetime
    since: datetime
    is_cut: bool
    unfinished: Json
    ended: Json
    ends: Mapping[str, Sequence[int]]
    took: Sequence[float | None] | None
    typical: float | None
    spent_micros: int


async def read(engine: Engine, *, tenant: str | None) -> Overview:
    """The numbers of a tenant, or for None of all."""

    async def work(connection: Connection) -> Overview:
        clock = await fetch_row(connection, dict[str, Any], "SELECT now() AS now")
        assert clock is not None  # noqa: S101 - a SELECT without FROM has one row
        day_ago = clock["now"] - timedelta(days=1)
        given = {
            "tenant": tenant,
            "day_ago": day_ago,
            "parts": PARTS,
            "most": MOST,
        }
        whose = "true" if tenant is None else "tenant = %(tenant)s"
        row = await fetch_row(connection, _Row, _READ.format(whose=whose), given)
        unknown = await fetch_row(connection, Unknown, _UNKNOWN, given)
        assert row is not None and unknown is not None  # noqa: S101, PT018 - as above
        budgets = tuple(await list_budgets(connection, tenant, fullest=MOST_BUDGETS))
        return Overview(
            now=row.now,
            since=row.since,
            is_cut=row.is_cut,
            unfinished=_by_state(row.unfinished),
            ended=_by_state(row.ended),
            parts=_parts(row),
            took=_both(row.took),
            typical=row.typical,
            spent_micros=row.spent_micros,
            budgets=budgets,
            unknown=unknown,
        )

    return await engine.database.run(work)


def _by_state(counts: Json) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in JobState}


def _parts(row: _Row) -> tuple[Part, ...]:
    length = (row.now - row.since) / PARTS
    parts = []
    for number in range(1, PARTS + 1):
        complete, failed = row.ends.get(str(number), (0, 0))
        at = row.since + (number - 1) * length
        parts.append(Part(at=at, complete=complete, failed=failed))
    return tuple(parts)


def _both(took: Sequence[float | None] | None) -> tuple[float, float] | None:
    if not took or took[0] is None or took[1] is None:
        return None
    return took[0], took[1]
