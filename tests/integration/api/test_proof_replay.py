"""A replay never sends beside a try that is under way, and every POST is a try that is listed."""

import asyncio
from dataclasses import dataclass, field

import pytest

from models.invariants import violations
from models.verbs import What
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.api.conftest import Api
from tests.integration.engine.far_side import FarSide, facing, said
from tests.integration.engine.waiting import until
from transport.base import Request, Response

pytestmark = pytest.mark.anyio
PATH = "/v1/webhooks/deliveries"
URL = "https://203.0.114.1:8443/hooks/video"


@dataclass(slots=True)
class Receiver:
    """A receiver whose first answer waits until the test lets it go."""

    posts: int = 0
    at_once: int = 0
    most_at_once: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 500

    async def reply(self, request: Request) -> Response:
        self.posts += 1
        number, self.at_once = self.posts, self.at_once + 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if number == 1:
            await self.go.wait()
        self.at_once -= 1
        return said(self.status, {})


@dataclass(slots=True)
class Stand:
    """One delivery whose first try is under way."""

    api: Api
    receiver: Receiver
    delivery: str
    first: asyncio.Task[object]

    def pump(self) -> Pump:
        engine = facing(self.api.front.engine, FarSide(self.receiver.reply))
        return Pump(verb_for(What.DELIVER, engine), engine.database, None, seconds=0.1)

    def deliver(self) -> asyncio.Task[object]:
        return asyncio.create_task(self.pump().run())

    async def tries(self) -> tuple[list[int], int]:
        """The numbers of the tries that are listed, and how many the delivery counts."""
        made = await self.api.fetch("SELECT number FROM delivery_try ORDER BY number")
        (row,) = await self.api.fetch("SELECT tries FROM delivery")
        return [each["number"] for each in made], row["tries"]


async def _stand(api: Api) -> Stand:
    job = await api.submit(webhook_url=URL)
    await api.http.post(f"/v1/video/generations/{job['id']}/cancel")
    (row,) = await api.fetch("SELECT id FROM delivery WHERE job = %s", job["id"])
    receiver = Receiver()
    stand = Stand(api, receiver, row["id"], asyncio.create_task(asyncio.sleep(0)))
    pump = stand.pump()
    stand.first = asyncio.create_task(pump.run())
    # From here on it claims nothing: what comes due again is another pump's.
    await until(lambda: receiver.posts == 1 and not pump.is_claiming)
    return stand


@pytest.mark.parametrize("status", [200, 500])
async def test_a_replay_of_what_is_under_way_is_one_more_try_after_it(
    api: Api, status: int
) -> None:
    stand = await _stand(api)
    stand.receiver.status = status
    for _ in range(3):
        answer = await api.http.post(f"{PATH}/{stand.delivery}/replay")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    second = stand.deliver()
    await until(lambda: second.done() or stand.receiver.posts > 1)
    most = stand.receiver.most_at_once
    stand.receiver.go.set()
    await asyncio.gather(stand.first, second)
    await stand.deliver()

    assert most == 1, "a replay was sent beside the try that was under way"
    assert stand.receiver.posts == 2
    assert await stand.tries() == ([1, 2], 2)
    assert await api.front.engine.database.run(violations) == []
    (row,) = await api.fetch("SELECT state FROM delivery")
    assert row["state"] == ("delivered" if status == 200 else "pending")


async def test_a_try_whose_worker_lost_its_lease_is_listed_too(api: Api) -> None:
    stand = await _stand(api)
    # Its worker stood still for so long that another one takes over.
    await api.fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = 'deliver'")
    await stand.deliver()
    assert stand.receiver.posts == 2
    stand.receiver.go.set()
    await stand.first

    assert await stand.tries() == ([1, 2], 2), "a POST was made that no list shows"
    listed = (await api.http.get(PATH)).json()["data"][0]["tries"]
    assert [each["status"] for each in listed] == [500, 500]
    assert await api.front.engine.database.run(violations) == []
