"""The high-water row: how far this database has come, and what a restore keeps from being sent.

A generation is counted up here first, and its mark is stored outside of PostgreSQL afterwards. So a
crash in between leaves the row ahead of the mark, which is health; a mark that is ahead of the row
means that the database was restored to an earlier time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from models.database import Connection, fetch_ids
from models.due import HELD_LANE

#: When a parked attempt is due: so far off that nobody claims it; a date like any other.
FAR_SECONDS = 10 * 365 * 86_400.0
#: What came up later than this after the mark, and nobody held, was not sent, in seconds.
SENT_LATER = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The row as it is, and which server and table it was read from."""

    installation: str
    generation: int
    nonce: str
    stored: int
    restored_at: datetime | None
    ahead: dict[str, Any] | None
    #: Seconds since the newest generation began.
    age: float
    #: The database's clock.
    now: datetime
    #: The table's own number, which a restore changes, and when the server started.
    table: int
    started: datetime


class NoHighWater(Exception):
    """The row is missing: somebody deleted it, and nothing tells how far the database has come."""


async def read(connection: Connection) -> Row:
    """The row now.

    Raises:
        NoHighWater: the table is empty.
    """
    cursor = await connection.execute(
        """
        SELECT installation, generation, nonce, stored, restored_at, ahead,
               extract(epoch FROM clock_timestamp() - marked_at)::float8 AS age,
               clock_timestamp() AS now, tableoid::bigint AS table,
               pg_postmaster_start_time() AS started
        FROM high_water
        """
    )
    row = await cursor.fetchone()
    if row is None:
        msg = "the table high_water has no row, so nobody knows how far the database has come"
        raise NoHighWater(msg)
    return Row(**row)


async def count_up(connection: Connection, seen: Row) -> tuple[int, str, datetime] | None:
    """Begin the next generation: its number, nonce and time; None when somebody else did."""
    cursor = await connection.execute(
        """
        UPDATE high_water SET generation = generation + 1, nonce = %s, marked_at = clock_timestamp()
        WHERE generation = %s AND nonce = %s RETURNING generation, nonce, marked_at
        """,
        (uuid4().hex[:12], seen.generation, seen.nonce),
    )
    row = await cursor.fetchone()
    return (row["generation"], row["nonce"], row["marked_at"]) if row else None


async def confirm(connection: Connection, generation: int) -> None:
    """The mark of a generation is stored."""
    await connection.execute(
        "UPDATE high_water SET stored = %s WHERE stored < %s", (generation, generation)
    )


async def note_restore(connection: Connection, seen: Row, ahead: dict[str, Any]) -> bool:
    """Record that the database was restored; False when somebody has dealt with it since `seen`."""
    cursor = await connection.execute(
        """
        UPDATE high_water SET restored_at = clock_timestamp(), ahead = %s
        WHERE generation = %s AND nonce = %s RETURNING id
        """,
        (Jsonb(ahead), seen.generation, seen.nonce),
    )
    return await cursor.fetchone() is not None


async def overtake(connection: Connection, seen: Row, generation: int) -> bool:
    """Go on from past the mark's generation: what was planned before it is parked by now."""
    cursor = await connection.execute(
        """
        UPDATE high_water SET generation = greatest(generation, %s) + 1, nonce = %s,
                              marked_at = clock_timestamp()
        WHERE generation = %s AND nonce = %s RETURNING id
        """,
        (generation, uuid4().hex[:12], seen.generation, seen.nonce),
    )
    return await cursor.fetchone() is not None


async def accept(connection: Connection) -> None:
    """The operator takes the database as the truth from here."""
    await connection.execute("UPDATE high_water SET restored_at = NULL, ahead = NULL")


