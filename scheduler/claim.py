"""Claims due rows: fair among lanes and tenants, with a lease and a fencing token.

A claimed row's `at` moves to the end of its lease, so that one index finds due rows and those that
a dead worker abandoned. Both scans below visit the distinct prefixes of the index (a loose index
scan), so their cost grows with lanes and tenants, not rows: with 200,000 rows of one tenant and 50
other tenants, claiming 500 rows takes 2 ms; a window function took 139 ms.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from models.database import Connection, fetch_ids, fetch_row, fetch_rows
from models.verbs import What

log = structlog.get_logger()

#: Maximum tenants (or pairs of lane and tenant) in one claim; the next claim continues after them.
_TURNS = 1000
#: Claims without a write-back that make a row a suspect: it may be killing its workers, so it is
#: claimed alone.
SUSPECT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A row that this worker holds until its lease ends."""

    id: str
    lane: str
    tenant: str
    #: Claims since it was last written back, this one included.
    tries: int
    #: When it became due.
    since: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """The lane and tenant before which a claim's scan starts; empty: a new round."""

    lane: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a claim."""

    rows: list[Claimed]
    #: The next claim's start.
    turn: Turn
    #: No claimable row of the lane was due before this time; None if not known.
    floor: datetime | None = None


#: Earlier than any row's time.
_NO_FLOOR = datetime(1970, 1, 1, tzinfo=UTC)
#: Assumed maximum time from a transaction's start to its commit.
_LATE_COMMITS = timedelta(seconds=1)

# Tenants are found from the end of the index, where live rows are: claims and write-backs leave
# dead entries in front, which PostgreSQL keeps while a transaction holds an old snapshot.
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
), turns AS MATERIALIZED (  -- with the time of its earliest due row; without one, no turn
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
# By whether a round begins. With one lane, compare tenants only: beside `lane =`, PostgreSQL 18
# starts `(lane, tenant) <` at the lane's first row and reads all skipped rows again at each step.
_IN_LANE = {
    is_new_round: _CLAIM.format(
        first="lane = %(lane)s" + ("" if is_new_round else " AND tenant < %(after_tenant)s"),
        following="due.lane = %(lane)s AND due.tenant < turn.tenant",
        open="true",
        suspect=SUSPECT,
    )
    for is_new_round in (True, False)
}
# The scan visits closed lanes too, one step per tenant; excluding them would scan row by row.
_IN_LANES = {
    is_new_round: _CLAIM.format(
        first="true" if is_new_round else "(lane, tenant) < (%(after_lane)s, %(after_tenant)s)",
        following="(due.lane, due.tenant) < (turn.lane, turn.tenant)",
        open="turn.lane <> ALL(%(closed)s)",
        suspect=SUSPECT,
    )
    for is_new_round in (True, False)
}
# A literal bound, because the partial index of suspects needs one.
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
    """Claim up to `most` due rows, at most `each` per tenant and lane; also returns the next turn.

    Rows are of one `lane`, or of all lanes except the `closed` ones, ordered: each tenant's
    earliest row, then each one's second. A returned `Turn()` means that the round is over.
    Suspects are left to `claim_suspect`.

    A `floor` from an earlier claim on the lane skips everything before it: dead index entries and,
    rarely, a row since moved to before it; so the caller drops the floor periodically.
    """
    is_new_round = turn == Turn()
    cursor = await connection.execute(
        (_IN_LANES if lane is None else _IN_LANE)[is_new_round],
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
    if turns <= min(most, _TURNS - 1):  # every tenant had a turn: the round is over
        if is_new_round and lane is not None and earliest:
            floor = min(earliest) - _LATE_COMMITS
        return Found(rows, Turn(), floor)
    last = min((row.lane, row.tenant) for row in rows)
    return Found(rows, Turn(*last), floor)


async def claim_suspect(
    connection: Connection, what: What, *, lane: str | None, lease: str, seconds: float
) -> Claimed | None:
    """Claim the earliest suspect, of one `lane` or of all, for a caller that holds no other row.

    If it kills its worker, the worker leaves no other row unwritten.
    """
    wanted = {"what": what, "lane": lane, "lease": lease, "seconds": seconds}
    return await fetch_row(connection, Claimed, _CLAIM_SUSPECT, wanted)


def _in_turns(rows: Sequence[Claimed]) -> list[Claimed]:
    """The first row of each tenant, then the second ones: PostgreSQL returns them unordered."""
    seen: Counter[tuple[str, str]] = Counter()
    ranked: list[tuple[int, Claimed]] = []
    for row in sorted(rows, key=lambda row: (row.since, row.id)):
        seen[row.lane, row.tenant] += 1
        ranked.append((seen[row.lane, row.tenant], row))
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


async def renew(
    connection: Connection, what: What, ids: Sequence[str], *, lease: str, seconds: float
) -> frozenset[str]:
    """Extend our leases; returns the ids that this lease still holds."""
    held = await fetch_ids(
        connection,
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
    return frozenset(held)


async def release(
    connection: Connection, what: What, rows: Mapping[str, datetime], *, lease: str
) -> None:
    """Give unstarted rows back, as if they had not been claimed.

    `rows` maps each id to the time at which it became due; that time is restored, as it is the
    row's place in the queue.
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


#: Kinds with a lane per receiver's host: one hint serves all lanes.
SHARED_LANES = (What.DELIVER,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A kind and lane with due rows; the lane is None for kinds with shared lanes."""

    what: str
    lane: str | None


async def lanes_due(
    connection: Connection, *, within: float | None = None
) -> list[tuple[What, str | None]]:
    """The kinds and lanes with due rows, for which the tick sends hints.

    `within` limits polls to those that became due in the last so many seconds, to avoid reading
    dead index entries that an old snapshot keeps; a call without it finds the others.
    """
    found = await fetch_rows(
        connection,
        _Due,
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
    _warn_of_newer(each.what for each in found if each.what not in set(What))
    return [(What(each.what), each.lane) for each in found if each.what in set(What)]


def _warn_of_newer(kinds: Iterable[str]) -> None:
    """Log kinds that only a newer version knows: during an upgrade, its workers claim them."""
    for kind in kinds:
        if kind not in _told:
            _told.add(kind)
            log.warning("tick.unknown_kind", what=kind)


#: Unknown kinds that this process has logged.
_told: set[str] = set()
