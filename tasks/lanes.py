"""What is due and in flight by queue and lane, how old it is and what holds it back: for operators.

Every known kind of work has entries, with zeros where nothing is due, so that a dashboard never
sees a hole. Users choose hosts of webhooks, and tenants come and go: of their lanes the oldest are
told by name, and the others as one sum.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from models.accounts import room
from models.database import Connection, fetch_rows
from models.due import NO_LANE, SINCE
from models.records import Json
from models.verbs import DECLARED, What
from scheduler.claim import SHARED_LANES
from scheduler.paces import COUNTS_FOR
from tasks.engine import Engine
from tasks.routing import queue_of

#: Lanes of a shared kind that are told by name, by default and at most.
NAMED, MOST_NAMED = 20, 100
#: The lane of an entry that sums up the lanes of a shared kind that are not named.
OTHERS = "*"
#: Seconds after which PostgreSQL gives the statements up.
WITHIN = 10
#: Lanes of the other kinds: accounts, of which an operator has few.
_MOST_ACCOUNTS = 1000
#: The share of requests at a time that a lane may have in flight, where nothing slows it down.
FULL_PACE = 1.0

#: Kinds whose lanes are accounts.
_OF_ACCOUNTS: Final = (What.SUBMIT, What.POLL, What.STORE, What.CANCEL, What.LOOK_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a lane's due work is not done now."""

    #: `paused`: by an operator. `capped`: the account's cap is used up. `provider_auth`,
    #: `provider_quota`, `provider_rate_limited`: the provider refuses the account.
    #: `rate_limited`: the lane waits for its provider's Retry-After. `breaker_open`: the receiver
    #: failed several times in a row.
    code: str
    reason: str
    #: Seconds until it ends by itself; None: not by itself.
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How fast an account's lane may go, and what stops it."""

    pace: float = FULL_PACE
    stop: Stop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """One lane of one kind of work, or the sum of several."""

    queue: str
    what: What
    #: OTHERS: of all lanes of the kind that have no entry of their own.
    lane: str
    #: How many lanes this entry is about.
    lanes: int = 1
    #: Rows that no worker holds although their time has come.
    due: int = 0
    #: Seconds for which the oldest of them waits; 0 if there is none.
    oldest_seconds: float = 0.0
    #: Rows that a worker holds.
    in_flight: int = 0
    #: From 0 to 1: the share of a lane's requests at a time that its provider's limits leave.
    pace: float = FULL_PACE
    paused: Stop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    what: str
    #: None: several, summed up.
    lane: str | None
    lanes: int
    due: int
    oldest: float
    in_flight: int
    #: Of receivers: tenants' hosts with an open breaker, and seconds until the last one lets a
    #: probe through.
    closed: int = 0
    opens_in: float = field(default=0.0)


_LANES = f"""
WITH held AS (
    SELECT what, lane, count(*) FILTER (WHERE at <= now()) AS due,
           max(extract(epoch FROM now() - ({SINCE}))) FILTER (WHERE at <= now()) AS oldest,
           count(*) FILTER (WHERE at > now()) AS in_flight, 0 AS closed, NULL::interval AS opens_in
    FROM due WHERE at <= now() OR lease IS NOT NULL GROUP BY what, lane
    UNION ALL
    SELECT '{What.DELIVER}', host, 0, NULL, 0, count(*), max(open_until - now())
    FROM receiver WHERE open_until > now() GROUP BY host
), lanes AS (
    SELECT what, lane, sum(due) AS due, max(oldest) AS oldest, sum(in_flight) AS in_flight,
           sum(closed) AS closed, max(opens_in) AS opens_in
    FROM held GROUP BY what, lane
), ranked AS (
    SELECT lanes.*, row_number() OVER (
        PARTITION BY what ORDER BY oldest DESC NULLS LAST, closed DESC, in_flight DESC, lane
    ) <= CASE WHEN what = ANY(%(shared)s) THEN %(named)s ELSE %(accounts)s END AS is_named
    FROM lanes
)
SELECT what, CASE WHEN is_named THEN lane END AS lane, count(*)::int AS lanes,
       sum(due)::int AS due, coalesce(max(oldest), 0)::float8 AS oldest,
       sum(in_flight)::int AS in_flight, sum(closed)::int AS closed,
       coalesce(extract(epoch FROM max(opens_in)), 0)::float8 AS opens_in
FROM ranked GROUP BY 1, 2
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """An account that an operator has paused, or that its provider refuses."""

    account: str
    code: str
    reason: str | None
    seconds: float | None


# `provider:*` is the pause of all its accounts. An operator's word goes before the provider's.
_HELD = """
SELECT DISTINCT ON (account) account, held.code, held.reason,
       extract(epoch FROM held.until - now())::float8 AS seconds
FROM unnest(%s::text[]) AS account JOIN account_rule AS rule
     ON rule.name IN (account, split_part(account, ':', 1) || ':*'),
LATERAL (
    SELECT 1 AS place, 'paused' AS code, rule.pause_reason AS reason, rule.paused_until AS until
    WHERE rule.paused_at IS NOT NULL AND (rule.paused_until IS NULL OR rule.paused_until > now())
    UNION ALL
    SELECT 2, rule.block_code, rule.block_reason, rule.probe_at
    WHERE rule.blocked_at IS NOT NULL AND rule.probe_at > now()) AS held