async def park(
    connection: Connection,
    *,
    before: datetime,
    after: str,
    looked_up: Sequence[str],
    most: int,
) -> list[str]:
    """Park up to `most` planned attempts that may have been sent until `before`; returns their ids.

    In order of their ids, from behind the id `after`. Those of the providers `looked_up` are due at
    once, to be looked for there; the others are due in ten years. What was scheduled for later than
    `before` was not sent. A batch's held lines may have been released and sent since the backup, so
    they are parked as well, and stay held.
    """
    cursor = await connection.execute(
        """
        WITH chosen AS (
            SELECT due.id FROM due JOIN attempt ON attempt.id = due.id
            WHERE due.what IN ('prepare', 'submit') AND due.id > %(after)s
              AND attempt.state = 'planned' AND attempt.parked_at IS NULL
              AND attempt.created_at <= %(before)s
              AND (due.lease IS NOT NULL OR due.at <= %(before)s + %(later)s * interval '1 second'
                   OR EXISTS (SELECT FROM due AS deadline WHERE deadline.what = 'expire'
                              AND deadline.id = attempt.job AND deadline.lane = %(held)s))
            ORDER BY due.id LIMIT %(most)s FOR UPDATE OF due
        ), parked AS (
            UPDATE attempt SET parked_at = now(), parked_looks = 0 FROM chosen
            WHERE attempt.id = chosen.id AND attempt.state = 'planned'
            RETURNING attempt.id, attempt.job, attempt.provider, attempt.account
        ), put_off AS (
            UPDATE due SET what = 'submit', lane = parked.account, lease = NULL, tries = 0,
                at = now() + interval '1 second'
                * CASE WHEN parked.provider = ANY(%(looked_up)s) THEN 0 ELSE %(far)s END
            FROM parked WHERE due.what IN ('prepare', 'submit') AND due.id = parked.id
        ), told AS (
            INSERT INTO event (job, kind, detail)
            SELECT job, 'attempt.parked', jsonb_build_object('attempt', id) FROM parked
        )
        SELECT id FROM parked ORDER BY id
        """,
        {
            "before": before,
            "after": after,
            "looked_up": list(looked_up),
            "most": most,
            "far": FAR_SECONDS,
            "later": SENT_LATER,
            "held": HELD_LANE,
        },
    )
    return [row["id"] for row in await cursor.fetchall()]


async def read_identity(connection: Connection) -> dict[str, Any]:
    """Generation, table and server start of the database that this transaction is in."""
    cursor = await connection.execute(
        """
        SELECT generation, tableoid::bigint AS table, pg_postmaster_start_time() AS started
        FROM high_water
        """
    )
    return await cursor.fetchone() or {"generation": 0, "table": 0, "started": None}


async def known_fingerprints(connection: Connection, account: str) -> list[str]:
    """Of which credentials of an account the mark told that the restored database is behind."""
    cursor = await connection.execute(
        "SELECT ahead->'accounts'->%s AS known FROM high_water", (account,)
    )
    row = await cursor.fetchone()
    return sorted(row["known"] or {}) if row else []


async def known_accounts(connection: Connection) -> list[str]:
    """The accounts of which the mark told that the restored database is behind."""
    return await fetch_ids(
        connection, "SELECT jsonb_object_keys(ahead->'accounts') FROM high_water"
    )


async def park_replacement(connection: Connection, new: str, *, of: str) -> None:
    """Park an attempt that replaces one from before a restore: that one was replaced there, too."""
    await connection.execute(
        """
        UPDATE attempt SET parked_at = now() FROM attempt AS old, high_water
        WHERE attempt.id = %s AND old.id = %s AND old.sent_at <= high_water.restored_at
        """,
        (new, of),
    )


async def unknown_to(connection: Connection, sent: Sequence[str]) -> list[str]:
    """Those of the attempts that were committed as sent of which this database knows nothing."""
    cursor = await connection.execute(
        """
        SELECT sent.id FROM unnest(%s::text[]) AS sent(id) LEFT JOIN attempt USING (id)
        WHERE coalesce(attempt.state, 'planned') = 'planned'
        """,
        (list(sent),),
    )
    return [row["id"] for row in await cursor.fetchall()]
