"""Whether everything that must hold holds, in words: `longtake doctor`, and the page of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models import due
from models.accounts import Waiting, waiting
from models.database import Connection, fetch_row
from models.failure import RequestRefused
from models.high_water import Row, read
from models.invariants import Progress, Violation, violations
from models.snapshots import OldSnapshot, old_snapshots
from tasks.engine import Engine
from tasks.restore.parked import Parked, parked

#: Seconds after which a look that a page asked for is given up.
WITHIN: Final = 50.0
#: The lock of whoever looks for a page, among PostgreSQL's advisory locks.
_LOCK: Final = 7_301_284_551


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found, and what else an operator should know."""

    violations: Sequence[Violation]
    snapshots: Sequence[OldSnapshot]
    #: Attempts that a restored database may have sent before.
    parked: Sequence[Parked]
    high_water: Row
    #: Due rows that our own work fails on.
    failing: Sequence[due.Parked]
    waiting: Sequence[Waiting]
    #: How long the look took, in seconds.
    seconds: float

    @property
    def notes(self) -> list[str]:
        """What is not wrong, and still of interest, in sentences."""
        told = list[str]()
        restored = self.high_water.restored_at
        if restored is not None:
            risk = sum(one.at_risk_micros for one in self.parked) / 1_000_000
            told.append(
                f"The database was restored (noticed {restored:%Y-%m-%d %H:%M} UTC): "
                f"{len(self.parked)} attempt(s) parked, ${risk:.2f} at risk. "
                "See `longtake restore status`."
            )
        for snapshot in self.snapshots:
            since = "for a long time" if snapshot.seconds is None else f"{snapshot.seconds:.0f} s"
            told.append(
                f"{snapshot.holder} has kept a snapshot {since}: dead rows stay, and claims slow "
                "down."
            )
        told += [
            f"{one.what} of {one.id} is put off: our own work on it failed {one.faults} times in a "
            f"row (see the log); next try {_in_words(one.wait)}."
            for one in self.failing
        ]
        told += [
            f"{each.count} attempt(s) wait for {each.account}, which is {each.code}: see "
            "`longtake providers list`."
            for each in self.waiting
        ]
        return told


async def examine(engine: Engine, *, progress: Progress | None = None) -> Examined:
    """Check every invariant in one snapshot, however long it takes."""
    began = time.monotonic()
    found = await engine.database.run(lambda connection: violations(connection, progress=progress))
    return await _with_notes(engine, found, began)


async def examine_alone(engine: Engine, *, within: float = WITHIN) -> Examined:
    """The same, unless somebody else's look goes on, and for `within` seconds at most.

    Nothing is written. The lock is the connection's, not a transaction's, whose first statement the
    invariants set; it ends with the look, and with the process.

    Raises:
        RequestRefused: `conflict`: a look goes on; `service_unavailable`: it took too long.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(within):
            found = await engine.database.run_statement(_alone)
            return await _with_notes(engine, found, began)
    except TimeoutError:
        msg = (
            f"the look at all invariants was given up after {within:.0f} s: run `longtake doctor`, "
            "which takes its time"
        )
        raise RequestRefused(msg, type="service_unavailable", code="takes_too_long") from None


@dataclass(frozen=True, slots=True)
class _Lock:
    is_ours: bool


async def _alone(connection: Connection) -> list[Violation]:
    lock = await fetch_row(
        connection, _Lock, "SELECT pg_try_advisory_lock(%s) AS is_ours", (_LOCK,)
    )
    if lock is None or not lock.is_ours:
        msg = "doctor is looking already, for somebody else: try again in a minute"
        raise RequestRefused(msg, type="conflict", code="doctor_is_looking")
    try:
        async with connection.transaction():
            return await violations(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def _with_notes(engine: Engine, found: Sequence[Violation], began: float) -> Examined:
    run = engine.database.run
    return Examined(
        violations=found,
        snapshots=await run(old_snapshots),
        parked=await run(parked),
        high_water=await run(read),
        failing=await run(due.parked),
        waiting=await run(waiting),
        seconds=time.monotonic() - began,
    )


def _in_words(wait: float) -> str:
    return f"in {wait / 60:.0f} min" if wait > 0 else "now"
