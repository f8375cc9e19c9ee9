"""Deliver: POST a webhook's event until it is taken, gone, or the schedule has ended.

Running twice is harmless: receivers tell repeats by `webhook-id`, and each try has its own number.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.database import Connection
from models.state import DeliveryState, What
from scheduler.claim import Claimed
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.engine import Engine
from webhooks.schedule import next_try
from webhooks.send import Message, Outcome, TryResult, send


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverItem:
    """An event that its receiver has not taken yet; target and body are sealed."""

    id: str
    tries: int
    target: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one try came to."""

    id: str
    number: int
    result: TryResult

    @property
    def wait(self) -> float | None:
        """Seconds until the next try; None when there is none."""
        if self.result.outcome is not Outcome.RETRY:
            return None
        return next_try(
            self.number, retry_after=self.result.retry_after, jitter=random.uniform(-1, 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.DELIVER
    concurrency: int = 256
    #: What one host may hold, so that a dead one leaves room for the others.
    each: int = 16
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[DeliverItem]:
        rows = await self.engine.database.fetch(
            """
            SELECT id, tries, target, body FROM delivery
            WHERE id = ANY(%s) AND state = 'pending'
            """,
            ([row.id for row in claimed],),
        )
        return [DeliverItem(**row) for row in rows]

    async def act(self, item: DeliverItem, *, lease: str, pace: Pace) -> Tried:
        del lease, pace
        target = self.engine.vault.open_json(item.target)
        message = Message(
            delivery_id=item.id,
            event_id=item.id,
            url=target["url"],
            secret=target["secret"],
            body=self.engine.vault.open(item.body),
        )
        result = await send(message, client=self.engine.guarded, now=int(time.time()))
        crash_point("deliver.posted")
        return Tried(id=item.id, number=item.tries + 1, result=result)

    async def write(self, connection: Connection, results: Sequence[Tried]) -> None:
        waits = {tried.id: tried.wait for tried in results}
        await _record_tries(connection, results)
        again = {id_: wait for id_, wait in waits.items() if wait is not None}
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        ended = [tried for tried in results if waits[tried.id] is None]
        await connection.execute(
            """
            UPDATE delivery SET state = ended.state, finished_at = now()
            FROM unnest(%s::text[], %s::text[]) AS ended(id, state)
            WHERE delivery.id = ended.id AND delivery.state = 'pending'
            """,
            ([tried.id for tried in ended], [_STATES[tried.result.outcome] for tried in ended]),
        )
        await due.drop(connection, self.what, [tried.id for tried in ended])

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """It stays listed as exhausted, and replayable."""
        await connection.execute(
            "UPDATE delivery SET state = 'exhausted', finished_at = now() WHERE id = ANY(%s)",
            (list(ids),),
        )
        await due.drop(connection, self.what, ids)


async def _record_tries(connection: Connection, results: Sequence[Tried]) -> None:
    await connection.execute(
        """
        WITH tried AS (
            SELECT * FROM unnest(%(ids)s::text[], %(numbers)s::int[], %(statuses)s::int[],
                                 %(errors)s::text[], %(milliseconds)s::int[])
                 AS tried(id, number, status, error, milliseconds)
        ), counted AS (
            UPDATE delivery SET tries = tried.number FROM tried WHERE delivery.id = tried.id
        )
        INSERT INTO delivery_try (delivery, number, status, error, milliseconds)
        SELECT id, number, status, error, milliseconds FROM tried
        ON CONFLICT (delivery, number) DO NOTHING
        """,
        {
            "ids": [tried.id for tried in results],
            "numbers": [tried.number for tried in results],
            "statuses": [tried.result.status for tried in results],
            "errors": [tried.result.error for tried in results],
            "milliseconds": [tried.result.milliseconds for tried in results],
        },
    )


_STATES = {
    Outcome.DELIVERED: DeliveryState.DELIVERED,
    Outcome.GONE: DeliveryState.GONE,
    Outcome.RETRY: DeliveryState.EXHAUSTED,
}
