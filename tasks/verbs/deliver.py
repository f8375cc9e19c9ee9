"""Deliver: POST a webhook's event until it is delivered, refused for good, or out of retries.

Running twice is harmless: receivers tell repeats by `webhook-id`, and each POST that was made is a
try with a number of its own, also one whose worker had lost its lease by the time of the answer.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from models import due
from models.database import Connection
from models.state import DeliveryState
from models.verbs import What
from scheduler.claim import Claimed
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.verbs.verb import Hold, Verb
from webhooks.schedule import LASTS, next_try
from webhooks.send import Message, Outcome, TryResult, send


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverItem:
    """An event that is not delivered yet; target and body are sealed."""

    id: str
    target: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A delivery after a try of it was recorded."""

    tries: int
    #: Whether a replay was requested while the try was in progress.
    replay_wanted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The result of one try."""

    id: str
    result: TryResult
    #: This POST, and no other of the same delivery.
    token: str = field(default_factory=lambda: str(uuid4()))
    #: Where between -1 and 1 the jitter of the next try lies.
    jitter: float = field(default_factory=lambda: random.uniform(-1, 1))

    def wait(self, counted: Counted | None) -> float | None:
        """Seconds until the next try; None when there is none."""
        if counted is not None and counted.replay_wanted:
            return 0.0
        if counted is None or self.result.outcome is not Outcome.RETRY:
            return None
        return next_try(counted.tries, retry_after=self.result.retry_after, jitter=self.jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Verb[DeliverItem, Tried]):
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
            SELECT id, target, body FROM delivery
            WHERE id = ANY(%s) AND state = 'pending'
            """,
            ([row.id for row in claimed],),
        )
        return [DeliverItem(**row) for row in rows]

    async def act(self, item: DeliverItem, hold: Hold) -> Tried:
        del hold
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
        return Tried(id=item.id, result=result)

    def jobs(self, results: Sequence[Tried]) -> tuple[str, ...]:
        del results
        return ()

    async def write(self, connection: Connection, results: Sequence[Tried]) -> None:
        counted = await _record_tries(connection, results)
        waits = {tried.id: tried.wait(counted.get(tried.id)) for tried in results}
        replayed = [id_ for id_, each in counted.items() if each.replay_wanted]
        if replayed:
            await connection.execute(
                "UPDATE delivery SET replay_wanted = false WHERE id = ANY(%s)", (replayed,)
            )
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

    async def write_late(self, connection: Connection, results: Sequence[Tried]) -> None:
        """Record tries of deliveries whose lease another worker holds: the POSTs were made."""
        await _record_tries(connection, results)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Mark deliveries whose schedule is over as exhausted; they can still be replayed."""
        cursor = await connection.execute(
            """
            UPDATE delivery SET state = 'exhausted', finished_at = now(), replay_wanted = false
            FROM (SELECT id FROM delivery WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE) AS ended
            WHERE delivery.id = ended.id AND delivery.state = 'pending'
              AND delivery.created_at <= now() - %s * interval '1 second'
            RETURNING delivery.id
            """,
            (list(ids), LASTS),
        )
        await due.drop(connection, self.what, [row["id"] for row in await cursor.fetchall()])


async def _record_tries(connection: Connection, results: Sequence[Tried]) -> dict[str, Counted]:
    """Number and record each try; one that is recorded already stays as it is.

    Returns the deliveries after that, by id; a deleted delivery is left out.
    """
    # Numbers are assigned under the delivery's lock: a worker whose lease is over comes here
    # without the due row, and so at any time.
    await connection.execute(
        "SELECT id FROM delivery WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        ([tried.id for tried in results],),
    )
    cursor = await connection.execute(
        """
        WITH tried AS (
            SELECT * FROM unnest(%(ids)s::text[], %(statuses)s::int[], %(errors)s::text[],
                                 %(milliseconds)s::int[], %(tokens)s::uuid[])
                 AS tried(id, status, error, milliseconds, token)
        ), recorded AS (
            INSERT INTO delivery_try (delivery, number, status, error, milliseconds, token)
            SELECT delivery.id, delivery.tries + 1, status, error, milliseconds, token
            FROM tried JOIN delivery USING (id)
            ON CONFLICT (token) DO NOTHING
            RETURNING delivery, number
        ), counted AS (
            UPDATE delivery SET tries = recorded.number FROM recorded
            WHERE delivery.id = recorded.delivery
        )
        SELECT delivery.id, coalesce(recorded.number, delivery.tries) AS tries, replay_wanted
        FROM tried JOIN delivery USING (id)
        LEFT JOIN recorded ON recorded.delivery = delivery.id
        """,
        {
            "ids": [tried.id for tried in results],
            "statuses": [tried.result.status for tried in results],
            "errors": [tried.result.error for tried in results],
            "milliseconds": [tried.result.milliseconds for tried in results],
            "tokens": [tried.token for tried in results],
        },
    )
    return {row.pop("id"): Counted(**row) for row in await cursor.fetchall()}


_STATES = {
    Outcome.DELIVERED: DeliveryState.DELIVERED,
    Outcome.GONE: DeliveryState.GONE,
    Outcome.RETRY: DeliveryState.EXHAUSTED,
}
