"""Detects that the database was restored to an earlier time, before attempts are paid for twice.

After a restore, attempts that were sent since the backup are planned again. Therefore a mark
outside PostgreSQL records the database's generation (`storage.marks`). A process compares the two
before its first paid POST, and again when it finds another server, another copy of the tables or a
lower generation. If the database is behind the mark, all planned attempts that may have been sent
are parked until a look-up or an operator resolves them (`tasks.restore.parked`).

Why a generation suffices: a process increments it only after its attempts were committed as sent,
and then stores the mark. A database without those commits therefore also lacks the generation,
whether it is a dump, an older disk or a lagging standby. Attempts of the last two seconds before a
crash have no mark yet; surviving processes remember their own and compare them too.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog

from models import high_water
from models.database import Database, DatabaseAway
from models.high_water import NoHighWater
from providers.base import LookUp
from providers.registry import PROVIDERS
from storage import marks
from storage.base import StorageError
from storage.marks import Mark, Name
from tasks.ending import end
from tasks.engine import Engine
from tasks.outcomes.sent import fingerprint
from tasks.restore.clearance import Sent

log = structlog.get_logger()

#: Interval of marks while attempts are being sent, in seconds.
MARK_PERIOD = 2.0
#: Interval of marks while no attempts are sent, in seconds.
IDLE_PERIOD = 30.0
#: Timeout of the storage for one mark, in seconds.
STORAGE_BOUND = 10.0
#: Timeout of a whole comparison, including parking, in seconds.
MARK_BOUND = 600.0
#: Delay before an unavailable storage is asked again, in seconds; no POST is sent meanwhile.
RETRY_AFTER = 5.0
#: How long a process may keep sending while it can't store a mark, in seconds: a restore could lose
#: only what it sent in this time.
MAX_UNMARKED = 300.0
#: Age since their last use at which credentials are forgotten.
ACCOUNTS_KEPT = timedelta(days=90)
#: How long a process waits after finding a new timeline, in seconds, so that processes that sent
#: attempts through the lost server compare first.
SETTLING_TIME = 10.0
#: Attempts parked per transaction, and the maximum number of transactions: 100 million attempts.
BATCH, MOST_BATCHES = 5_000, 20_000
#: Transient errors, after which the comparison is retried.
TRANSIENT = (StorageError, TimeoutError, DatabaseAway, NoHighWater)


async def seconds_until_clear(engine: Engine) -> float:
    """0 if this process may send paid POSTs, else seconds until the attempt should be retried.

    Answered from memory once the database was compared with the mark. While the storage is
    unavailable, no comparison is possible and nothing is sent, but a process that was cleared
    before continues for `MAX_UNMARKED` seconds. Videos could not be stored either, and the deadline
    ends jobs that wait too long.
    """
    clearance = engine.clearance
    if clearance.is_given():
        if clearance.unmarked_for <= MAX_UNMARKED:
            return 0.0
        log.error("restore.unmarked", seconds=round(clearance.unmarked_for), wait=RETRY_AFTER)
        return RETRY_AFTER
    async with clearance.comparing:
        if not clearance.is_given() and not clearance.pauses_for:
            try:
                await _compare_and_register(engine)
            except TRANSIENT as error:
                clearance.withdraw()
                clearance.pause(RETRY_AFTER * random.uniform(0.8, 1.2))
                log.error("restore.not_compared", reason=_reason(error), wait=RETRY_AFTER)  # noqa: TRY400 - expected and retried
    return 0.0 if clearance.is_given() else max(clearance.pauses_for, 0.1)


async def tend(engine: Engine, *, idle: float = IDLE_PERIOD) -> str:
    """Compare the database with the mark and write a new one if due; returns what was done.

    Idempotent, and safe to run in any number of processes at once.
    """
    clearance = engine.clearance
    try:
        before = dict(clearance.sent)
        row = await engine.database.run_statement(high_water.read)
        if _is_ours(engine, row):
            clearance.cover(before, generation=row.generation)
            clearance.forget(stored=row.stored)
            if row.age < idle and not clearance.sent:
                return "fresh"
        async with clearance.comparing:
            seen = await _compare(engine)
            if seen is None:
                return "not cleared"
            return await _write(engine, *seen)
    except TRANSIENT as error:
        log.error("restore.mark_not_written", reason=_reason(error))  # noqa: TRY400 - expected and retried
        return "failed"


@asynccontextmanager
async def tending(engine: Engine) -> AsyncIterator[None]:
    """Keep the mark up to date during the block, and write a last one at its end."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(MARK_PERIOD)
            if engine.clearance.sent:
                await tend(engine)

    follower = asyncio.create_task(follow())
    try:
        yield
    finally:
        await end(follower)
        if engine.clearance.sent:
            await tend(engine)


