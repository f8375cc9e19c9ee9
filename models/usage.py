"""Usage rows: what each ended job was and cost, entered with its end and kept as the ledger is.

What usage counts never changes after a job's end: videos that are recovered later are not charged,
and deleting a job keeps its row. So a row is inserted once, and never updated.
"""

from collections.abc import Sequence

from models.database import Connection, fetch_ids
from models.invariant import Invariant

#: SQL: the charged videos of a `job`, and the number of the plan that made the first.
MADE = """
    SELECT count(*) AS videos,
           coalesce(sum(output.duration_seconds ORDER BY output.position), 0)::float8
               AS video_seconds,
           (array_agg(attempt.choice ORDER BY output.position))[1] AS choice
    FROM output JOIN attempt ON attempt.id = output.attempt
    WHERE output.job = job.id AND output.state = 'stored' AND output.recovered_at IS NULL
"""
#: SQL: the plan that `made` the first video of a `job`, or else the job's first plan.
_PLAN = "coalesce(job.fallbacks -> made.choice::text, job.plan)"
#: SQL: the model that a `job` counts for. For a gate's job, a hop may have changed it.
MODEL = f"CASE WHEN job.gate IS NULL THEN job.model ELSE {_PLAN} ->> 'model' END"
#: SQL: the provider that a `job` counts for.
PROVIDER = f"{_PLAN} ->> 'provider'"

#: The columns of a row, and the SQL of each for an ended `job`.
_ROW = {
    "tenant": "job.tenant",
    "created_at": "job.created_at",
    "job": "job.id",
    "api_key": "job.api_key",
    "app_id": "job.app_id",
    "model": MODEL,
    "provider": PROVIDER,
    "state": "job.state",
    "cost_micros": "coalesce(job.cost_micros, 0)",
    "videos": "made.videos",
    "video_seconds": "made.video_seconds",
    "took_seconds": """CASE WHEN job.state = 'complete' THEN extract(
        epoch FROM job.finished_at - greatest(job.created_at, job.run_at))::float8 END""",
}
_FINAL = "job.state IN ('complete', 'failed', 'cancelled')"

#: SQL: inserts rows for the jobs that have ended and have none; returns these jobs.
ENTER = f"""
INSERT INTO job_usage ({", ".join(_ROW)})
SELECT {", ".join(_ROW.values())}
FROM job CROSS JOIN LATERAL ({MADE}) AS made
WHERE job.id = ANY(%(jobs)s) AND {_FINAL} ORDER BY job.id
ON CONFLICT (tenant, created_at, job) DO NOTHING RETURNING job
"""  # noqa: S608 - constants


async def enter(connection: Connection, jobs: Sequence[str]) -> list[str]:
    """Enter the usage of ended jobs, in the transaction that charges them.

    Idempotent; returns the jobs that had no row. Inserting a row blocks no other transaction.
    """
    return await fetch_ids(connection, ENTER, {"jobs": list(jobs)}) if jobs else []


USAGE = (
    Invariant(
        "usage_untrue",
        "a usage row says what each final job was and cost, and an unfinished job has none",
        f"""
        SELECT job.id FROM job CROSS JOIN LATERAL ({MADE}) AS made
        LEFT JOIN LATERAL (
            SELECT {", ".join(_ROW)} FROM job_usage
            WHERE job_usage.tenant = job.tenant AND job_usage.created_at = job.created_at
              AND job_usage.job = job.id OFFSET 0) AS entered ON true
        WHERE CASE WHEN job.state = ANY(%(final)s)
              THEN ({", ".join(f"entered.{name}" for name in _ROW)})
                   IS DISTINCT FROM ({", ".join(_ROW.values())})
              ELSE entered.job IS NOT NULL END
        """,  # noqa: S608 - constants
    ),
)
