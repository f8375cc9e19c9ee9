"""Removes from the storage what no row names any more, until the storage has confirmed it."""

import asyncio
from collections.abc import Sequence

import structlog

from models.database import fetch_ids
from storage.base import StorageError
from tasks.engine import Engine

log = structlog.get_logger()

#: Objects that are removed together, and of these at a time.
BATCH, AT_A_TIME = 100, 8
#: A row that was put off meanwhile is kept: its object may be put again.
_DONE = "DELETE FROM removal WHERE key = ANY(%s) AND at <= now()"
#: An object that could not be removed is tried again after 10 to 20 minutes.
_AGAIN = """
UPDATE removal SET at = now() + (10 + 10 * random()) * interval '1 minute' WHERE key = ANY(%s)
"""


async def remove_some(engine: Engine) -> tuple[int, bool]:
    """Remove the next objects; returns how many are gone, and whether more may be removed now.

    Twice at a time is harmless: an object that is gone stays gone.
    """
    sql = "SELECT key FROM removal WHERE at <= now() ORDER BY at, key LIMIT %s"
    keys = await engine.database.run_statement(lambda on: fetch_ids(on, sql, (BATCH,)))
    gone = await _removed(engine, keys)
    left = sorted(set(keys) - set(gone))
    if gone:
        await engine.database.fetch(_DONE, (gone,))
    if left:
        await engine.database.fetch(_AGAIN, (left,))
    return len(gone), len(keys) == BATCH and not left


async def _removed(engine: Engine, keys: Sequence[str]) -> list[str]:
    at_a_time = asyncio.Semaphore(AT_A_TIME)

    async def remove(key: str) -> str | None:
        async with at_a_time:
            try:
                await engine.storage.delete(key)
            except StorageError as error:
                log.warning("prune.video_not_deleted", error=str(error))
                return None
        return key

    return [key for key in await asyncio.gather(*map(remove, keys)) if key is not None]
