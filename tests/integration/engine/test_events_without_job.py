"""A webhook event of no job is delivered, replayed, checked and pruned like any other."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from models.failure import RequestRefused
from models.invariants import violations
from models.verbs import What
from tasks import deliveries
from tasks.announce import Event, announce, rendered
from tasks.engine import Engine
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from transport.base import Request, Response
from webhooks.events import EventType

pytestmark = pytest.mark.anyio
#: No event of ours belongs to neither a job nor a batch yet, so one of a job's is borrowed.
BODY = b'{"type":"video.completed","timestamp":"2026-01-01T00:00:00Z","data":{"id":"account_1"}}'


class Receiver:
    """A receiver that answers 503 first and 204 afterwards."""

    def __init__(self) -> None:
        self.bodies: list[bytes | None] = []

    async def reply(self, request: Request) -> Response:
        self.bodies.append(request.content)
        return said(503 if len(self.bodies) == 1 else 204, {})


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def engine(make_engine: MakeEngine, receiver: Receiver) -> Engine:
    engine = facing(make_engine(LONGTAKE_KEEP_JOBS_DAYS=60), FarSide(receiver.reply))
    event = Event(
        type=EventType.VIDEO_COMPLETED,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        data={"id": "account_1"},
        tenant="default",
        target=engine.vault.seal_json({"url": "https://127.0.0.1:8443/hook", "secret": None}),
    )
    delivery = replace(rendered(event, engine.vault), type="account.told")
    await engine.database.run(lambda connection: announce(connection, [delivery]))
    return engine


async def pump(engine: Engine) -> None:
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s'")
    await Pump(verb_for(What.DELIVER, engine), engine.database, None, seconds=0.05).run()


async def listed(engine: Engine) -> tuple[str, list[int | None]]:
    """The state and the statuses of the one delivery that is listed; it belongs to no job."""
    (found,) = await deliveries.list_newest(engine, tenant="default", limit=9)
    assert (found.type, found.job) == ("account.told", None)
    return found.state, [made.status for made in found.tries]


async def test_it_is_delivered_and_delivered_again_when_it_is_replayed(
    engine: Engine, receiver: Receiver
) -> None:
    assert await listed(engine) == ("pending", [])
    await pump(engine)
    assert await listed(engine) == ("pending", [503])
    await pump(engine)
    assert await listed(engine) == ("delivered", [503, 204])

    (listed_now,) = await deliveries.list_newest(engine, tenant="default", limit=9)
    replayed, hints = await deliveries.replay(engine, listed_now.id, tenant="default")
    assert (replayed.state, replayed.job, hints) == ("pending", None, ((What.DELIVER, None),))
    await pump(engine)

    assert await listed(engine) == ("delivered", [503, 204, 204])
    assert receiver.bodies == [BODY] * 3
    assert await engine.database.run(violations) == []


async def test_it_is_a_tenants_own(engine: Engine) -> None:
    (ours,) = await deliveries.list_newest(engine, tenant="default", limit=9)
    assert await deliveries.list_newest(engine, tenant="another", limit=9) == []
    assert await deliveries.list_newest(engine, tenant="default", limit=9, job_id="job_1") == []
    with pytest.raises(RequestRefused, match="not found"):
        await deliveries.replay(engine, ours.id, tenant="another")


async def test_the_doctor_finds_a_video_event_that_belongs_to_no_job(engine: Engine) -> None:
    assert await engine.database.run(violations) == []
    await engine.database.fetch("UPDATE delivery SET type = 'video.completed'")
    assert [each.kind for each in await engine.database.run(violations)] == ["delivery_untrue"]


async def test_it_is_deleted_when_a_job_of_its_age_would_be(engine: Engine) -> None:
    await engine.database.fetch("UPDATE delivery SET created_at = now() - interval '61 days'")
    assert (await prune_once(engine)).deliveries == 0  # it is still pending
    for _ in range(2):
        await pump(engine)
    assert (await prune_once(engine)).deliveries == 0  # it was delivered today

    await engine.database.fetch("UPDATE delivery SET finished_at = now() - interval '61 days'")
    assert (await prune_once(engine)).deliveries == 1
    assert await engine.database.fetch("SELECT 1 FROM delivery_try") == []
