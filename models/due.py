"""The due table's writers: each state change also puts the next due row, or drops the last one.

Hot paths send lists in binary (`%b`): psycopg takes five times as long to format them as text.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_ids, fetch_rows
from models.holders import IS_WATCHED
from models.ids import created_at
from models.locks import DUE_OF_JOBS, lock_jobs
from models.verbs import What

#: The lane of work that calls no provider and no receiver.
NO_LANE = "-"
#: The lane of the deadline of a batch's line that is held.
HELD_LANE = "held"
#: SQL: since when a due row waits. A priority is a head start in time: a submit waits since it is
#: due, but not before it was made.
SINCE = f"""
CASE WHEN what IN ('{What.SUBMIT}', '{What.PREPARE}')
     THEN least(now(), greatest(at, {created_at("id")})) ELSE at END
"""
#: Consecutive faults of our own from which a row is parked, and shown by an event and by `doctor`.
PARKED_FAULTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One unfinished thing, due `after` seconds from now or, if set, at `at`."""

    id: str
    lane: str
    tenant: str
    after: float = 0.0
    at: datetime | None = None


async def put(connection: Connection, what: What, rows: Sequence[Row]) -> None:
    """Insert due rows; an existing row is rescheduled and loses its lease.

    A poll that a process watches stays with it, and the process is told: the operation never has
    two watchers.
    """
    if not rows:
        return
    await connection.execute(
        _PUT_POLLS if what is What.POLL else _PUT,
        {
            "what": what,
            "ids": [row.id for row in rows],
            "lanes": [row.lane for row in rows],
            "tenants": [row.tenant for row in rows],
            "after": [row.after for row in rows],
            "at": [row.at for row in rows],
        },
    )


_PUT = """
INSERT INTO due (what, id, lane, tenant, at)
SELECT %(what)s, id, lane, tenant, coalesce(at, now() + after * interval '1 second')
FROM unnest(%(ids)s::text[], %(lanes)s::text[], %(tenants)s::text[],
            %(after)s::float8[], %(at)s::timestamptz[])
     AS new(id, lane, tenant, after, at)
ORDER BY id
ON CONFLICT (what, id) DO UPDATE
SET at = excluded.at, lease = NULL, tries = 0, faults = 0
"""
_PUT_POLLS = f"""
WITH put AS ({_PUT} WHERE NOT {IS_WATCHED} RETURNING id)
INSERT INTO nudge (holder, thing)
SELECT lease, id FROM due
WHERE what = %(what)s AND id = ANY(%(ids)s) AND id NOT IN (SELECT id FROM put) AND lease IS NOT NULL
"""  # noqa: S608 - constants


async def drop(connection: Connection, what: What, ids: Sequence[str]) -> None:
    """Delete due rows, also leased ones; the caller has locked them."""
    if ids:
        await connection.execute(
            "DELETE FROM due WHERE what = %s AND id = ANY(%s)", (what, list(ids))
        )


async def drop_unsent(connection: Connection, attempts: Sequence[str]) -> None:
    """Delete the due rows of planned attempts, whether to be submitted or prepared before that."""
    if attempts:
        await connection.execute(
            "DELETE FROM due WHERE what = ANY(%s) AND id = ANY(%s)",
            ([What.PREPARE, What.SUBMIT], list(attempts)),
        )


async def hold(
    connection: Connection,
    what: What,
    ids: Sequence[str],
    *,
    lease: str,
    jobs: Collection[str] = (),
) -> frozenset[str]:
    """Lock the rows that this lease still holds, in id order; returns their ids.

    Every write-back begins here, so that two of them never deadlock, and a worker that was
    suspended past its lease writes nothing. `jobs` are the jobs that the write may end something
    of: they are locked first, and all their due rows together with ours.
    """
    if jobs:
        await lock_jobs(connection, jobs)
        return await _hold_with_those_of(connection, what, ids, lease=lease, jobs=jobs)
    sql = """
    SELECT id FROM due
    WHERE what = %s AND id = ANY(%b) AND lease = %s::uuid
    ORDER BY id FOR UPDATE
    """
    return frozenset(await fetch_ids(connection, sql, (what, list(ids), lease)))


