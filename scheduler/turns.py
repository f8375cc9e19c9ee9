"""Claims rows of all lanes of a kind: tenants take turns, and each tenant's lanes take turns.

The cost follows what is due. A tenant's rows are read in the order of their times, as many as a
claim may need, so lanes of which nothing is due cost nothing. Of a tenant with more rows due than
that, a claim also looks at some of its lanes in the order of their names, and the next claim at the
next ones: a lane with little due is found however many rows of others are before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from models.database import Connection
from models.verbs import What
from scheduler.claim import LAST, SUSPECT, Claimed, Found, Turn, in_turns, tenants_of
from scheduler.receivers import STANDING, Standing

#: Maximum number of tenants in one claim; the next claim continues after them.
_TURNS = 1000
#: Rows of each tenant that a claim reads, at least.
_WINDOW = 64
#: Lanes that a claim looks at, of each tenant with more rows due than it has read.
_LANES = 256

#: Requests that a receiver may hold in one process until it has answered, and while it is slow.
UNKNOWN_HOLDS, SLOW_HOLDS = 1, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Whose rows a claim leaves out, since their shares are used up."""

    #: Pairs of tenant and lane.
    lanes: Sequence[tuple[str, str]] = ()
    tenants: Sequence[str] = ()
    #: Tenants of which only rows for prompt receivers are wanted.
    careful: Sequence[str] = ()
    #: Whether that goes for every tenant.
    is_careful: bool = False


