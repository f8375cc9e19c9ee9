"""Claiming what is due: fair over lanes and tenants, leased, fenced by a token.

A claimed row's `at` moves to the end of its lease, so one index serves what is due and what a dead
worker abandoned. Both scans below walk the index by its distinct prefixes (a loose index scan):
their cost follows the number of lanes and tenants, not of rows. Measured: 2 ms for 500 rows out of
200,000 of one tenant and 50 others, where a window function took 139 ms.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from models.database import Connection
from models.state import What

log = structlog.get_logger()

#: Tenants (or lanes and tenants) that share one claim; the next claim goes on after the last one.
_TURNS = 1000
#: A row that was claimed so often without a write-back is a suspect: it may be what kills its
#: workers, so it is claimed alone.
SUSPECT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A row that is ours until its lease ends."""

    id: str
    lane: str
    tenant: str
    #: Claims since it was last written back, this one included.
    tries: int
    #: When it came up.
    since: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the next claim begins, so that every tenant comes first at some time."""

    lane: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a claim found."""

    rows: list[Claimed]
    #: Where the next claim begins.
    turn: Turn
    #: No row of the lane came up before; None when this claim cannot tell.
    floor: datetime | None = None


#: Before every time that a row may have.
_NO_FLOOR = datetime(1970, 1, 1, tzinfo=UTC)
#: Rows whose transactions began this long before a claim may become visible after it.
_LATE_COMMITS = timedelta(seconds=1)

# Who has rows is found from the end of the index, where the living are: what was claimed and put
# back leaves dead entries in front, and while somebody holds an old snapshot none is removed.
_CLAIM = """
WITH RECURSIVE turn AS (
    (SELECT lane, tenant FROM due
     WHERE what = %(what)s AND {first}
     ORDER BY lane DESC, tenant DESC, at DESC LIMIT 1)
    UNION ALL
    SELECT next.lane, next.tenant FROM turn, LATERAL (
        SELECT lane, tenant FROM due
        WHERE what = %(what)s AND {following}
        ORDER BY due.lane DESC, due.tenant DESC, due.at DESC LIMIT 1) AS next
), turns AS MATERIALIZED (  -- each with its earliest row: whose is not due has no share
    SELECT turn.lane, turn.tenant, earliest.at FROM turn, LATERAL (
        SELECT at FROM due
        WHERE what = %(what)s AND lane = turn.lane AND tenant = turn.tenant
          AND at >= %(floor)s AND at <= now() AND tries < {suspect}
        ORDER BY at LIMIT 1) AS earliest
    WHERE {open} LIMIT %(turns)s
), picked AS (
    SELECT row.what, row.id, row.at FROM turns, LATERAL (
        SELECT what, id, at FROM due
        WHERE what = %(what)s AND lane = turns.lane AND tenant = turns.tenant
          AND at >= %(floor)s AND at <= now() AND tries < {suspect}
        ORDER BY at
        LIMIT least(%(each)s, greatest(1, %(most)s / (SELECT count(*) FROM turns)))
        FOR UPDATE SKIP LOCKED) AS row
    LIMIT %(most)s
)
UPDATE due
SET lease = %(lease)s::uuid, at = now() + %(seconds)s * interval '1 second', tries = tries + 1
FROM picked WHERE due.what = picked.what AND due.id = picked.id
RETURNING due.id, due.lane, due.tenant, due.tries, picked.at AS since,
          (SELECT count(*) FROM turns) AS turns, (SELECT min(at) FROM turns) AS earliest
"""
# Of one lane the tenants alone are compared: beside `lane =`, PostgreSQL 18 begins a comparison of
# pairs at the lane's first row, and each step would read all that is before it.
_ONE_LANE = {
    is_new_round: _CLAIM.format(
        first="lane = %(lane)s" + ("" if is_new_round else " AND tenant < %(after_tenant)s"),
        following="due.lane = %(lane)s AND due.tenant < turn.tenant",
        open="true",
        suspect=SUSPECT,
    )
    for is_new_round in (True, False)
}
# Closed lanes are walked over in one step each; left out of the walk, they would be row by row.
_OPEN_LANES = {
    is_new_round: _CLAIM.format(
        first="true" if is_new_round else "(lane, tenant) < (%(after_lane)s, %(after_tenant)s)",
        following="(due.lane, due.tenant) < (turn.lane, turn.tenant)",
        open="turn.lane <> ALL(%(closed)s)",
        suspect=SUSPECT,
    )
    for is_new_round in (True, False)
}
# The bound stands in the statement for the sake of the index that is of suspects alone.
_CLAIM_SUSPECT = f"""
WITH picked AS (
    SELECT what, id, at FROM due
    WHERE what = %(what)s AND lane = coalesce(%(lane)s, lane)
      AND tries >= {SUSPECT} AND at <= now()
    ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE due
SET lease = %(lease)s::uuid, at = now() + %(seconds)s * interval '1 second', tries = tries + 1
FROM picked WHERE due.what = picked.what AND due.id = picked.id
RETURNING due.id, due.lane, due.tenant, due.tries, picked.at AS since
"""  # noqa: S608 - a constant


