"""Holders: processes that watch operations, their heartbeats, and what they are told.

A watched operation's due row has its holder's id as its lease, and a time far away. So nobody else
claims it, and no lease is renewed for it: the holder's one row is the heartbeat of all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.types.json import Jsonb

from models.database import Connection, fetch_ids, fetch_row, fetch_rows

#: How long a claim for a holder moves a row's time away, in seconds: its end is not waited for.
FAR: Final = 10 * 365 * 86_400.0
#: Seconds of delay from which a holder's looks run late, and up to which they are on time.
LATE: Final = 1.0
ON_TIME: Final = LATE / 2

#: SQL: a row of `due` is watched by a holder that has not been declared dead.
IS_WATCHED = """EXISTS (
    SELECT FROM holder WHERE holder.id = due.lease AND holder.dead_at IS NULL)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What a holder says of itself."""

    watched: int = 0
    room: int = 0
    #: Seconds by which its looks run late.
    late: float = 0.0
    #: By account: seconds since it last reported on any operation.
    answered: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a holder learns at a heartbeat."""

    #: Operations that something happened to, by nudge id.
    nudges: Mapping[int, str]
    #: Rows that other holders, whose looks are on time, would take.
    elsewhere: int
    #: Whether another holder's looks run late.
    others_are_late: bool


async def register(connection: Connection, holder: str, *, lives_for: float, room: int) -> None:
    """Add a holder. It counts as dead after `lives_for` seconds without a heartbeat. Repeatable."""
    await connection.execute(
        "INSERT INTO holder (id, lives_for, room) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (holder, lives_for, room),
    )


# SQL: deletes the followed nudges and returns the others. Two statements of one process may
# delete the same nudges, so they are locked in the order of their ids.
_TOLD: Final = """
gone AS (
    DELETE FROM nudge WHERE id IN (
        SELECT id FROM nudge WHERE id = ANY(%(done)s::bigint[]) ORDER BY id FOR UPDATE)
), told AS (
    SELECT id, thing FROM nudge
    WHERE holder = %(holder)s AND id <> ALL(%(done)s::bigint[])
)
"""


async def beat(
    connection: Connection, holder: str, said: Heartbeat, *, done: Collection[int]
) -> Told | None:
    """A heartbeat; returns what is new for the holder, or None if it was declared dead.

    `done` are the nudges that it has followed: they are deleted, and all others are returned again
    next time, so a lost answer loses none. Repeatable.
    """
    cursor = await connection.execute(
        f"""
        WITH beaten AS (
            UPDATE holder SET beat = now(), watched = %(watched)s, room = %(room)s,
                              late = %(late)s, answered = %(answered)s
            WHERE id = %(holder)s AND dead_at IS NULL RETURNING id
        ), {_TOLD}
        SELECT EXISTS (SELECT FROM beaten) AS lives,
               (SELECT coalesce(json_object_agg(id, thing), '{{}}') FROM told) AS nudges,
               (SELECT coalesce(sum(room), 0)::bigint FROM holder AS other
                WHERE other.id <> %(holder)s AND other.dead_at IS NULL AND other.late < %(on_time)s
                  AND other.beat > now() - other.lives_for * interval '1 second') AS elsewhere,
               EXISTS (SELECT FROM holder AS other WHERE other.id <> %(holder)s
                       AND other.dead_at IS NULL AND other.late > %(late_from)s) AS others_are_late
        """,  # noqa: S608 - a constant
        {
            "holder": holder,
            "watched": said.watched,
            "room": said.room,
            "late": said.late,
            "answered": Jsonb(dict(said.answered)),
            "done": list(done),
            "on_time": ON_TIME,
            "late_from": LATE,
        },
    )
    row = await cursor.fetchone()
    if row is None or not row["lives"]:
        return None
    nudges = {int(id_): thing for id_, thing in row["nudges"].items()}
    return Told(nudges=nudges, elsewhere=row["elsewhere"], others_are_late=row["others_are_late"])


async def told(connection: Connection, holder: str, *, done: Collection[int]) -> dict[int, str]:
    """The nudges for a holder, as at a heartbeat. Repeatable."""
    cursor = await connection.execute(
        f"WITH {_TOLD} SELECT id, thing FROM told",  # noqa: S608 - a constant
        {"holder": holder, "done": list(done)},
    )
    return {row["id"]: row["thing"] for row in await cursor.fetchall()}


async def lives(connection: Connection, holder: str) -> bool:
    """Whether a holder may claim: until the transaction's end nobody declares it dead."""
    found = await fetch_ids(
        connection,
        "SELECT id::text FROM holder WHERE id = %s AND dead_at IS NULL FOR KEY SHARE",
        (holder,),
    )
    return bool(found)


async def leave(connection: Connection, holder: str) -> None:
    """Remove a holder that watches nothing any more, and what it was told.

    It is locked first: a claim that comes to its end meanwhile is seen by the statement after.
    """
    await connection.execute("SELECT FROM holder WHERE id = %s FOR UPDATE", (holder,))
    await connection.execute("DELETE FROM nudge WHERE holder = %s", (holder,))
    await connection.execute(
        """
        DELETE FROM holder WHERE id = %s
          AND NOT EXISTS (SELECT FROM due WHERE what = 'poll' AND lease = holder.id)
        """,
        (holder,),
    )


