"""Deliver: POST a webhook's event until it is delivered, refused for good, or out of retries.

Deliveries to a receiver whose breaker is open are put off without a try, until one of them probes
it. One that is put off beyond the time of its schedule is out of retries too.

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
from scheduler import receivers
from scheduler.claim import Claimed
from scheduler.receivers import PROMPT, Heard, Key, Standing
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.measures import note_work
from tasks.verbs.verb import Hold, Verb
from webhooks.schedule import LASTS, next_try
from webhooks.send import Message, Outcome, TryResult, send


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverItem:
    """An event that is not delivered yet; target and body are sealed."""

    id: str
    receiver: Key
    target: bytes
    body: bytes
    #: Seconds for which its receiver must be left alone, if its breaker is open.
    wait: float | None = None
    #: Whether it probes a receiver whose breaker was open.
    is_probe: bool = False
    #: Whether its schedule's time is over.
    is_over: bool = False


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
    receiver: Key
    result: TryResult
    is_probe: bool = False
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

    @property
    def heard(self) -> Heard:
        """What the try showed of its receiver."""
        return Heard(
            failures=int(self.result.is_failure_of_host),
            has_answered=not self.result.is_failure_of_host,
            is_prompt=self.result.milliseconds < 1000 * PROMPT,
            was_probe=self.is_probe and self.result.is_failure_of_host,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """A delivery that was not tried, because its receiver's breaker is open."""

    id: str
    wait: float
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Verb[DeliverItem, Tried | PutOff]):
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
            SELECT id, target, body, created_at <= now() - %s * interval '1 second' AS is_over
            FROM delivery WHERE id = ANY(%s) AND state = 'pending'
            """,
            (LASTS, [row.id for row in claimed]),
        )
        of = {row.id: row for row in claimed}
        keys = {
            row["id"]: Key(tenant=of[row["id"]].tenant, host=of[row["id"]].lane) for row in rows
        }
        waits = await receivers.waits_of(self.engine.database, set(keys.values()))
        items = list[DeliverItem]()
        for row in rows:
            key = keys[row["id"]]
            is_probe = key in waits and waits[key] is None
            wait = waits.get(key)
            if of[row["id"]].standing is Standing.OPEN and key not in waits:
                wait = 0.0  # it was closed meanwhile: claimed without a limit, it is claimed again
            items.append(DeliverItem(receiver=key, wait=wait, is_probe=is_probe, **row))
            if is_probe:  # of other rows for it, if any were claimed, none is sent
                waits[key] = receivers.PROBE_LASTS
        return items

    async def act(self, item: DeliverItem, hold: Hold) -> Tried | PutOff:
        del hold
        began = time.monotonic()
        if item.wait is not None:
            note_work(self.what, "put_off", began=began)
            return PutOff(id=item.id, wait=item.wait, is_over=item.is_over)
        target = self.engine.vault.open_json(item.target)
        message = Message(
            delivery_id=item.id,
            event_id=item.id,
            url=target["url"],
            secret=target["secret"],
            body=self.engine.vault.open(item.body),
        )
        result = await send(message, client=self.engine.guarded, now=int(time.time()))
        note_work(self.what, result.outcome, began=began)
        crash_point("deliver.posted")
        return Tried(id=item.id, receiver=item.receiver, result=result, is_probe=item.is_probe)

    def jobs(self, results: Sequence[Tried | PutOff]) -> tuple[str, ...]:
        del results
        return ()

    async def write(self, connection: Connection, results: Sequence[Tried | PutOff]) -> None:
        tried = [result for result in results if isinstance(result, Tried)]
        put_off = [result for result in results if isinstance(result, PutOff)]
        over = [each.id for each in put_off if each.is_over]
        await _lock(connection, [*(each.id for each in tried), *over])
        if tried:
            await self._write_tried(connection, tried)
        await due.put_back(
            connection,
            self.what,
            [each.id for each in put_off],
            after=[each.wait for each in put_off],
        )
        if over:
            await self.give_up(connection, over)
        heard = dict[Key, Heard]()
        for each in tried:
            known = heard.get(each.receiver)
            heard[each.receiver] = each.heard if known is None else known + each.heard
        await receivers.note(connection, heard)

    async def _write_tried(self, connection: Connection, results: Sequence[Tried]) -> None:
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

    async def write_late(self, connection: Connection, results: Sequence[Tried | PutOff]) -> None:
        """Record tries of deliveries whose lease another worker holds: the POSTs were made."""
        tried = [result for result in results if isinstance(result, Tried)]
        await _lock(connection, [each.id for each in tried])
        await _record_tries(connection, tried)

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


async def _lock(connection: Connection, ids: Sequence[str]) -> None:
    # All that the transaction locks, in one statement. A worker whose lease is over comes here
    # without the due row, and so at any time, to have its try numbered.
    await connection.execute(
        "SELECT id FROM delivery WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (list(ids),)
    )


async def _record_tries(connection: Connection, results: Sequence[Tried]) -> dict[str, Counted]:
    """Number and record each try; one that is recorded already stays as it is.

    The caller has locked the deliveries. Returns them after that, by id; a deleted one is left out.
    """
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
