"""Limits of submissions: checked under a row lock in the transaction that inserts the job.

Rows are locked before any row of a job, key before tenant: see `models.locks`. A holder's first
limits lock the table, which waits for the submissions that saw none: so those count as well. Held
lines of batches are not at work yet and do not count; their release does, under the same locks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from models.database import Connection, fetch_ids, fetch_row, fetch_rows
from models.failure import Allowance, RequestRefused
from models.records import columns
from models.rows.limits import Holder, LimitRow
from models.tiers import tier_limits

#: A minute window begins with its first job, so no clock minute is shared between two windows.
MINUTE = timedelta(minutes=1)
#: When to ask again after too many unfinished jobs: when one ends is not known.
ASK_AGAIN = timedelta(seconds=5)
#: Largest limit, which its column can hold.
MOST = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One limit of one holder, and how much of it is used."""

    #: `concurrent`, `per_minute` or `per_day`.
    name: str
    whose: str
    limit: int
    used: int
    resets_at: datetime

    def has_room(self, jobs: int) -> bool:
        return self.used + jobs <= self.limit

    def allowance(self, *, more: int) -> Allowance:
        """What is left after `more` jobs."""
        left = max(0, self.limit - self.used - more)
        return Allowance(limit=self.limit, remaining=left, resets_at=self.resets_at)

    def refusal(self, now: datetime, *, jobs: int = 1) -> RequestRefused:
        batch = f" (this batch has {jobs} lines)" if jobs > 1 else ""
        until = f"{self.resets_at:%Y-%m-%d %H:%M:%S} UTC"
        reason = {
            "concurrent": f"{self.used} unfinished of {self.limit} jobs allowed at a time: "
            "submit again when one has ended",
            "per_minute": f"submitted {self.used} jobs in this minute, of {self.limit} allowed: "
            f"the next minute begins at {until}",
            "per_day": f"submitted {self.used} jobs today, of {self.limit} allowed a day: the next "
            f"day begins at {until}",
        }[self.name]
        return RequestRefused(
            f"the limit {self.name} is reached: {self.whose} has {reason}{batch}",
            type="rate_limited",
            code=f"{self.name}_limit",
            retry_after=math.ceil((self.resets_at - now).total_seconds()),
            allowance=self.allowance(more=0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A holder's limits at one moment; of a submission, under the row's lock."""

    row: LimitRow
    #: Unfinished jobs.
    unfinished: int
    now: datetime

    @property
    def whose(self) -> str:
        return f"the {self.row.holder} {self.row.id}"

    @property
    def minute_at(self) -> datetime:
        """Start of the current minute; a clock that was set back does not begin another."""
        began = self.row.minute_at
        return began if began is not None and self.now < began + MINUTE else self.now

    @property
    def minute_used(self) -> int:
        return self.row.minute_used if self.minute_at == self.row.minute_at else 0

    @property
    def midnight(self) -> datetime:
        """Start of the current day in UTC; a clock that was set back does not begin another."""
        today = self.now.astimezone(UTC).date()
        return datetime.combine(max(today, self.row.day or today), time(), UTC)

    @property
    def day_used(self) -> int:
        return self.row.day_used if self.midnight.date() == self.row.day else 0

    @property
    def bounds(self) -> list[Bound]:
        """The limits that there are."""
        known = (
            ("concurrent", self.row.concurrent, self.unfinished, self.now + ASK_AGAIN),
            ("per_minute", self.row.per_minute, self.minute_used, self.minute_at + MINUTE),
            ("per_day", self.row.per_day, self.day_used, self.midnight + timedelta(days=1)),
        )
        return [
            Bound(name=name, whose=self.whose, limit=limit, used=used, resets_at=resets_at)
            for name, limit, used, resets_at in known
            if limit is not None
        ]


@dataclass(frozen=True, slots=True)
class Held:
    """The limits that apply to a submission, with their rows locked until its transaction ends."""

    used: Sequence[Used] = ()

    def room(self, *, most: int) -> int:
        """How many more jobs may be unfinished at a time, up to `most`."""
        bounds = (bound for each in self.used for bound in each.bounds)
        left = (each.limit - each.used for each in bounds if each.name == "concurrent")
        return max(0, min([most, *left]))

    @property
    def is_concurrent(self) -> bool:
        """Whether the number of unfinished jobs is limited."""
        return any(each.row.concurrent is not None for each in self.used)

    def refusal(self) -> RequestRefused | None:
        """Why one more job is refused: by the limit that allows one last."""
        return self._refusal({"concurrent": 1, "per_minute": 1, "per_day": 1})

    def refusal_of_batch(self, lines: int) -> RequestRefused | None:
        """Why so many lines are refused: a batch is one in its minute, and its lines may wait."""
        return self._refusal({"per_minute": 1, "per_day": lines})

    def _refusal(self, more: Mapping[str, int]) -> RequestRefused | None:
        reached = [
            (bound, each.now)
            for each in self.used
            for bound in each.bounds
            if bound.name in more and not bound.has_room(more[bound.name])
        ]
        if not reached:
            return None
        last, now = max(reached, key=lambda pair: pair[0].resets_at)
        return last.refusal(now, jobs=more[last.name])

    async def count(self, connection: Connection, *, lines: int = 1) -> Allowance | None:
        """Count one job or batch; returns what is left of the limit of which least is left."""
        for each in self.used:
            await connection.execute(
                """
                UPDATE rate_limit SET minute_at = %s, minute_used = %s, day = %s, day_used = %s
                WHERE holder = %s AND id = %s
                """,
                (
                    *(each.minute_at, each.minute_used + 1),
                    *(each.midnight.date(), each.day_used + lines),
                    *(each.row.holder, each.row.id),
                ),
            )
        left = [
            bound.allowance(more=lines if bound.name == "per_day" else 1)
            for each in self.used
            for bound in each.bounds
        ]
        return min(left, key=lambda allowance: allowance.remaining, default=None)


_COLUMNS = columns(LimitRow)
#: Every unfinished job has a due row for its deadline, which the index `due_by_tenant` finds.
_UNFINISHED = """
SELECT clock_timestamp() AS now, (
    SELECT count(*) FROM (
        SELECT FROM due WHERE what = 'expire' AND lane = '-' AND tenant = %(tenant)s
        LIMIT %(of_tenant)s) AS one)::int AS of_tenant, (
    SELECT count(*) FROM (
        SELECT FROM due JOIN job ON job.id = due.id
        WHERE due.what = 'expire' AND due.lane = '-' AND due.tenant = %(tenant)s
          AND job.api_key = %(key)s LIMIT %(of_key)s) AS one)::int AS of_key
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unfinished:
    now: datetime
    of_tenant: int
    of_key: int


async def hold(connection: Connection, *, tenant: str, api_key: str | None) -> Held:
    """Lock the limits of a submission and read what is used of them."""
    sql = f"""
    SELECT {_COLUMNS} FROM rate_limit
    WHERE (holder = 'tenant' AND id = %s) OR (holder = 'key' AND id = %s)
    ORDER BY holder, id FOR NO KEY UPDATE
    """  # noqa: S608 - columns of our own
    rows = await fetch_rows(connection, LimitRow, sql, (tenant, api_key))
    return Held([await _used(connection, row, tenant, enough=row.concurrent) for row in rows])


async def _used(connection: Connection, row: LimitRow, tenant: str, *, enough: int | None) -> Used:
    """The row's use, counting unfinished jobs up to `enough`; after the lock, to see all."""
    is_key = row.holder == Holder.KEY
    wanted = {
        "tenant": tenant,
        "key": row.id if is_key else None,
        "of_tenant": 0 if is_key else enough or 0,
        "of_key": enough or 0 if is_key else 0,
    }
    found = await fetch_row(connection, _Unfinished, _UNFINISHED, wanted)
    assert found is not None  # noqa: S101 - a SELECT without FROM
    return Used(row=row, unfinished=found.of_key if is_key else found.of_tenant, now=found.now)


# -- what operators ask -------------------------------------------------------------------------


async def set_limits(
    connection: Connection,
    holder: Holder,
    id_: str,
    *,
    tier: str | None = None,
    changes: Mapping[str, int | None] | None = None,
) -> None:
    """Give a tenant or key a copy of a tier's limits, then `changes`; None in them: no limit.

    Limits that are not named stay. What was submitted in the current windows still counts.

    Raises:
        RequestRefused: the tenant, key or tier is unknown, or a limit is out of range.
    """
    wanted = (tier_limits(tier).as_dict() if tier is not None else {}) | dict(changes or {})
    if not wanted:
        raise RequestRefused("nothing to set: name a tier or a limit")
    for name, value in wanted.items():
        if value is not None and not 1 <= value <= MOST:
            msg = f"{name} must be a whole number from 1 to {MOST}, or none (it is {value})"
            raise RequestRefused(msg, param=name)
    tenant = await _tenant_of(connection, holder, id_)
    await _open(connection, holder, id_, tenant=tenant)
    named = [name for name in ("concurrent", "per_minute", "per_day") if name in wanted]
    values = {name: wanted[name] for name in named} | ({"tier": tier} if tier is not None else {})
    await connection.execute(
        f"""
        UPDATE rate_limit SET {", ".join(f"{name} = %({name})s" for name in values)}
        WHERE holder = %(holder)s AND id = %(id)s
        """,  # noqa: S608 - columns of our own
        {"holder": holder, "id": id_} | values,
    )


async def _open(connection: Connection, holder: Holder, id_: str, *, tenant: str) -> None:
    """Insert the holder's row if there is none, with what it has submitted in the current windows.

    From then on submissions count themselves.
    """
    its = {"holder": holder, "id": id_}
    sql = "SELECT id FROM rate_limit WHERE holder = %(holder)s AND id = %(id)s"
    if await fetch_ids(connection, sql, its):
        return
    await connection.execute("LOCK TABLE rate_limit IN EXCLUSIVE MODE")
    await connection.execute(_OPEN, its | {"tenant": tenant, "is_key": holder is Holder.KEY})


_OPEN = """
INSERT INTO rate_limit (holder, id, minute_at, minute_used, day, day_used)
SELECT %(holder)s, %(id)s, min(created_at) FILTER (WHERE created_at > minute.starts_at),
       count(DISTINCT coalesce(batch_id, job.id)) FILTER (WHERE created_at > minute.starts_at),
       day.starts_at AT TIME ZONE 'UTC',
       count(*) FILTER (WHERE created_at >= day.starts_at)
FROM (SELECT statement_timestamp() - interval '1 minute' AS starts_at) AS minute
CROSS JOIN (SELECT date_trunc('day', statement_timestamp(), 'UTC') AS starts_at) AS day
LEFT JOIN job ON job.tenant = %(tenant)s AND (NOT %(is_key)s OR job.api_key = %(id)s)
     AND created_at >= least(minute.starts_at, day.starts_at)
GROUP BY day.starts_at
ON CONFLICT (holder, id) DO NOTHING
"""


async def read_limits(
    connection: Connection, holder: Holder | None = None, id_: str | None = None
) -> list[Used]:
    """The limits of a tenant or key, or all that are set, and what is used of them."""
    sql = f"""
    SELECT {_COLUMNS} FROM rate_limit
    WHERE %(holder)s::text IS NULL OR (holder = %(holder)s AND id = %(id)s)
    ORDER BY holder, id
    """  # noqa: S608 - columns of our own
    if holder is not None and id_ is not None:
        await _tenant_of(connection, holder, id_)
    rows = await fetch_rows(connection, LimitRow, sql, {"holder": holder, "id": id_})
    return [
        await _used(
            connection, row, await _tenant_of(connection, Holder(row.holder), row.id), enough=MOST
        )
        for row in rows
    ]


async def _tenant_of(connection: Connection, holder: Holder, id_: str) -> str:
    """The tenant, or the key's tenant; raises RequestRefused if there is none."""
    sql = {
        Holder.TENANT: "SELECT id AS tenant FROM tenant WHERE id = %s",
        Holder.KEY: "SELECT tenant FROM api_key WHERE id = %s",
    }[holder]
    cursor = await connection.execute(sql, (id_,))
    row = await cursor.fetchone()
    if row is None:
        msg = f"there is no {holder} {id_[:64]!r}: `longtake keys list` shows tenants and keys"
        raise RequestRefused(msg, type="not_found", param=str(holder))
    return str(row["tenant"])
