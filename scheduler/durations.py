"""Durations of operations: learned from succeeded ones, used for timetables and estimates."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.database import Connection, fetch_row, fetch_rows
from models.records import columns
from scheduler.hazard import Sample, Usual, fit
from scheduler.looks import Learned, model_of

#: Maximum number and age of the succeeded attempts that a route's quantiles are learned from.
SAMPLES = 200
WINDOW_DAYS = 7


#: Fewest samples from which a route is learned.
ENOUGH = 5
#: New successes, as a part of those learned from, for which a distribution is found anew; and the
#: most routes for which that is done at a time.
_NEWS, _AT_A_TIME = 0.05, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """A route's latest ends, the newest first: each came after `lows` and not after `highs`."""

    route: str
    p50: float
    lows: list[float]
    highs: list[float]


async def expect(connection: Connection, job: str, *, route: str, reported: bool) -> Learned | None:
    """Set the expected duration of a job about to be accepted; returns what its route's is.

    Without learned quantiles the job keeps the catalogue's typical duration, and polls start early.
    A job whose earlier attempt was accepted is unchanged: estimated progress, once shown, must not
    decrease.
    """
    return await fetch_row(
        connection,
        Learned,
        f"""
        WITH learned AS (SELECT {columns(Learned)} FROM duration WHERE route = %(route)s),
        told AS (
            UPDATE job SET progress_source = %(source)s,
                           typical_seconds = coalesce((SELECT p50 FROM learned), typical_seconds)
            WHERE id = %(job)s AND accepted_at IS NULL)
        SELECT * FROM learned
        """,  # noqa: S608 - a constant
        {"source": "reported" if reported else "estimated", "route": route, "job": job},
    )


async def learn(connection: Connection, *, usual: Mapping[str, Usual] | None = None) -> int:
    """Update what is known of every route from its latest successes; returns the number of routes.

    `usual` are the catalogue's times by provider and model, which count as a few samples.
    """
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
        WHERE samples >= %s ORDER BY routes.route
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50,
            p90 = excluded.p90, samples = excluded.samples, learned_at = now()
        """,
        (WINDOW_DAYS, SAMPLES, ENOUGH),
    )
    found = await _ends_to_fit(connection)
    if found:
        fitted = await asyncio.to_thread(_fit, found, usual or {})
        await connection.execute(
            """
            UPDATE duration SET knots = fitted.knots::float8[], fitted_at = now()
            FROM unnest(%s::text[], %s::text[]) AS fitted(route, knots)
            WHERE duration.route = fitted.route
            """,
            (list(fitted), ["{" + ",".join(map(str, knots)) + "}" for knots in fitted.values()]),
        )
    return cursor.rowcount


async def _ends_to_fit(connection: Connection) -> list[_Ends]:
    """The ends of routes of which there is news, by the clock that polls go by.

    That is since the operation left the vendor's queue. Of one that was never seen to run, no more
    is known than that it had ended when it was seen.
    """
    return await fetch_rows(
        connection,
        _Ends,
        """
        WITH stale AS (
            SELECT route, p50 FROM duration
            WHERE fitted_at IS NULL OR (
                SELECT count(*) FROM (
                    SELECT FROM attempt
                    WHERE state = 'succeeded' AND attempt.route = duration.route
                      AND finished_at > duration.fitted_at LIMIT %(samples)s) AS new
                ) > greatest(0, %(news)s * duration.samples)
            ORDER BY fitted_at NULLS FIRST LIMIT %(routes)s
        )
        SELECT stale.route, stale.p50, ends.lows, ends.highs FROM stale, LATERAL (
            SELECT array_agg(coalesce(greatest(0, extract(epoch FROM seen_at - since)), 0)::float8
                             ORDER BY finished_at DESC) AS lows,
                   array_agg(extract(epoch FROM finished_at - since)::float8
                             ORDER BY finished_at DESC) AS highs
            FROM (SELECT finished_at, coalesce(running_at, accepted_at) AS since,
                         CASE WHEN running_at IS NOT NULL THEN seen_at END AS seen_at
                  FROM attempt
                  WHERE state = 'succeeded' AND attempt.route = stale.route
                    AND finished_at > now() - %(days)s * interval '1 day'
                    AND accepted_at IS NOT NULL
                  ORDER BY finished_at DESC LIMIT %(samples)s) AS latest) AS ends
        WHERE ends.lows IS NOT NULL
        """,
        {"samples": SAMPLES, "news": _NEWS, "routes": _AT_A_TIME, "days": WINDOW_DAYS},
    )


def _fit(found: Sequence[_Ends], usual: Mapping[str, Usual]) -> dict[str, tuple[float, ...]]:
    return {
        ends.route: fit(
            [Sample(low, max(low, high)) for low, high in zip(ends.lows, ends.highs, strict=True)],
            usual=usual.get(model_of(ends.route)) or Usual.around(max(ends.p50, 0.1)),
        )
        for ends in found
    }
