"""How long operations take: learned from those that succeeded, used for polls and estimates."""

from models.database import Connection

#: Successes that a route's quantiles are learned from, the newest first, and their greatest age.
SAMPLES = 200
WINDOW_DAYS = 7


async def expect(connection: Connection, job: str, *, route: str, reported: bool) -> float | None:
    """Tell a job that is about to be accepted what to expect; returns the learned 10th percentile.

    Until a route was learned the job keeps the catalogue's typical time, and polls begin early.
    A job that was accepted before, by another attempt, keeps what it was told: its progress is
    estimated from that, and what was once shown must not become less.
    """
    cursor = await connection.execute(
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
        WHERE samples >= 5 ORDER BY route
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50,
            p90 = excluded.p90, samples = excluded.samples, learned_at = now()
        """,
        (WINDOW_DAYS, SAMPLES),
    )
    return cursor.rowcount
