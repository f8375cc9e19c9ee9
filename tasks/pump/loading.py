"""Loads the items of claimed rows, drops finished ones and sets unreadable ones aside."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from models import due
from models.database import Connection, Database, DatabaseAway
from scheduler.claim import Claimed
from tasks.pump.parking import Reason
from tasks.verbs.verb import AnyVerb, Item

log = structlog.get_logger()


async def load(
    database: Database,
    verb: AnyVerb,
    claimed: Sequence[Claimed],
    *,
    lease: str,
    set_aside: Callable[[str, Reason], Awaitable[None]],
) -> dict[str, Item]:
    """The items of claimed rows, by id. Due rows of finished work are dropped.

    An unreadable row is found by bisection and set aside, so that it does not block the others.

    Raises:
        DatabaseAway: the rows are claimed again once their leases expire.
    """
    if not claimed:
        return {}
    try:
        items = {item.id: item for item in await verb.load(claimed)}
    except DatabaseAway:
        raise
    except Exception:  # a newer version's row, or our own bug
        if len(claimed) == 1:
            log.exception("pump.load_failed", what=verb.what, id=claimed[0].id)
            await set_aside(claimed[0].id, Reason.RAISED)
            return {}
        middle = len(claimed) // 2
        items = dict[str, Item]()
        for half in (claimed[:middle], claimed[middle:]):
            items |= await load(database, verb, half, lease=lease, set_aside=set_aside)
        return items
    gone = [row.id for row in claimed if row.id not in items]
    if gone:  # finished, so their due rows are obsolete
        await _drop(database, verb, gone, lease=lease)
    return items


async def _drop(database: Database, verb: AnyVerb, ids: Sequence[str], *, lease: str) -> None:
    async def work(connection: Connection) -> None:
        ours = await due.hold(connection, verb.what, ids, lease=lease)
        await due.drop(connection, verb.what, sorted(ours))

    await database.run(work)
