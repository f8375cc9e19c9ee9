"""A receiver that fails is left alone, probed by one delivery, and closed to no other tenant."""

import asyncio
from datetime import UTC, datetime

import pytest

from models.verbs import What
from scheduler.receivers import OPENS_AFTER, Key, waits_of
from tasks import deliveries
from tasks.announce import Event, announce, rendered
from tasks.engine import Engine
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from transport.base import Request, Response, Unanswered
from webhooks.events import EventType
from webhooks.schedule import LASTS

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1:8443"


class Receiver:
    """A host that does not answer until it is told to."""

    def __init__(self) -> None:
        self.is_up = False
        self.posts = 0

    async def reply(self, request: Request) -> Response:
        del request
        self.posts += 1
        if self.is_up:
            return said(204, {})
        msg = "no response within 15 s"
        raise Unanswered(msg)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def engine(make_engine: MakeEngine, receiver: Receiver) -> Engine:
    engine = facing(make_engine(), FarSide(receiver.reply))
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('other')")
    return engine


async def send(engine: Engine, count: int, *, tenant: str = "default") -> list[str]:
    event = Event(
        type=EventType.VIDEO_COMPLETED,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        data={"id": "batch_1"},
        tenant=tenant,
        target=engine.vault.seal_json({"url": f"https://{HOST}/hook", "secret": None}),
    )
    made = [rendered(event, engine.vault) for _ in range(count)]
    await engine.database.run(lambda connection: announce(connection, made))
    return [each.id for each in made]


async def pump(engine: Engine) -> None:
    """Claim everything that is due, once or more."""
    await Pump(verb_for(What.DELIVER, engine), engine.database, None, seconds=0.0).run()


async def fail(engine: Engine) -> None:
    """Fail until the breaker is open."""
    await send(engine, OPENS_AFTER)
    for _ in range(OPENS_AFTER):
        await pump(engine)


async def opened(engine: Engine) -> dict[str, float]:
    """Seconds until open breakers let a probe through, by tenant."""
    rows = await engine.database.fetch(
        """
        SELECT tenant, extract(epoch FROM open_until - now())::float8 AS wait FROM receiver
        WHERE open_until IS NOT NULL
        """
    )
    return {row["tenant"]: row["wait"] for row in rows}


async def let_probe(engine: Engine) -> None:
    await engine.database.fetch("UPDATE receiver SET open_until = now() - interval '1 s'")
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s'")


async def test_deliveries_to_a_receiver_that_fails_are_put_off_without_a_try(
    engine: Engine, receiver: Receiver
) -> None:
    await fail(engine)
    assert receiver.posts == OPENS_AFTER
    later = await send(engine, 40)

    await pump(engine)

    rows = await engine.database.fetch(
        """
        SELECT delivery.tries, due.lease, due.at > now() AS is_later
        FROM delivery JOIN due USING (id)
        WHERE id = ANY(%s)
        """,
        (later,),
    )
    assert receiver.posts == OPENS_AFTER
    assert [(row["tries"], row["lease"], row["is_later"]) for row in rows] == [(0, None, True)] * 40


async def test_one_delivery_probes_and_its_answer_opens_the_way(
    engine: Engine, receiver: Receiver
) -> None:
    await fail(engine)
    await send(engine, 10)
    await let_probe(engine)
    before = receiver.posts

    await pump(engine)  # the probe fails: open for longer, and one POST only
    assert receiver.posts == before + 1
    assert (await opened(engine))["default"] > 15

    receiver.is_up = True
    await let_probe(engine)
    await pump(engine)
    assert receiver.posts == before + 2
    assert await opened(engine) == {}
    for _ in range(3):
        await engine.database.fetch("UPDATE due SET at = now() - interval '1 s'")
        await pump(engine)
    assert await engine.database.fetch("SELECT id FROM delivery WHERE state = 'pending'") == []


async def test_of_two_processes_one_probes(engine: Engine) -> None:
    await fail(engine)
    await engine.database.fetch("UPDATE receiver SET open_until = now() - interval '1 s'")
    key = Key(tenant="default", host=HOST)

    answers = await asyncio.gather(*(waits_of(engine.database, {key}) for _ in range(4)))

    waits = [answer[key] for answer in answers]
    assert waits.count(None) == 1
    assert all(wait > 30 for wait in waits if wait is not None)


async def test_another_tenants_webhooks_to_the_same_host_are_sent(
    engine: Engine, receiver: Receiver
) -> None:
    await fail(engine)
    receiver.is_up = True
    (other,) = await send(engine, 1, tenant="other")

    await pump(engine)

    (row,) = await engine.database.fetch("SELECT state FROM delivery WHERE id = %s", (other,))
    assert row["state"] == "delivered"
    assert [*await opened(engine)] == ["default"]


async def test_a_replay_is_sent_whatever_the_breaker_says(
    engine: Engine, receiver: Receiver
) -> None:
    await fail(engine)
    (late,) = await send(engine, 1)
    await pump(engine)
    receiver.is_up = True

    await deliveries.replay(engine, late, tenant="default")
    await pump(engine)

    (row,) = await engine.database.fetch("SELECT state FROM delivery WHERE id = %s", (late,))
    assert row["state"] == "delivered"


async def test_a_delivery_is_not_put_off_beyond_the_time_of_its_schedule(
    engine: Engine, receiver: Receiver
) -> None:
    await fail(engine)
    old, young = await send(engine, 2)
    await engine.database.fetch(
        "UPDATE delivery SET created_at = now() - %s * interval '1 s' WHERE id = %s",
        (LASTS + 60, old),
    )

    await pump(engine)

    rows = await engine.database.fetch("SELECT id, state FROM delivery WHERE tries = 0")
    assert {row["id"]: row["state"] for row in rows} == {old: "exhausted", young: "pending"}
    assert receiver.posts == OPENS_AFTER