async def claim(
    connection: Connection,
    what: What,
    *,
    lane: str | None,
    closed: Sequence[str] = (),
    turn: Turn,
    floor: datetime | None = None,
    most: int,
    each: int,
    lease: str,
    seconds: float,
) -> Found:
    """Claim up to `most` due rows, at most `each` of a lane's tenant; also says whose turn is next.

    Of one `lane`, or of all lanes but the `closed` ones, in the order in which they should start:
    tenants take turns, each with what came up first. The caller starts over from `Turn()` when a
    round has come to its end. Suspects are left to `claim_suspect`.

    A `floor` that an earlier claim on the lane gave leaves out what came up before it: dead entries
    and, rarely, a row that was put back there since, so the caller forgets it now and then.
    """
    is_new_round = turn == Turn()
    cursor = await connection.execute(
        (_OPEN_LANES if lane is None else _ONE_LANE)[is_new_round],
        {
            "what": what,
            "lane": lane,
            "closed": list(closed),
            "after_lane": turn.lane,
            "after_tenant": turn.tenant,
            "floor": floor or _NO_FLOOR,
            "turns": _TURNS,
            "most": most,
            "each": each,
            "lease": lease,
            "seconds": seconds,
        },
    )
    found = await cursor.fetchall()
    turns = max((row.pop("turns") for row in found), default=0)
    earliest = [row.pop("earliest") for row in found]
    rows = _in_turns([Claimed(**row) for row in found])
    if turns <= min(most, _TURNS - 1):  # everybody has had a turn, so the next one begins anew
        if is_new_round and lane is not None and earliest:
            floor = min(earliest) - _LATE_COMMITS
        return Found(rows, Turn(), floor)
    last = min((row.lane, row.tenant) for row in rows)
    return Found(rows, Turn(*last), floor)


async def claim_suspect(
    connection: Connection, what: What, *, lane: str | None, lease: str, seconds: float
) -> Claimed | None:
    """Claim the suspect that came up first, of one `lane` or of all, for a caller that holds none.

    What dies with its worker then dies alone: nothing else is blamed for it.
    """
    cursor = await connection.execute(
        _CLAIM_SUSPECT, {"what": what, "lane": lane, "lease": lease, "seconds": seconds}
    )
    row = await cursor.fetchone()
    return Claimed(**row) if row else None


def _in_turns(rows: Sequence[Claimed]) -> list[Claimed]:
    """The first row of every tenant, then the second: PostgreSQL returns rows in no order."""
    seen: Counter[tuple[str, str]] = Counter()
    ranked: list[tuple[int, Claimed]] = []
    for row in sorted(rows, key=lambda row: (row.since, row.id)):
        seen[row.lane, row.tenant] += 1
        ranked.append((seen[row.lane, row.tenant], row))
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


async def renew(
    connection: Connection, what: What, ids: Sequence[str], *, lease: str, seconds: float
) -> frozenset[str]:
    """Prolong our leases; returns the ids that are still ours."""
    cursor = await connection.execute(
        """
        UPDATE due SET at = now() + %s * interval '1 second'
        FROM (SELECT what, id FROM due
              WHERE what = %s AND id = ANY(%s) AND lease = %s::uuid
              ORDER BY id FOR UPDATE) AS ours
        WHERE due.what = ours.what AND due.id = ours.id
        RETURNING due.id
        """,
        (seconds, what, list(ids), lease),
    )
    return frozenset(row["id"] for row in await cursor.fetchall())


async def release(
    connection: Connection, what: What, rows: Mapping[str, datetime], *, lease: str
) -> None:
    """Hand unstarted rows back at once, as if they had never been claimed.

    Each is due again when it came up, which `rows` says by id: its place in the line, and so its
    priority, is that time.
    """
    await connection.execute(
        """
        UPDATE due SET at = ours.since, lease = NULL, tries = greatest(tries - 1, 0)
        FROM (SELECT due.what, due.id, back.since
              FROM due JOIN unnest(%s::text[], %s::timestamptz[]) AS back(id, since) USING (id)
              WHERE due.what = %s AND due.lease = %s::uuid
              ORDER BY due.id FOR UPDATE OF due) AS ours
        WHERE due.what = ours.what AND due.id = ours.id
        """,
        (list(rows), list(rows.values()), what, lease),
    )


#: Kinds whose lanes users choose: one hint serves them all.
SHARED_LANES = (What.DELIVER,)


async def lanes_due(
    connection: Connection, *, within: float | None = None
) -> list[tuple[What, str | None]]:
    """Which kinds and lanes have something due now: what the beat tick sends hints for.

    With `within`, of polls only what came up in the last so many seconds: those that were due
    before are found by the looks without it, and dead entries, which an old snapshot keeps, cost
    nothing.
    """
    cursor = await connection.execute(
        """
        WITH RECURSIVE lanes AS (
            (SELECT what, lane FROM due ORDER BY what DESC, lane DESC, at DESC LIMIT 1)
            UNION ALL
            SELECT next.what, next.lane FROM lanes, LATERAL (
                SELECT what, lane FROM due WHERE (due.what, due.lane) < (lanes.what, lanes.lane)
                ORDER BY due.what DESC, due.lane DESC, due.at DESC LIMIT 1) AS next
        )
        SELECT DISTINCT what, CASE WHEN what = ANY(%s) THEN NULL ELSE lane END AS lane FROM lanes
        WHERE EXISTS (SELECT 1 FROM due
                      WHERE due.what = lanes.what AND due.lane = lanes.lane AND at <= now()
                        AND at >= CASE WHEN lanes.what = %s AND %s::float8 IS NOT NULL
                                       THEN now() - %s * interval '1 second'
                                       ELSE '-infinity' END)
        """,
        (list(SHARED_LANES), What.POLL, within, within),
    )
    rows = await cursor.fetchall()
    _tell_of_newer(row["what"] for row in rows if row["what"] not in set(What))
    return [(What(row["what"]), row["lane"]) for row in rows if row["what"] in set(What)]


def _tell_of_newer(kinds: Iterable[str]) -> None:
    """During an upgrade a newer version's kinds are due already: its own workers do them."""
    for kind in kinds:
        if kind not in _told:
            _told.add(kind)
            log.warning("tick.unknown_kind", what=kind)


#: Kinds of newer versions that this process has told of.
_told: set[str] = set()