async def _hold_with_those_of(
    connection: Connection, what: What, ids: Sequence[str], *, lease: str, jobs: Collection[str]
) -> frozenset[str]:
    # In one statement: rows of the jobs may lie between ours, and the renewal of our lease waits.
    cursor = await connection.execute(
        f"""
        SELECT due.id, due.what = %(what)s AND due.lease = %(lease)s::uuid AS is_ours
        FROM due JOIN (
            SELECT what, id, bool_or(is_of_job) AS is_of_job FROM (
                SELECT what, id, true AS is_of_job FROM ({DUE_OF_JOBS}) AS of_jobs
                UNION ALL
                SELECT %(what)s, id, false FROM unnest(%(ids)s::text[]) AS id) AS each
            GROUP BY what, id) AS wanted USING (what, id)
        WHERE wanted.is_of_job OR due.lease = %(lease)s::uuid
        ORDER BY due.what, due.id FOR UPDATE OF due
        """,  # noqa: S608 - a constant
        {"what": what, "ids": list(ids), "lease": lease, "jobs": sorted(set(jobs))},
    )
    ours = {row["id"] for row in await cursor.fetchall() if row["is_ours"]}
    return frozenset(ours.intersection(ids))


async def put_unless_held(connection: Connection, what: What, row: Row) -> bool:
    """Like `put` for one row; if a worker holds it, leave it unchanged and return False."""
    cursor = await connection.execute(
        """
        INSERT INTO due (what, id, lane, tenant, at)
        VALUES (%(what)s, %(id)s, %(lane)s, %(tenant)s, now())
        ON CONFLICT (what, id) DO UPDATE
        SET at = excluded.at, lease = NULL, tries = 0, faults = 0
        WHERE due.lease IS NULL OR due.at <= now()
        RETURNING id
        """,
        {"what": what, "id": row.id, "lane": row.lane, "tenant": row.tenant},
    )
    return await cursor.fetchone() is not None


async def put_back(
    connection: Connection, what: What, ids: Sequence[str], *, after: Sequence[float]
) -> None:
    """Reschedule held rows `after` seconds from now; resets their lease, tries and faults."""
    if ids:
        await connection.execute(
            """
            UPDATE due SET at = now() + back.after * interval '1 second', lease = NULL,
                           tries = 0, faults = 0
            FROM unnest(%s::text[], %s::float8[]) AS back(id, after)
            WHERE due.what = %s AND due.id = back.id
            """,
            (list(ids), list(after), what),
        )


async def put_at(connection: Connection, what: What, id_: str, *, at: datetime) -> None:
    """Like `put_back`, for one row that keeps a place in the queue."""
    await connection.execute(
        """
        UPDATE due SET at = %s, lease = NULL, tries = 0, faults = 0 WHERE what = %s AND id = %s
        """,
        (at, what, id_),
    )


async def postpone(
    connection: Connection, what: What, ids: Sequence[str], *, seconds: float
) -> None:
    """Take rows from their lease holders: due `seconds` after both now and their leases' end.

    By then every former lease holder has noticed that its lease has ended.
    """
    if ids:
        await connection.execute(
            """
            UPDATE due SET at = greatest(at, now()) + %s * interval '1 second', lease = NULL,
                           tries = 0, faults = 0
            WHERE what = %s AND id = ANY(%s)
            """,
            (seconds, what, list(ids)),
        )


async def faults_of(connection: Connection, what: What, id_: str, *, lease: str) -> int | None:
    """Lock a held row; returns its consecutive faults, or None if this lease has lost it."""
    cursor = await connection.execute(
        "SELECT faults FROM due WHERE what = %s AND id = %s AND lease = %s::uuid FOR UPDATE",
        (what, id_, lease),
    )
    row = await cursor.fetchone()
    return row["faults"] if row else None


async def set_aside(
    connection: Connection, what: What, id_: str, *, after: float, tries: int, faults: int
) -> None:
    """Reschedule a held row that our own work failed on, and record its tries and faults."""
    await connection.execute(
        """
        UPDATE due SET at = now() + %s * interval '1 second', lease = NULL, tries = %s, faults = %s
        WHERE what = %s AND id = %s
        """,
        (after, tries, faults, what, id_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A due row that our own work fails on repeatedly; it is still retried, ever more rarely."""

    what: str
    id: str
    faults: int
    #: Seconds until its next try; negative if it is due.
    wait: float


async def parked(connection: Connection, *, most: int = 100) -> list[Parked]:
    """Up to `most` parked rows, ordered by kind and id."""
    return await fetch_rows(
        connection,
        Parked,
        f"""
        SELECT what, id, faults, extract(epoch FROM at - now())::float8 AS wait FROM due
        WHERE faults >= {PARKED_FAULTS} ORDER BY what, id LIMIT %s
        """,  # noqa: S608 - a constant: its partial index needs a literal
        (most,),
    )
