"""How it goes at the moment: jobs by state, the last day's ends, durations and cost.

Each number is read from a bounded number of rows, whatever there is in the tables: of the last day
the newest MOST jobs are looked at, and of unfinished ones as many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from models.budgets import ListedBudget, list_budgets
from models.database import Connection, fetch_row
from models.estimate import SHARE_OF_ESTIMATE
from models.ids import first_id
from models.records import Json
from models.state import JobState
from tasks.engine import Engine

#: Jobs of each kind that are looked at.
MOST: Final = 20_000
#: Hours that the chart shows, the present one among them.
HOURS: Final = 24

_READ: Final = """
WITH recent AS MATERIALIZED (
    SELECT state, finished_at, created_at, typical_seconds, cost_micros,
           extract(epoch FROM finished_at - greatest(created_at, run_at))::float8 AS took
    FROM job WHERE {whose} AND id >= %(first)s ORDER BY id DESC LIMIT %(most)s
), unfinished AS (
    SELECT state FROM job WHERE {whose} AND finished_at IS NULL AND deleted_at IS NULL
    LIMIT %(most)s
), ends AS (
    SELECT date_trunc('hour', finished_at) AS hour, count(*) FILTER (WHERE state = 'complete')
               AS complete, count(*) FILTER (WHERE state = 'failed') AS failed
    FROM recent WHERE finished_at >= %(since)s GROUP BY 1
)
SELECT now() AS now, (SELECT count(*) FROM recent)::int AS looked_at,
       (SELECT min(created_at) FROM recent) AS oldest,
       coalesce((SELECT jsonb_object_agg(state, jobs)
                 FROM (SELECT state, count(*) AS jobs FROM unfinished GROUP BY 1) AS by_state),
                '{{}}') AS unfinished,
       coalesce((SELECT jsonb_object_agg(state, jobs)
                 FROM (SELECT state, count(*) AS jobs FROM recent WHERE finished_at IS NOT NULL
                       GROUP BY 1) AS by_state), '{{}}') AS ended,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                     'at', hour, 'complete', complete, 'failed', failed))
                 FROM ends), '[]') AS hours,
       (SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took) FROM recent
        WHERE state = 'complete') AS took,
       (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY typical_seconds) FROM recent
        WHERE state = 'complete') AS typical,
       coalesce((SELECT sum(cost_micros) FROM recent
                 WHERE finished_at >= date_trunc('day', now())), 0)::bigint AS spent_micros
"""
#: By the index attempt_unknown.
_UNKNOWN: Final = f"""
SELECT count(*)::int AS attempts, coalesce(sum({SHARE_OF_ESTIMATE}), 0)::bigint AS micros
FROM attempt JOIN job ON job.id = attempt.job
WHERE attempt.state = 'unknown' AND (%(tenant)s::text IS NULL OR job.tenant = %(tenant)s)
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The jobs that ended in one hour."""

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
    #: Since when the jobs that are counted were submitted: for a day, or for less if there are more
    #: than MOST of them.
    since: datetime
    is_cut: bool
    #: Unfinished jobs by state, up to MOST together.
    unfinished: Mapping[str, int]
    #: Final jobs of that time by state.
    ended: Mapping[str, int]
    #: The last hours, in their order; the last one is under way.
    hours: tuple[Hour, ...]
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
    looked_at: int
    oldest: datetime | None
    unfinished: Json
    ended: Json
    hours: Sequence[Json]
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
            "first": first_id("job_vid", day_ago),
            "since": _hour(clock["now"]) - timedelta(hours=HOURS - 1),
            "most": MOST,
        }
        whose = "true" if tenant is None else "tenant = %(tenant)s"
        row = await fetch_row(connection, _Row, _READ.format(whose=whose), given)
        unknown = await fetch_row(connection, Unknown, _UNKNOWN, given)
        assert row is not None and unknown is not None  # noqa: S101, PT018 - as above
        budgets = tuple(await list_budgets(connection, tenant))
        is_cut = row.looked_at == MOST
        return Overview(
            now=row.now,
            since=row.oldest if is_cut and row.oldest else day_ago,
            is_cut=is_cut,
            unfinished=_by_state(row.unfinished),
            ended=_by_state(row.ended),
            hours=_hours(row),
            took=_both(row.took),
            typical=row.typical,
            spent_micros=row.spent_micros,
            budgets=budgets,
            unknown=unknown,
        )

    return await engine.database.run(work)


def _by_state(counts: Json) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in JobState}


def _hours(row: _Row) -> tuple[Hour, ...]:
    found = {
        datetime.fromisoformat(each["at"]): Hour(
            at=datetime.fromisoformat(each["at"]), complete=each["complete"], failed=each["failed"]
        )
        for each in row.hours
    }
    present = _hour(row.now)
    times = [present - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    return tuple(found.get(at, Hour(at=at)) for at in times)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _both(took: Sequence[float | None] | None) -> tuple[float, float] | None:
    if not took or took[0] is None or took[1] is None:
        return None
    return took[0], took[1]
