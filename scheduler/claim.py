"""Claims due rows: fair among lanes and tenants, with a lease and a fencing token.

A claimed row's `at` moves to the end of its lease, so that one index finds due rows and those that
a dead worker abandoned. The scans below visit the distinct prefixes of an index (a loose index
scan), so their cost grows with lanes and tenants, not rows: with 200,000 rows of one tenant and 50
other tenants, claiming 500 rows takes 2 ms; a window function took 139 ms. `scheduler.turns` claims
from all lanes of a kind.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache

import structlog

from models.database import Connection, fetch_ids, fetch_row, fetch_rows
from models.verbs import What
from scheduler.receivers import Standing

log = structlog.get_logger()

#: Maximum tenants in one claim; the next claim continues after them.
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
    #: Of a row of a shared lane: what is known of its receiver.
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The lane and tenant before which a claim's scan starts; empty: from the end."""

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


class Whose(StrEnum):
    """Which rows of a lane a claim takes; suspects never."""

    ALL = "true"
    #: Of which no claim was left without an answer, and on which our own work did not fail.
    CLEAN = "tries = 0 AND faults = 0"
    #: The others: each is worked on once by a pump before it is watched.
    DOUBTED = "(tries > 0 OR faults > 0)"


# Tenants are found from the end of the index, where live rows are: claims and write-backs leave
# dead entries in front, which PostgreSQL keeps while a transaction holds an old snapshot.
_CLAIM = """
WITH RECURSIVE turn AS (
    (SELECT tenant FROM due
     WHERE what = %(what)s AND lane = %(lane)s{start}
     ORDER BY lane DESC, tenant DESC, at DESC LIMIT 1)
    UNION ALL
    SELECT next.tenant FROM turn, LATERAL (
        SELECT tenant FROM due
        WHERE what = %(what)s AND due.lane = %(lane)s AND due.tenant < turn.tenant
        ORDER BY due.lane DESC, due.tenant DESC, due.at DESC LIMIT 1) AS next
), turns AS MATERIALIZED (  -- with the time of its earliest due row; without one, no turn
    SELECT turn.tenant, earliest.at
    FROM (SELECT tenant FROM turn WHERE tenant <> ALL(%(full)s)) AS turn, LATERAL (
        SELECT at FROM due
        WHERE what = %(what)s AND lane = %(lane)s AND tenant = turn.tenant
          AND at >= %(floor)s AND at <= {by} AND tries < {suspect} AND {whose}
        ORDER BY at LIMIT 1) AS earliest
    LIMIT %(turns)s
), picked AS (
    SELECT row.what, row.id, row.at FROM turns, LATERAL (
        SELECT what, id, at FROM due
        WHERE what = %(what)s AND lane = %(lane)s AND tenant = turns.tenant
          AND at >= %(floor)s AND at <= {by} AND tries < {suspect} AND {whose}
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
# By whether a round begins. Beside `lane =`, PostgreSQL 18 would start `(lane, tenant) <` at the
# lane's first row and read all skipped rows again at each step.
_STARTS = {True: "", False: " AND tenant < %(after_tenant)s"}
_OVERDUE = "now() - %(overdue)s * interval '1 second'"
_IN_LANE = {
    (is_new_round, whose): _CLAIM.format(
        start=start,
        suspect=SUSPECT,
        whose=whose,
        by=_OVERDUE if whose is Whose.CLEAN else "now()",
    )
    for is_new_round, start in _STARTS.items()
    for whose in Whose
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
    lane: str,
    turn: Turn,
    floor: datetime | None = None,
    most: int,
    each: int,
    full: Sequence[str] = (),
    lease: str,
    seconds: float,
    whose: Whose = Whose.ALL,
    overdue: float = 0.0,
) -> Found:
    """Claim up to `most` due rows of a lane, at most `each` per tenant; also returns the next turn.

    Of CLEAN rows only those that have been due for `overdue` seconds.

    `full` tenants have no turn: the caller holds enough rows of theirs.
    Rows are ordered: each tenant's earliest row, then each one's second. A returned `Turn()` means
    that the round is over. Suspects are left to `claim_suspect`.

    A `floor` from an earlier claim on the lane skips everything before it: dead index entries and,
    rarely, a row since moved to before it; so the caller drops the floor periodically.
    """
    is_new_round = turn == Turn()
    cursor = await connection.execute(
        _IN_LANE[is_new_round, whose],
        {
            "what": what,
            "lane": lane,
            "after_tenant": turn.tenant,
            "floor": floor or _NO_FLOOR,
            "turns": _TURNS,
            "most": most,
            "each": each,
            "full": list(full),
            "lease": lease,
            "seconds": seconds,
            "overdue": overdue,
        },
    )
    found = await cursor.fetchall()
    turns = max((row.pop("turns") for row in found), default=0)
    earliest = [row.pop("earliest") for row in found]
    rows = in_turns([Claimed(**row) for row in found])
    if turns <= min(most, _TURNS - 1):  # every tenant had a turn: the round is over
        if is_new_round and earliest and not full:  # of full ones, earlier rows may be due
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


def in_turns(rows: Sequence[Claimed]) -> list[Claimed]:
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


#: Kinds with a lane per receiver's host or per tenant: one hint serves all lanes.
SHARED_LANES = (What.DELIVER, What.PREPARE)
#: After every id: ids compare byte by byte.
LAST = "\U0010ffff"


@cache
def tenants_of(what: What) -> str:
    """The recursive query `tenants`: those with rows of a kind, due or not, in descending order.

    They begin before `%(after_tenant)s`. The kind is a literal, because its partial index needs it.
    """
    return f"""
    tenants AS (
        (SELECT tenant FROM due WHERE what = '{what}' AND tenant < %(after_tenant)s
         ORDER BY tenant DESC, at DESC LIMIT 1)
        UNION ALL
        SELECT next.tenant FROM tenants, LATERAL (
            SELECT tenant FROM due WHERE what = '{what}' AND due.tenant < tenants.tenant
            ORDER BY due.tenant DESC, due.at DESC LIMIT 1) AS next
    )
    """  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A kind and lane with due rows."""

    what: str
    lane: str