async def nudge(connection: Connection, attempts: Sequence[str]) -> None:
    """Tell their holders that something happened to these attempts, if they are watched."""
    if attempts:
        await connection.execute(
            f"""
            INSERT INTO nudge (holder, thing)
            SELECT lease, id FROM due
            WHERE what = 'poll' AND id = ANY(%s) AND lease IS NOT NULL AND {IS_WATCHED}
            """,  # noqa: S608 - a constant
            (list(attempts),),
        )


@dataclass(frozen=True, slots=True)
class Free:
    """A row that its holder lets go, and the seconds after which it is due."""

    id: str
    wait: float


async def let_go(connection: Connection, rows: Sequence[Free], *, holder: str) -> None:
    """Free rows that a holder still has, each due at its own time; they are clean."""
    await connection.execute(
        """
        UPDATE due SET at = now() + ours.wait * interval '1 second', lease = NULL, tries = 0
        FROM (SELECT due.what, due.id, free.wait
              FROM due JOIN unnest(%b::text[], %b::float8[]) AS free(id, wait) USING (id)
              WHERE due.what = 'poll' AND due.lease = %s::uuid
              ORDER BY due.id FOR UPDATE OF due) AS ours
        WHERE due.what = ours.what AND due.id = ours.id
        """,
        ([row.id for row in rows], [row.wait for row in rows], holder),
    )


async def beat_pulse(connection: Connection, *, steady: float) -> None:
    """Note that the tick runs; it was away if its last note is older than `steady` seconds."""
    await connection.execute(
        """
        INSERT INTO pulse (one, at, steady_since)
        SELECT true, now(), now() WHERE EXISTS (SELECT FROM holder)
        ON CONFLICT (one) DO UPDATE
        SET at = now(),
            steady_since = CASE WHEN pulse.at < now() - %(steady)s * interval '1 second'
                                THEN now() ELSE pulse.steady_since END
        WHERE pulse.at < now() - %(steady)s / 4 * interval '1 second'
        """,
        {"steady": steady},
    )


async def declare_dead(connection: Connection) -> list[str]:
    """Declare holders dead that were silent for too long; returns all dead ones.

    The tick must have run steadily for as long: whoever was away heard no heartbeats.
    """
    await connection.execute(
        """
        UPDATE holder SET dead_at = now()
        FROM (SELECT holder.id FROM holder, pulse
              WHERE dead_at IS NULL AND beat < now() - lives_for * interval '1 second'
                AND steady_since < now() - lives_for * interval '1 second'
              ORDER BY holder.id FOR UPDATE OF holder SKIP LOCKED) AS silent
        WHERE holder.id = silent.id
        """
    )
    return await fetch_ids(
        connection, "SELECT id::text FROM holder WHERE dead_at IS NOT NULL ORDER BY dead_at"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Freed:
    freed: int
    #: The last id of the rows that were found; None if there are no more.
    last: str | None


async def free_some(
    connection: Connection, holder: str, *, after: str, most: int, within: float
) -> tuple[int, str | None]:
    """Free up to `most` rows of a dead holder behind `after`, each due `within` some seconds.

    Returns how many, and the id to go on from; None if there are no more. The rows keep their
    `tries`: nothing tells which of them, if any, killed the process.
    """
    found = await fetch_row(
        connection,
        _Freed,
        """
        WITH theirs AS (
            SELECT what, id FROM due
            WHERE what = 'poll' AND id > %(after)s AND lease = %(holder)s::uuid
            ORDER BY id LIMIT %(most)s FOR UPDATE
        ), freed AS (
            UPDATE due SET lease = NULL, at = now() + random() * %(within)s * interval '1 second'
            FROM theirs WHERE due.what = theirs.what AND due.id = theirs.id
        )
        SELECT count(*)::int AS freed, max(id) AS last FROM theirs
        """,
        {"after": after, "holder": holder, "most": most, "within": within},
    )
    return (found.freed, found.last) if found else (0, None)


async def free_orphans(connection: Connection, *, most: int) -> list[str]:
    """Free up to `most` watched rows whose holder is not known; returns their ids.

    A restored database may have some. Nudges of such holders are deleted.
    """
    await connection.execute(
        "DELETE FROM nudge WHERE NOT EXISTS (SELECT FROM holder WHERE holder.id = nudge.holder)"
    )
    return await fetch_ids(
        connection,
        """
        UPDATE due SET lease = NULL, at = now()
        FROM (SELECT what, id FROM due
              WHERE what = 'poll' AND lease IS NOT NULL AND at > now() + %s * interval '1 second'
                AND NOT EXISTS (SELECT FROM holder WHERE holder.id = due.lease)
              ORDER BY id LIMIT %s FOR UPDATE) AS orphan
        WHERE due.what = orphan.what AND due.id = orphan.id
        RETURNING due.id
        """,
        (FAR / 2, most),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A watched row of a holder."""

    id: str
    lane: str
    tenant: str
    since: datetime


async def rows_of(
    connection: Connection, holder: str, ids: Sequence[str] | None = None
) -> list[Row]:
    """The rows that a holder has: of these ids, or all."""
    return await fetch_rows(
        connection,
        Row,
        """
        SELECT id, lane, tenant, now() AS since FROM due
        WHERE what = 'poll' AND lease = %(holder)s::uuid
          AND (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s))
        """,
        {"holder": holder, "ids": None if ids is None else list(ids)},
    )


async def late_ones(connection: Connection) -> bool:
    """Whether the looks of some living holder run late."""
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM holder WHERE dead_at IS NULL AND late > %s) AS is_late", (LATE,)
    )
    row = await cursor.fetchone()
    return row is not None and bool(row["is_late"])
