"""Durations of operations: learned from succeeded ones, used for poll intervals and estimates."""

from dataclasses import dataclass

from models.database import Connection, fetch_row

#: Maximum number and age of the succeeded attempts that a route's quantiles are learned from.
SAMPLES = 200
WINDOW_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learned:
    """A route's learned 10th percentile, in seconds."""

    p10: float


async def expect(connection: Connection, job: str, *, route: str, reported: bool) -> float | None:
    """Set the expected duration of a job about to be accepted; returns the route's learned p10.

    Without learned quantiles the job keeps the catalogue's typical duration, and polls start early.
    A job whose earlier attempt was accepted is unchanged: estimated progress, once shown, must not
    decrease.
    """
    found = await fetch_row(
        connection,
        _Learned,
        """
        WITH learned AS (SELECT p10, p50 FROM duration WHERE route = %(route)s),
        told AS (
            UPDATE job SET progress_source = %(source)s,
                           typical_seconds = coalesce((SELECT p50 FROM learned), typical_seconds)
            WHERE id = %(job)s AND accepted_at IS NULL)
        SELECT p10 FROM learned
        """,
        {"source": "reported" if reported else "estimated", "route": route, "job": job},
    )
    return found.p10 if found else None


async def learn(connection: Connection) -> int:
    """Update every route's quantiles from its latest successes; returns the number of routes."""
    cursor = await connection.execute(
        """
        INSERT INTO duration (route, p10, p50, p90, samples)
        WITH RECURSIVE routes AS (  -- one step of the index `attempt_by_route` for each
            (SELECT route FROM attempt WHERE state = 'succeeded' ORDER BY route LIMIT 1)
            UNION ALL
            SELECT next.route FROM routes, LATERAL (
                SELECT route FROM attempt
                WHERE state = 'succeeded' AND attempt.route > routes.route
                ORDER BY attempt.route LIMIT 1) AS next
        )
        SELECT routes.route, q[1], q[2], q[3], samples FROM routes, LATERAL (
            SELECT count(*) AS samples,
                   percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) AS q
            FROM (SELECT extract(epoch FROM finished_at - accepted_at)::float8 AS seconds
                  FROM attempt
                  WHERE state = 'succeeded' AND attempt.route = routes.route
                    AND finished_at > now() - %s * interval '1 day'
                    AND accepted_at IS NOT NULL
                  ORDER BY finished_at DESC LIMIT %s) AS latest) AS learned
        WHERE samples >= 5 ORDER BY routes.route
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50,
            p90 = excluded.p90, samples = excluded.samples, learned_at = now()
        """,
        (WINDOW_DAYS, SAMPLES),
    )
    return cursor.rowcount
