"""How long operations take: learned from those that succeeded, used for polls and estimates."""

from models.database import Connection

#: Successes that a route's quantiles are learned from, the newest first, and their greatest age.
SAMPLES = 200
WINDOW_DAYS = 7


async def expect(connection: Connection, job: str, *, route: str, reported: bool) -> float | None:
    """Tell an accepted job what to expect of its route; returns the learned tenth percentile.

    Until a route was learned the job keeps the catalogue's typical time, and polls begin early.
    """
    cursor = await connection.execute(
        """
        UPDATE job SET progress_source = %(source)s,
                       typical_seconds = coalesce(learned.p50, job.typical_seconds)
        FROM (SELECT 1) AS one LEFT JOIN duration AS learned ON learned.route = %(route)s
        WHERE job.id = %(job)s
        RETURNING learned.p10
        """,
        {"source": "reported" if reported else "estimated", "route": route, "job": job},
    )
    row = await cursor.fetchone()
    return row["p10"] if row else None


async def learn(connection: Connection) -> int:
    """Learn every route's quantiles anew from its latest successes; the number of routes."""
    cursor = await connection.execute(
        """
        INSERT INTO duration (route, p10, p50, p90, samples)
        SELECT route, q[1], q[2], q[3], samples FROM (
            SELECT route, count(*) AS samples,
                   percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) AS q
            FROM (SELECT route, extract(epoch FROM finished_at - accepted_at)::float8 AS seconds,
                         row_number() OVER (PARTITION BY route ORDER BY finished_at DESC) AS age
                  FROM attempt
                  WHERE state = 'succeeded' AND accepted_at IS NOT NULL
                    AND finished_at > now() - %s * interval '1 day') AS latest
            WHERE age <= %s GROUP BY route) AS learned
        WHERE samples >= 5
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50,
            p90 = excluded.p90, samples = excluded.samples, learned_at = now()
        """,
        (WINDOW_DAYS, SAMPLES),
    )
    return cursor.rowcount
