"""Which rows a transaction holds after each of its statements, and whether it took them in order.

What is held is seen as others see it: a second connection asks, without waiting, which rows it
could lock. So nothing is read from the statements but whether they sort the rows that they lock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from models.database import Connection, Database

#: Each kind with the mode that its writers conflict in: a key share of a foreign key does not.
_MODES = {
    "batch": "NO KEY UPDATE",
    "rate_limit": "NO KEY UPDATE",
    "job": "NO KEY UPDATE",
    "due": "UPDATE",
    "account_rule": "NO KEY UPDATE",
    "attempt": "NO KEY UPDATE",
    "output": "NO KEY UPDATE",
    "delivery": "NO KEY UPDATE",
    "picture": "NO KEY UPDATE",
    "budget_use": "NO KEY UPDATE",
}
_IDS = {
    "rate_limit": "rate_limit.holder || ' ' || rate_limit.id",
    "account_rule": "account_rule.name",
    "budget_use": "budget_use.budget || ' ' || budget_use.starts_at",
}
_FREE = ", ".join(
    f"free_{kind} AS (SELECT ctid AS place FROM {kind} FOR {mode} SKIP LOCKED)"  # noqa: S608 - constants
    for kind, mode in _MODES.items()
)
_HELD = " UNION ALL ".join(
    f"""
    SELECT '{kind}' AS kind, {"what" if kind == "due" else "''"} AS what,
           {_IDS.get(kind, f"{kind}.id")} AS id,
           {kind + ".job" if kind in ("attempt", "output") else "NULL"} AS job,
           place IS NULL AS is_held
    FROM {kind} LEFT JOIN free_{kind} ON place = {kind}.ctid
    """  # noqa: S608 - constants
    for kind in _MODES
)
#: What comes later than each kind of which a transaction locks what it likes; the others' rows are
#: covered by their due rows or jobs.
_ORDER = ("batch", "rate_limit", "job", "due", "account_rule")
_COVERED = {"attempt", "output", "delivery", "budget_use"}
_LATER = {kind: {*_ORDER[number + 1 :], *_COVERED} for number, kind in enumerate(_ORDER)} | {
    "budget_use": set[str]()
}
_PROBE = f"WITH {_FREE} {_HELD}"


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    what: str
    id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.what, self.id


@dataclass(slots=True)
class _Seen:
    """The committed rows of all kinds, those that are held, and whose they are."""

    held: set[_Row] = field(default_factory=set)
    due_of: dict[str, set[_Row]] = field(default_factory=dict)
    job_of: dict[_Row, str] = field(default_factory=dict)

    def of(self, kind: str) -> set[_Row]:
        return {row for row in self.held if row.kind == kind}


@dataclass(slots=True)
class LockOrder:
    """Watches transactions, one at a time; `faults` are steps backwards in the order of locks."""

    watcher: Database
    faults: list[str] = field(default_factory=list)
    #: Transactions that held rows.
    watched: int = 0
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    def watch(self, database: Database) -> None:
        """From now on, its transactions run one after the other and are judged."""
        connect, transact = database._connection, database.transaction  # noqa: SLF001

        @asynccontextmanager
        async def connection() -> AsyncIterator[Connection]:
            async with self._alone, connect() as connection:
                yield connection

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Connection]:
            async with transact() as connection:
                await self._judged(connection)
                try:
                    yield connection
                finally:
                    del connection.execute

        database._connection = connection  # type: ignore[method-assign]  # noqa: SLF001
        database.transaction = transaction  # type: ignore[method-assign]

    async def _judged(self, connection: Connection) -> None:
        execute, before = connection.execute, _Seen()

        async def judged(query: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal before
            cursor = await execute(query, *arguments, **options)
            now = await self._look()
            self.watched += bool(now.held and not before.held)
            self._judge(str(query), before, now)
            before = now
            return cursor

        connection.execute = judged  # type: ignore[method-assign]

    async def _look(self) -> _Seen:
        seen = _Seen()
        for each in await self.watcher.fetch(_PROBE):
            row = _Row(each["kind"], each["what"], each["id"])
            if each["is_held"]:
                seen.held.add(row)
            if row.kind == "due":
                seen.due_of.setdefault(row.id, set()).add(row)
            elif each["job"]:
                seen.job_of[row] = each["job"]
        return seen

    def _judge(self, sql: str, before: _Seen, now: _Seen) -> None:
        for kind, later in _LATER.items():
            new = {row.key for row in now.of(kind) - before.of(kind)}
            if not new or (kind == "job" and "SKIP LOCKED" in sql):
                continue  # it waits for none of them
            if any(row.kind in later for row in before.held):
                self._fault(f"{kind} after what comes later", sql, new)
            if len(new) > 1 and "ORDER BY" not in sql:
                self._fault(f"rows of {kind} in no order", sql, new)
            if min(new) < max((row.key for row in before.of(kind)), default=min(new)):
                self._fault(f"{kind} after a greater one", sql, new)
        for row in now.held - before.held:
            if row.kind in {"attempt", "output", "delivery"} and not self._is_covered(row, now):
                self._fault(f"{row.kind} without its due row or its job", sql, {row.key})

    @staticmethod
    def _is_covered(row: _Row, now: _Seen) -> bool:
        covers = now.due_of.get(row.id, set())
        if covers or row.kind == "delivery":
            return covers <= now.held
        return _Row("job", "", now.job_of[row]) in now.held

    def _fault(self, words: str, sql: str, keys: set[tuple[str, str]]) -> None:
        self.faults.append(f"{words}: {sorted(keys)} by {' '.join(sql.split())[:200]}")