async def accept_database(engine: Engine) -> None:
    """Accept the database as it is, by an operator's decision, and write a new mark from it.

    Raises:
        StorageError, TimeoutError, DatabaseAway: the mark could not be compared or written.
    """
    async with engine.clearance.comparing:
        seen = await _compare(engine)
        await engine.database.run(high_water.accept)
        if seen is not None:
            await _write(engine, *seen)


# -- comparing ------------------------------------------------------------------------------------


async def _compare(engine: Engine) -> tuple[high_water.Row, Mark | None] | None:
    """Give clearance unless the database is behind the mark; if it is, park attempts first.

    Returns the row and the mark, or None while clearance must wait.
    """
    for _ in range(3):  # once more after parking, and after a race with another process
        before = dict(engine.clearance.sent)
        row, mark, newest = await _look(engine)
        lost = await _missing(engine, before)
        if lost or _is_behind(row, newest):
            engine.clearance.withdraw()
            await _park(engine, row, newest, mark, lost)
            continue
        if newest is None and row.stored:
            log.error("restore.mark_missing", stored=row.stored, installation=row.installation)
        if not await _is_timeline_settled(engine, row, mark):
            return None
        engine.clearance.give(table=row.table, started=row.started, generation=row.generation)
        engine.clearance.cover(before, generation=row.generation)
        return row, mark
    return None


async def _compare_and_register(engine: Engine) -> None:
    """Compare, and write a mark with this process's credentials before it uses them."""
    seen = await _compare(engine)
    if seen is None:
        return
    row, mark = seen
    known = mark.accounts if mark else {}
    if any(print_ not in known.get(name, {}) for name, print_ in _fingerprints(engine).items()):
        await _write(engine, row, mark)


async def _look(engine: Engine) -> tuple[high_water.Row, Mark | None, Name | None]:
    """Read the mark and then the row, which may therefore be ahead of it but not behind."""
    first = await engine.database.run_statement(high_water.read)
    async with asyncio.timeout(STORAGE_BOUND):
        names = await marks.names(engine.storage, first.installation)
        newest = names[-1] if names else None
        mark = await marks.read(engine.storage, first.installation, newest) if newest else None
    row = await engine.database.run_statement(high_water.read)
    if row.installation != first.installation:
        msg = "the database was replaced during its comparison with the mark"
        raise DatabaseAway(msg)
    # A second mark of the row's generation belongs to another copy of the database.
    ahead = [n for n in names if n.generation >= row.generation and n.nonce != row.nonce]
    return row, mark, ahead[-1] if ahead else newest


def _is_behind(row: high_water.Row, newest: Name | None) -> bool:
    """Whether the mark has a later generation, or the same one from another copy."""
    return newest is not None and (
        newest.generation > row.generation
        or (newest.generation == row.generation and newest.nonce != row.nonce)
    )


async def _missing(engine: Engine, before: Mapping[str, Sent]) -> list[str]:
    """Attempts that this process committed as sent and the database does not have."""
    if not before:
        return []
    unknown = await engine.database.run_statement(
        lambda connection: high_water.unknown_to(connection, sorted(before))
    )
    # Excludes attempts that were taken back or sent again during the query.
    return [id_ for id_ in unknown if engine.clearance.sent.get(id_) is before[id_]]


async def _is_timeline_settled(engine: Engine, row: high_water.Row, mark: Mark | None) -> bool:
    """Whether the settling time of a new timeline is over; True if the timeline is the mark's."""
    clearance = engine.clearance
    if mark is None or mark.system is None or _is_ours(engine, row):
        return True
    system, timeline, _ = await _identity(engine.database)
    if system is None or (system, timeline) == (mark.system, mark.timeline):
        return True
    server, now = (system, timeline), time.monotonic()
    if clearance.watch is None or clearance.watch[0] != server:
        clearance.watch = (server, now + SETTLING_TIME)
        log.warning(
            "restore.new_timeline", timeline=timeline, was=mark.timeline, wait=SETTLING_TIME
        )
    clearance.pause(clearance.watch[1] - now)
    return now >= clearance.watch[1]