async def lanes_due(
    connection: Connection, *, within: float | None = None
) -> list[tuple[What, str | None]]:
    """The kinds and lanes with due rows, for which the tick sends hints; None for shared lanes.

    `within` limits polls to those that became due in the last so many seconds, to avoid reading
    dead index entries that an old snapshot keeps; a call without it finds the others.
    """
    found = await fetch_rows(
        connection,
        _Due,
        """
        WITH RECURSIVE kinds AS (
            (SELECT what FROM due ORDER BY what DESC, lane DESC, at DESC LIMIT 1)
            UNION ALL
            SELECT next.what FROM kinds, LATERAL (
                SELECT what FROM due WHERE due.what < kinds.what
                ORDER BY due.what DESC, due.lane DESC, due.at DESC LIMIT 1) AS next
        ), lanes AS (
            SELECT first.what, first.lane FROM kinds, LATERAL (
                SELECT what, lane FROM due WHERE due.what = kinds.what
                ORDER BY due.lane DESC, due.at DESC LIMIT 1) AS first
            WHERE kinds.what <> ALL(%s)
            UNION ALL
            SELECT next.what, next.lane FROM lanes, LATERAL (
                SELECT what, lane FROM due WHERE due.what = lanes.what AND due.lane < lanes.lane
                ORDER BY due.lane DESC, due.at DESC LIMIT 1) AS next
        )
        SELECT what, lane FROM lanes
        WHERE EXISTS (SELECT 1 FROM due
                      WHERE due.what = lanes.what AND due.lane = lanes.lane AND at <= now()
                        AND at >= CASE WHEN lanes.what = %s AND %s::float8 IS NOT NULL
                                       THEN now() - %s * interval '1 second'
                                       ELSE '-infinity' END)
        """,
        (list(SHARED_LANES), What.POLL, within, within),
    )
    _warn_of_newer(each.what for each in found if each.what not in set(What))
    due = [(What(each.what), each.lane) for each in found if each.what in set(What)]
    shared = [(what, None) for what in SHARED_LANES if await _is_any_due(connection, what)]
    return [*due, *shared]


async def _is_any_due(connection: Connection, what: What) -> bool:
    """Whether a row of this kind is due: one step for each tenant, whatever their lanes."""
    cursor = await connection.execute(
        f"""
        WITH RECURSIVE {tenants_of(what)}
        SELECT EXISTS (SELECT FROM tenants, LATERAL (
            SELECT FROM due WHERE what = '{what}' AND due.tenant = tenants.tenant AND at <= now()
            ORDER BY at LIMIT 1) AS earliest) AS is_due
        """,  # noqa: S608 - a constant
        {"after_tenant": LAST},
    )
    row = await cursor.fetchone()
    return row is not None and bool(row["is_due"])


def _warn_of_newer(kinds: Iterable[str]) -> None:
    """Log kinds that only a newer version knows: during an upgrade, its workers claim them."""
    for kind in kinds:
        if kind not in _told:
            _told.add(kind)
            log.warning("tick.unknown_kind", what=kind)


#: Unknown kinds that this process has logged.
_told: set[str] = set()
