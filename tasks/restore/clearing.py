"""Restore: notices that the database was set back to an earlier time, before that costs money.

After a restore, attempts are planned that were sent since the backup. So a mark outside of
PostgreSQL tells how far the database had come (`storage.marks`), and a process compares the two
before its first paid POST, and again when it meets another server, another copy of the tables or a
lower generation. Where the database is behind, everything that it holds as planned and that may
have been sent is parked, until it is looked up or an operator decides (`tasks.restore.parked`).

Why a generation suffices: a process counts it up only after its attempts were committed as sent,
and stores the mark after that. A database that lacks those commits therefore lacks the generation
too, be it a dump, an older disk or a standby that lagged. What was sent in the last two seconds
before the end has no mark yet; a process that lives on remembers it, and compares that too.
"""

import asyncio
import contextlib
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
from tasks.engine import Engine
from tasks.outcomes.sent import fingerprint
from tasks.restore.clearance import Sent

log = structlog.get_logger()

#: While attempts are being sent, a mark follows them by so many seconds.
PERIOD = 2.0
#: While none is, a mark is written every so many seconds.
IDLE = 30.0
#: The storage has so many seconds for one mark.
STORAGE_BOUND = 10.0
#: How long a whole comparison may take, parking included, before its task is given up, in seconds.
MARK_BOUND = 600.0
#: A storage that does not answer is asked again after so many seconds; nothing is sent meanwhile.
HOLD = 5.0
#: Seconds for which a process goes on sending while no mark of it can be stored: what it sent since
#: is all that a restore could forget.
UNMARKED = 300.0
#: Credentials that no process has had for so long are forgotten.
ACCOUNTS_KEPT = timedelta(days=90)
#: Processes that saw another timeline than the mark's wait so long, so that each of those that sent
#: something to the lost server compares first, in seconds.
SETTLE = 10.0
#: Attempts that are parked in one transaction, and transactions at most: 100 million.
BATCH, MOST_BATCHES = 5_000, 20_000
#: What can go wrong without harm: it is tried again.
TROUBLE = (StorageError, TimeoutError, DatabaseAway, NoHighWater)


async def seconds_until_clear(engine: Engine) -> float:
    """0 when this process may pay; else seconds after which the attempt is to come up again.

    From memory, once the database was compared with the mark. While the storage is unavailable
    there is no comparison, so nothing is sent, and a process that was cleared before goes on for
    `UNMARKED` seconds: videos could not be stored either, and the deadline ends what waits for too
    long.
    """
    clearance = engine.clearance
    if clearance.is_given():
        if clearance.unmarked_for <= UNMARKED:
            return 0.0
        log.error("restore.unmarked", seconds=round(clearance.unmarked_for), wait=HOLD)
        return HOLD
    async with clearance.comparing:
        if not clearance.is_given() and not clearance.pauses_for:
            try:
                await _compare_and_introduce(engine)
            except TROUBLE as error:
                clearance.withdraw()
                clearance.pause(HOLD * random.uniform(0.8, 1.2))
                log.error("restore.not_compared", reason=_words(error), wait=HOLD)  # noqa: TRY400 - told, and tried again
    return 0.0 if clearance.is_given() else max(clearance.pauses_for, 0.1)


async def tend(engine: Engine, *, idle: float = IDLE) -> str:
    """Compare the database with the mark, and write a new one where it is time; says what it did.

    Any number of processes may do this at once, and as often as they like.
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
    except TROUBLE as error:
        log.error("restore.mark_not_written", reason=_words(error))  # noqa: TRY400 - told, and tried again
        return "failed"


@asynccontextmanager
async def tending(engine: Engine) -> AsyncIterator[None]:
    """While this runs a mark follows what is sent, and one is written at its end."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(PERIOD)
            if engine.clearance.sent:
                await tend(engine)

    follower = asyncio.create_task(follow())
    try:
        yield
    finally:
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
        if engine.clearance.sent:
            await tend(engine)