def _is_ours(engine: Engine, row: high_water.Row) -> bool:
    return engine.clearance.holds_for(
        table=row.table, started=row.started, generation=row.generation
    )


# -- parking --------------------------------------------------------------------------------------


async def _park(
    engine: Engine,
    row: high_water.Row,
    newest: Name | None,
    mark: Mark | None,
    lost: list[str],
) -> None:
    """Park what may have been sent, then overtake the mark. Idempotent and safe in parallel."""
    before = row.now if lost or mark is None else mark.written_at
    generation = newest.generation if newest else row.generation
    ahead: dict[str, Any] = mark.as_json() if mark else {"generation": generation}
    if lost:  # sent by this process, perhaps with credentials that the mark does not have
        ahead["accounts"] = _accounts(engine, mark, at=row.now)
    ahead |= {"sent_before": before.isoformat(), "was_at": row.generation, "lost": lost}
    run = engine.database.run
    if not await run(lambda connection: high_water.note_restore(connection, row, ahead)):
        return  # another process has handled it
    parked = await _park_until(engine, before)
    await run(lambda connection: high_water.overtake(connection, row, generation))
    for attempt in lost:
        engine.clearance.take_back(attempt)
    log.error(
        "restore.noticed",
        generation=row.generation,
        mark=generation,
        sent_before=before.isoformat(),
        parked=parked,
        advice="see `longtake restore status`",
    )


async def _park_until(engine: Engine, before: datetime) -> int:
    looked_up = [
        name
        for name, provider in PROVIDERS.items()
        if set(provider.capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}
    ]
    parked, after = 0, ""
    for _ in range(MOST_BATCHES):
        ids = await engine.database.run(
            lambda connection, after=after: high_water.park(  # type: ignore[misc]
                connection, before=before, after=after, looked_up=looked_up, most=BATCH
            )
        )
        if not ids:
            break
        parked, after = parked + len(ids), ids[-1]
    return parked


# -- writing --------------------------------------------------------------------------------------


async def _write(engine: Engine, row: high_water.Row, previous: Mark | None) -> str:
    """Increment the generation, store its mark and confirm it, in this order: see `models`."""
    run = engine.database.run
    counted = await run(lambda connection: high_water.count_up(connection, row))
    if counted is None:
        return "another process is writing it"
    generation, nonce, at = counted
    system, timeline, database = await _identity(engine.database)
    attempt, sent_at = engine.clearance.newest or (None, None)
    if previous is not None and (sent_at is None or sent_at < (previous.sent_at or sent_at)):
        attempt, sent_at = previous.attempt, previous.sent_at
    mark = Mark(
        installation=row.installation,
        generation=generation,
        nonce=nonce,
        written_at=at,
        attempt=attempt,
        sent_at=sent_at,
        system=system,
        timeline=timeline,
        database=database,
        accounts=_accounts(engine, previous, at=at),
    )
    async with asyncio.timeout(STORAGE_BOUND):
        await marks.write(engine.storage, mark)
    await run(lambda connection: high_water.confirm(connection, generation))
    engine.clearance.forget(stored=generation)
    return f"generation={generation}"


def _fingerprints(engine: Engine) -> dict[str, str]:
    return {name: fingerprint(account).hex() for name, account in engine.accounts.items()}


def _accounts(engine: Engine, previous: Mark | None, *, at: datetime) -> dict[str, dict[str, str]]:
    """Fingerprints of each account's credentials, from the previous mark and this process."""
    oldest = (at - ACCOUNTS_KEPT).astimezone(UTC).isoformat()
    told = previous.accounts if previous else {}
    known = {
        name: {print_: seen for print_, seen in prints.items() if seen >= oldest}
        for name, prints in told.items()
    }
    for name, print_ in _fingerprints(engine).items():
        known.setdefault(name, {})[print_] = at.astimezone(UTC).isoformat()
    return {name: prints for name, prints in known.items() if prints}


async def _identity(database: Database) -> tuple[str | None, int | None, str | None]:
    """System identifier, timeline, and the database's name and OID; None without permission."""
    try:
        (row,) = await database.fetch(
            """
            SELECT (SELECT system_identifier FROM pg_control_system())::text AS system,
                   ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
                       AS timeline,
                   datname || '/' || oid AS name
            FROM pg_database WHERE datname = current_database()
            """
        )
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return None, None, None
    return row["system"], row["timeline"], row["name"]


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