ORDER BY account, held.place, held.until DESC NULLS FIRST
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    what: str
    lane: str
    share: float
    #: Seconds until its provider's Retry-After is over; negative if it is.
    wait: float


_PACES = """
SELECT what, lane, share, extract(epoch FROM paused_until - now())::float8 AS wait
FROM lane_pace WHERE lane = ANY(%s) AND noted_at > now() - %s * interval '1 second'
"""


async def read_lanes(engine: Engine, *, named: int = NAMED) -> list[LaneState]:
    """Every kind of work by lane, in order of a job's life; an account's lanes by its name.

    `named` lanes of a shared kind are told by name, the oldest first; then comes their sum.

    Raises:
        DatabaseAway: the database is unavailable, or took longer than WITHIN.
    """

    async def work(connection: Connection) -> list[LaneState]:
        await connection.execute(f"SET LOCAL statement_timeout = '{WITHIN}s'")
        rows = await fetch_rows(
            connection,
            _Row,
            _LANES,
            {
                "shared": [str(what) for what in SHARED_LANES],
                "named": named,
                "accounts": _MOST_ACCOUNTS,
            },
        )
        accounts = {*engine.accounts, *_accounts_in(rows)}
        return _states(rows, accounts, await standings(connection, sorted(accounts)))

    return await engine.database.run(work)


async def standings(
    connection: Connection, accounts: Sequence[str]
) -> Mapping[tuple[What, str], Standing]:
    """What stops or slows down accounts' lanes; those of which nothing does are left out.

    What holds an account back holds back its new submits; a rate limit any lane of its.
    """
    stops = await account_stops(connection, accounts)
    found = {(What.SUBMIT, account): Standing(stop=stop) for account, stop in stops.items()}
    for pace in await fetch_rows(connection, _Pace, _PACES, (list(accounts), COUNTS_FOR)):
        if pace.what in set(What):
            key = What(pace.what), pace.lane
            stop = found[key].stop if key in found else _slowed(pace)
            found[key] = Standing(pace=round(pace.share, 3), stop=stop)
    return found


async def account_stops(connection: Connection, accounts: Sequence[str]) -> dict[str, Stop]:
    """The accounts that send nothing new: paused, refused by their provider, or at their cap."""
    stops = {
        account: Stop(code="capped", reason="its cap is used up", seconds=None)
        for account, micros in (await room(connection, accounts)).items()
        if micros <= 0
    }
    for each in await fetch_rows(connection, _Held, _HELD, (list(accounts),)):
        reason = each.reason or "paused by an operator"
        stops[each.account] = Stop(code=each.code, reason=reason, seconds=each.seconds)
    return stops


def _slowed(pace: _Pace) -> Stop | None:
    if pace.wait <= 0:
        return None
    reason = "its provider answered with 429"
    return Stop(code="rate_limited", reason=reason, seconds=round(pace.wait, 3))


def _accounts_in(rows: Sequence[_Row]) -> set[str]:
    return {row.lane for row in rows if row.lane is not None and row.what in _OF_ACCOUNTS}


def _states(
    rows: Sequence[_Row],
    accounts: Collection[str],
    standing: Mapping[tuple[What, str], Standing],
) -> list[LaneState]:
    found = {(row.what, row.lane): row for row in rows}
    states = list[LaneState]()
    for what in (declared.what for declared in DECLARED):
        for lane in _lanes_of(what, rows, accounts):
            row = found.get((what, lane))
            state = _state(what, lane, row, standing.get((what, lane or ""), Standing()))
            states.append(state)
    return states


def _lanes_of(what: What, rows: Sequence[_Row], accounts: Collection[str]) -> Sequence[str | None]:
    """The lanes that have an entry; None for the sum of the others."""
    seen = [row for row in rows if row.what == what and row.lane is not None]
    if what in SHARED_LANES:
        oldest_first = sorted(seen, key=lambda row: (-row.oldest, -row.closed, row.lane))
        return [*(row.lane for row in oldest_first), None]
    known = accounts if what in _OF_ACCOUNTS else (NO_LANE,)
    return sorted({*known, *(row.lane for row in seen if row.lane is not None)})


def _state(what: What, lane: str | None, row: _Row | None, standing: Standing) -> LaneState:
    queue = str(queue_of(what, lane))
    if row is None:
        return LaneState(
            queue=queue,
            what=what,
            lane=lane or OTHERS,
            lanes=0 if lane is None else 1,
            pace=standing.pace,
            paused=standing.stop,
        )
    return LaneState(
        queue=queue,
        what=what,
        lane=lane or OTHERS,
        lanes=row.lanes,
        due=row.due,
        oldest_seconds=round(max(0.0, row.oldest), 3),
        in_flight=row.in_flight,
        pace=standing.pace,
        paused=standing.stop or _breaker(row),
    )


def _breaker(row: _Row) -> Stop | None:
    """The open breakers of a host: each tenant has its own."""
    if not row.closed:
        return None
    whose = "tenant" if row.closed == 1 else "tenants"
    reason = f"failed several times in a row for {row.closed} {whose}"
    if row.lane is None:
        reason = f"{row.closed} of these tenants' receivers failed several times in a row"
    return Stop(code="breaker_open", reason=reason, seconds=round(row.opens_in, 3))


def lane_view(state: LaneState) -> Json:
    """An entry as JSON."""
    return asdict(state)
