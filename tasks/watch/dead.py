"""What the tick does about holders that died: their rows become due again, in chunks."""

import time
from typing import Final

import structlog

from models import holders
from models.database import Connection
from tasks.engine import Engine

log = structlog.get_logger()

#: The tick was away if it was silent for this share of a lease.
STEADY: Final = 1 / 3
#: Rows that one statement frees, and seconds that one tick spends on it.
CHUNK, _SPENDS = 1000, 5.0


async def free_the_dead(engine: Engine) -> int:
    """Note that the tick runs, and free what dead holders watched; returns how many rows.

    Their rows come due over a third of a lease. They keep their `tries`, so a pump looks at each
    once, in its small batches, before it is watched again: an operation that kills its process is
    found among few. Raises DatabaseAway; repeatable.
    """
    lease = engine.settings.lease_seconds

    async def look(connection: Connection) -> list[str]:
        await holders.beat_pulse(connection, steady=lease * STEADY)
        return await holders.declare_dead(connection)

    freed, until = 0, time.monotonic() + _SPENDS
    for holder in await engine.database.run(look, first=True):
        freed += await _free(engine, holder, until=until, within=lease * STEADY)
    return freed


async def _free(engine: Engine, holder: str, *, until: float, within: float) -> int:
    freed, last = 0, ""
    while time.monotonic() < until:

        async def work(connection: Connection, last: str = last) -> tuple[int, str | None]:
            return await holders.free_some(
                connection, holder, after=last, most=CHUNK, within=within
            )

        count, reached = await engine.database.run(work)
        freed += count
        if reached is None:  # a holder that still has rows stays, and the next tick goes on
            await engine.database.run(lambda connection: holders.leave(connection, holder))
            log.warning("watch.holder_died", holder=holder, rows=freed)
            break
        last = reached
    return freed


async def free_orphans(engine: Engine) -> int:
    """Free rows whose holder nobody knows; returns how many. Repeatable."""
    ids = await engine.database.run(lambda on: holders.free_orphans(on, most=CHUNK))
    if ids:
        log.error("watch.orphans", rows=len(ids))
    return len(ids)