async def accept_database(engine: Engine) -> None:
    """The operator takes the database as it is for the truth: a new mark is written from it.

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
    """Give clearance where the database is not behind the mark; where it is, park first.

    Returns what was compared, or None while clearance must wait.
    """
    for _ in range(3):  # once more after parking, and after a race with another process
        before = dict(engine.clearance.sent)
        row, mark, newest = await _look(engine)
        lost = await _lost(engine, before)
        if lost or _is_behind(row, newest):
            engine.clearance.withdraw()
            await _park(engine, row, newest, mark, lost)
            continue
        if newest is None and row.stored:
            log.error("restore.mark_missing", stored=row.stored, installation=row.installation)
        if not await _is_settled(engine, row, mark):
            return None
        engine.clearance.give(table=row.table, started=row.started, generation=row.generation)
        engine.clearance.cover(before, generation=row.generation)
        return row, mark
    return None


async def _compare_and_introduce(engine: Engine) -> None:
    """Compare; a mark names this process's credentials before anything is sent with them."""
    seen = await _compare(engine)
    if seen is None:
        return
    row, mark = seen
    known = mark.accounts if mark else {}
    if any(print_ not in known.get(name, {}) for name, print_ in _fingerprints(engine).items()):
        await _write(engine, row, mark)


async def _look(engine: Engine) -> tuple[high_water.Row, Mark | None, Name | None]:
    """The mark, and then the row, which may be ahead of it but never behind."""
    first = await engine.database.run_statement(high_water.read)
    async with asyncio.timeout(STORAGE_BOUND):
        names = await marks.names(engine.storage, first.installation)
        newest = names[-1] if names else None
        mark = await marks.read(engine.storage, first.installation, newest) if newest else None
    row = await engine.database.run_statement(high_water.read)
    if row.installation != first.installation:
        msg = "the database was replaced while it was compared with the mark"
        raise DatabaseAway(msg)
    # A second mark of the row's own generation is that of another copy, which went on as well.
    ahead = [n for n in names if n.generation >= row.generation and n.nonce != row.nonce]
    return row, mark, ahead[-1] if ahead else newest


def _is_behind(row: high_water.Row, newest: Name | None) -> bool:
    """Whether the mark is of a later generation, or of the same one of another copy."""
    return newest is not None and (
        newest.generation > row.generation
        or (newest.generation == row.generation and newest.nonce != row.nonce)
    )


async def _lost(engine: Engine, before: Mapping[str, Sent]) -> list[str]:
    """What this process committed as sent, and the database knows nothing of."""
    if not before:
        return []
    unknown = await engine.database.run_statement(
        lambda connection: high_water.unknown_to(connection, sorted(before))
    )
    # Not what was taken back, or sent anew, while we asked.
    return [id_ for id_ in unknown if engine.clearance.sent.get(id_) is before[id_]]


async def _is_settled(engine: Engine, row: high_water.Row, mark: Mark | None) -> bool:
    """Whether a server with another timeline than the mark's has been there for long enough."""
    clearance = engine.clearance
    if mark is None or mark.system is None or _is_ours(engine, row):
        return True
    system, timeline, _ = await _identity(engine.database)
    if system is None or (system, timeline) == (mark.system, mark.timeline):
        return True
    server, now = (system, timeline), time.monotonic()
    if clearance.watch is None or clearance.watch[0] != server:
        clearance.watch = (server, now + SETTLE)
        log.warning("restore.new_timeline", timeline=timeline, was=mark.timeline, wait=SETTLE)
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
    """Park what may have been sent, then go on from past the mark. Repeatable, and by many."""
    before = row.now if lost or mark is None else mark.written_at
    generation = newest.generation if newest else row.generation
    ahead: dict[str, Any] = mark.as_json() if mark else {"generation": generation}
    if lost:  # this process sent it, perhaps with credentials that the mark does not tell of
        ahead["accounts"] = _accounts(engine, mark, at=row.now)
    ahead |= {"sent_before": before.isoformat(), "was_at": row.generation, "lost": lost}
    run = engine.database.run
    if not await run(lambda connection: high_water.note_restore(connection, row, ahead)):
        return  # another process has dealt with it
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
    """Count the generation up, store its mark, and confirm it: in this order, see `models`."""
    run = engine.database.run
    counted = await run(lambda connection: high_water.count_up(connection, row))
    if counted is None:
        return "another process writes it"
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
    """What earlier marks and this process know of each account's credentials."""
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
    """System identifier, timeline, and the database's name and number; None where they are kept."""
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


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