_NOTHING_FULL = Full()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a claim asks for."""

    turn: Turn
    #: Rows in all, and of one lane.
    most: int
    each: int
    full: Full = field(default=_NOTHING_FULL)
    lease: str
    seconds: float


@cache
def _statement(what: What) -> str:
    # One SQL statement, left whole: each of its parts reads from the one before.
    # Only lanes of deliveries are receivers.
    standing = STANDING if what is What.DELIVER else f"'{Standing.PROMPT}'"
    is_due = f"what = '{what}' AND at <= now() AND tries < {SUSPECT}"
    return f"""
    WITH RECURSIVE {tenants_of(what)}, turns AS MATERIALIZED (
        SELECT tenants.tenant FROM tenants, LATERAL (
            SELECT FROM due WHERE {is_due} AND due.tenant = tenants.tenant
            ORDER BY at LIMIT 1) AS earliest
        WHERE tenants.tenant <> ALL(%(full_tenants)s) LIMIT %(turns)s
    ), size AS MATERIALIZED (
        SELECT count(*)::int AS turns, min(tenant) AS last,
               greatest(1, %(most)s / greatest(1, count(*))) AS share FROM turns
    ), earliest AS MATERIALIZED (
        SELECT row.* FROM turns, LATERAL (
            SELECT tenant, lane, id, at FROM due WHERE {is_due} AND due.tenant = turns.tenant
            ORDER BY at LIMIT (SELECT greatest({_WINDOW}, share) FROM size)) AS row
    ), walked AS MATERIALIZED (
        SELECT many.tenant, hop.lane FROM (
            SELECT tenant FROM earliest GROUP BY tenant
            HAVING count(*) >= (SELECT greatest({_WINDOW}, share) FROM size)) AS many,
        LATERAL (
            WITH RECURSIVE hop AS (
                (SELECT lane, 1 AS n FROM due
                 WHERE what = '{what}' AND due.tenant = many.tenant AND lane < %(after_lane)s
                 ORDER BY lane DESC, at DESC LIMIT 1)
                UNION ALL
                SELECT next.lane, hop.n + 1 FROM hop, LATERAL (
                    SELECT lane FROM due
                    WHERE what = '{what}' AND due.tenant = many.tenant AND due.lane < hop.lane
                    ORDER BY due.lane DESC, due.at DESC LIMIT 1) AS next
                WHERE hop.n < {_LANES}
            ) SELECT lane FROM hop) AS hop
    ), found AS (
        SELECT tenant, lane, id, at FROM earliest
        UNION
        SELECT walked.tenant, walked.lane, row.id, row.at FROM walked, LATERAL (
            SELECT id, at FROM due
            WHERE {is_due} AND due.tenant = walked.tenant AND due.lane = walked.lane
            ORDER BY at LIMIT 1) AS row
    ), ranked AS (
        SELECT found.*, {standing} AS standing,
               row_number() OVER (PARTITION BY found.tenant, lane ORDER BY at, id) AS nth
        FROM found LEFT JOIN receiver
             ON receiver.tenant = found.tenant AND receiver.host = found.lane
        WHERE (found.tenant, lane) NOT IN (
            SELECT * FROM unnest(%(of_full_lanes)s::text[], %(full_lanes)s::text[]))
    ), allowed AS (
        SELECT ranked.*, row_number() OVER (PARTITION BY tenant ORDER BY nth, at, id) AS place
        FROM ranked
        WHERE CASE standing WHEN '{Standing.OPEN}' THEN true
                            WHEN '{Standing.PROMPT}' THEN nth <= %(each)s
                            ELSE NOT (%(is_careful)s OR tenant = ANY(%(careful)s))
                                 AND nth <= CASE standing WHEN '{Standing.SLOW}' THEN {SLOW_HOLDS}
                                                          ELSE {UNKNOWN_HOLDS} END END
    ), picked AS (
        SELECT row.*, chosen.standing FROM (
            SELECT id, at, standing FROM allowed WHERE place <= (SELECT share FROM size)
            ORDER BY place, at LIMIT %(most)s) AS chosen,
        LATERAL (  -- unless another claim was quicker
            SELECT what, id, at FROM due
            WHERE what = '{what}' AND due.id = chosen.id AND due.at = chosen.at
            FOR UPDATE SKIP LOCKED) AS row
    ), taken AS (
        UPDATE due SET lease = %(lease)s::uuid, at = now() + %(seconds)s * interval '1 second',
                       tries = tries + 1
        FROM picked WHERE due.what = picked.what AND due.id = picked.id
        RETURNING due.id, due.lane, due.tenant, due.tries, picked.at AS since, picked.standing
    )
    SELECT size.turns, size.last AS last_tenant, (
               SELECT max(lane) FROM (
                   SELECT min(lane) AS lane FROM walked
                   GROUP BY tenant HAVING count(*) >= {_LANES}) AS unfinished) AS last_lane,
           taken.*
    FROM size LEFT JOIN taken ON true
    """  # noqa: S608 - constants


async def claim_in_turns(connection: Connection, what: What, asked: Claim) -> Found:
    """Claim due rows of all lanes: each tenant an equal share, of which each lane its first row.

    A returned turn without a tenant means that every tenant had its turn. Suspects are left to
    `claim_suspect`. Rows of receivers with an open breaker are claimed too, to be put off.
    """
    full, turns = asked.full, min(_TURNS, asked.most)
    cursor = await connection.execute(
        _statement(what),
        {
            "after_tenant": asked.turn.tenant or LAST,
            "after_lane": asked.turn.lane or LAST,
            "turns": turns,
            "most": asked.most,
            "each": asked.each,
            "of_full_lanes": [tenant for tenant, _ in full.lanes],
            "full_lanes": [lane for _, lane in full.lanes],
            "full_tenants": list(full.tenants),
            "careful": list(full.careful),
            "is_careful": full.is_careful,
            "lease": asked.lease,
            "seconds": asked.seconds,
        },
    )
    found = await cursor.fetchall()
    last_tenant = found[0]["last_tenant"] if found[0]["turns"] >= turns else None
    turn = Turn(tenant=last_tenant or "", lane=found[0]["last_lane"] or "")
    rows = [
        Claimed(
            id=row["id"],
            lane=row["lane"],
            tenant=row["tenant"],
            tries=row["tries"],
            since=row["since"],
            standing=Standing(row["standing"]),
        )
        for row in found
        if row["id"] is not None
    ]
    return Found(in_turns(rows), turn)
