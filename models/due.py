"""The due table's writers: each state change puts the next row, or drops the last, with itself.

Lists of the hot paths are sent in binary (`%b`): psycopg writes their text five times as slowly.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection
from models.locks import DUE_OF_JOBS, lock_jobs
from models.state import What

#: The lane of what needs no outside party.
NO_LANE = "-"
#: Faults of our own in a row from which a thing is parked: told as an event, and by the doctor.
PARKED_FAULTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One unfinished thing: due `after` seconds from now, or at a given time."""

    id: str
    lane: str
    tenant: str
    after: float = 0.0
    at: datetime | None = None


async def put(connection: Connection, what: What, rows: Sequence[Row]) -> None:
    """Make things due; a row that exists already is moved and loses its lease."""
    if not rows:
        return
    await connection.execute(
        """
        INSERT INTO due (what, id, lane, tenant, at)
        SELECT %(what)s, id, lane, tenant, coalesce(at, now() + after * interval '1 second')
        FROM unnest(%(ids)s::text[], %(lanes)s::text[], %(tenants)s::text[],
                    %(after)s::float8[], %(at)s::timestamptz[])
             AS new(id, lane, tenant, after, at)
        ORDER BY id
        ON CONFLICT (what, id) DO UPDATE
        SET at = excluded.at, lease = NULL, tries = 0, faults = 0
        """,
        {
            "what": what,
            "ids": [row.id for row in rows],
            "lanes": [row.lane for row in rows],
            "tenants": [row.tenant for row in rows],
            "after": [row.after for row in rows],
            "at": [row.at for row in rows],
        },
    )


async def drop(connection: Connection, what: What, ids: Sequence[str]) -> None:
    """These things are finished, whoever holds their lease; the caller has locked the rows."""
    if ids:
        await connection.execute(
            "DELETE FROM due WHERE what = %s AND id = ANY(%s)", (what, list(ids))
        )


async def hold(
    connection: Connection,
    what: What,
    ids: Sequence[str],
    *,
    lease: str,
    jobs: Collection[str] = (),
) -> frozenset[str]:
    """Lock those of our rows that are still ours, in id order: all that is written is guarded so.

    Every write-back begins here, so two of them never hold each other's rows crosswise, and a
    worker that was paused past its lease writes nothing. `jobs` are those of which the write may
    end something: they are locked first, and every due row of their things together with ours.
    """
    if jobs:
        await lock_jobs(connection, jobs)
        return await _hold_with_those_of(connection, what, ids, lease=lease, jobs=jobs)
    cursor = await connection.execute(
        """
        SELECT id FROM due
        WHERE what = %s AND id = ANY(%b) AND lease = %s::uuid
        ORDER BY id FOR UPDATE
        """,
        (what, list(ids), lease),
    )
    return frozenset(row["id"] for row in await cursor.fetchall())


async def _hold_with_those_of(
    connection: Connection, what: What, ids: Sequence[str], *, lease: str, jobs: Collection[str]
) -> frozenset[str]:
    # In one statement: rows of the jobs may lie between ours, and our own lease's renewal waits.
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
    """As `put` of one row, unless somebody works on it: False then, and it stays as it is."""
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
    """Give held rows back: due again `after` seconds from now, with a clean slate."""
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


async def postpone(
    connection: Connection, what: What, ids: Sequence[str], *, seconds: float
) -> None:
    """Take rows from whoever holds them: due anew `seconds` after now and after their leases' end.

    By then nobody can still be at work on them who does not know that they are no longer his.
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
    """Lock one of our rows; its faults in a row, or None when it is no longer ours."""
    cursor = await connection.execute(
        "SELECT faults FROM due WHERE what = %s AND id = %s AND lease = %s::uuid FOR UPDATE",
        (what, id_, lease),
    )
    row = await cursor.fetchone()
    return row["faults"] if row else None


async def set_aside(
    connection: Connection, what: What, id_: str, *, after: float, tries: int, faults: int
) -> None:
    """Our own work on a held row failed: due again `after` seconds from now, and counted."""
    await connection.execute(
        """
        UPDATE due SET at = now() + %s * interval '1 second', lease = NULL, tries = %s, faults = %s
        WHERE what = %s AND id = %s
        """,
        (after, tries, faults, what, id_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A thing on which our own work fails again and again; it is still tried, ever more rarely."""

    what: str
    id: str
    faults: int
    #: Seconds until it is tried again; negative when it is due.
    wait: float


async def parked(connection: Connection, *, most: int = 100) -> list[Parked]:
    """Up to `most` parked things, in no order of importance."""
    cursor = await connection.execute(
        f"""
        SELECT what, id, faults, extract(epoch FROM at - now())::float8 AS wait FROM due
        WHERE faults >= {PARKED_FAULTS} ORDER BY what, id LIMIT %s
        """,  # noqa: S608 - a constant, in words for the index that is of these rows alone
        (most,),
    )
    return [Parked(**row) for row in await cursor.fetchall()]
