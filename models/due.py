"""The due table's writers: each state change puts the next row, or drops the last, with itself.

Lists of the hot paths are sent in binary (`%b`): psycopg writes their text five times as slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection
from models.state import What

#: The lane of what needs no outside party.
NO_LANE = "-"


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
        ON CONFLICT (what, id) DO UPDATE SET at = excluded.at, lease = NULL, tries = 0
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
    """These things are finished, whoever holds their lease."""
    if ids:
        await connection.execute(
            "DELETE FROM due WHERE what = %s AND id = ANY(%s)", (what, list(ids))
        )


async def hold(
    connection: Connection, what: What, ids: Sequence[str], *, lease: str
) -> frozenset[str]:
    """Lock those of our rows that are still ours, in id order: all that is written is guarded so.

    Every write-back begins here, so two of them never hold each other's rows crosswise, and a
    worker that was paused past its lease writes nothing.
    """
    cursor = await connection.execute(
        """
        SELECT id FROM due
        WHERE what = %s AND id = ANY(%b) AND lease = %s::uuid
        ORDER BY id FOR UPDATE
        """,
        (what, list(ids), lease),
    )
    return frozenset(row["id"] for row in await cursor.fetchall())


async def put_back(
    connection: Connection, what: What, ids: Sequence[str], *, after: Sequence[float]
) -> None:
    """Give held rows back: due again `after` seconds from now, with a clean slate."""
    if ids:
        await connection.execute(
            """
            UPDATE due SET at = now() + back.after * interval '1 second', lease = NULL, tries = 0
            FROM unnest(%s::text[], %s::float8[]) AS back(id, after)
            WHERE due.what = %s AND due.id = back.id
            """,
            (list(ids), list(after), what),
        )
