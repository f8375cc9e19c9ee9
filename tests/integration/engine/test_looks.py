"""How operations are looked at: many in one request, and by a clock that starts when they run."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from models.request import VideoRequest
from models.verbs import What
from scheduler.looks import Looks
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.polled import PollItem
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

ACCOUNT = "replicate"


@dataclass(slots=True)
class Replicate:
    """Predictions, of which the listing shows the newest hundred, and what was asked of it."""

    status: str = "processing"
    made: int = 0
    has_listing: bool = True
    asked: list[str] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        path = urlsplit(request.url).path
        if request.method == "POST":
            self.made += 1
            return said(201, self.prediction(self.made))
        if not path.endswith("/predictions"):
            self.asked.append("one")
            return said(200, self.prediction(int(path.rpartition("/p")[2])))
        self.asked.append("listing")
        if not self.has_listing:
            return said(404, {"detail": "no such path"})
        newest = range(self.made, max(self.made - 100, 0), -1)
        return said(200, {"next": None, "results": [self.prediction(each) for each in newest]})

    def prediction(self, number: int) -> dict[str, Any]:
        output = "https://videos.example.com/v.mp4" if self.status == "succeeded" else None
        return {"id": f"p{number}", "status": self.status, "output": output}


def said(status: int, body: object) -> Response:
    return Response(status=status, headers={}, content=json.dumps(body).encode())


@pytest.fixture
def vendor() -> Replicate:
    return Replicate()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Replicate) -> AsyncIterator[Engine]:
    engine = facing(
        make_engine(
            REPLICATE_API_TOKEN="r8_token_of_a_test",
            LONGTAKE_POLL_FLOOR_SECONDS=10,
            LONGTAKE_PUBLIC_URL="https://longtake.example.com",
        ),
        FarSide(vendor.reply),
    )
    yield engine
    await engine.close()


async def running(engine: Engine, count: int) -> None:
    for number in range(count):
        body = {"prompt": f"a quiet sea {number}", "model": "replicate/veo-3.1-fast"}
        await accept(engine, VideoRequest.from_json(body), tenant="default")
    for _ in range(20):  # each submits for two seconds at most
        await run(engine, What.SUBMIT)
        if all(row["operation_id"] for row in await attempts(engine)):
            return
    raise AssertionError


async def run(engine: Engine, what: What) -> None:
    sql = "UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s"
    await engine.database.fetch(sql, (what,))
    lane = ACCOUNT if what is What.POLL else None
    await Pump(verb_for(what, engine), engine.database, lane, seconds=2.0).run()


async def attempts(engine: Engine) -> list[dict[str, Any]]:
    return await engine.database.fetch("SELECT * FROM attempt ORDER BY id")


async def test_a_hundred_operations_are_looked_at_with_a_few_listings(
    engine: Engine, vendor: Replicate
) -> None:
    await running(engine, 100)

    await run(engine, What.POLL)

    # As many as a pump works on at a time share a listing
    assert set(vendor.asked) == {"listing"}
    assert len(vendor.asked) <= 4
    assert {row["polls"] for row in await attempts(engine)} == {1}


async def test_they_are_due_together_again(engine: Engine, vendor: Replicate) -> None:
    await running(engine, 30)
    await run(engine, What.POLL)

    found = await engine.database.fetch(
        "SELECT extract(epoch FROM at)::float8 AS at FROM due WHERE what = 'poll'"
    )

    # At a multiple of the account's minimum interval, but for the time of the write-back
    floor = engine.poll_floor(ACCOUNT)
    assert len(found) == 30
    assert {row["at"] % floor < floor / 2 for row in found} == {True}
    assert len({row["at"] // floor for row in found}) < 4


async def test_what_the_listing_does_not_show_is_polled_alone(
    engine: Engine, vendor: Replicate
) -> None:
    await running(engine, 20)
    vendor.made += 90  # somebody else's, of the same account

    await run(engine, What.POLL)

    assert vendor.asked.count("one") == 10
    assert vendor.asked.count("listing") == 1
    rows = await attempts(engine)
    assert {(row["polls"], row["poll_faults"], row["denied_since"]) for row in rows} == {
        (1, 0, None)
    }


async def test_without_a_listing_each_is_polled_alone(engine: Engine, vendor: Replicate) -> None:
    vendor.has_listing = False
    await running(engine, 20)

    for _ in range(2):
        await run(engine, What.POLL)

    assert vendor.asked.count("one") == 40
    assert vendor.asked.count("listing") == 1


async def test_the_clock_of_a_queued_operation_starts_when_it_runs(
    engine: Engine, vendor: Replicate
) -> None:
    vendor.status = "starting"
    await running(engine, 1)
    await run(engine, What.POLL)
    (queued,) = await attempts(engine)
    assert queued["running_at"] is None

    vendor.status = "processing"
    await run(engine, What.POLL)
    (runs,) = await attempts(engine)
    assert queued["seen_at"] < runs["running_at"] < runs["seen_at"]

    await run(engine, What.POLL)
    (later,) = await attempts(engine)
    assert later["running_at"] == runs["running_at"]


async def test_one_that_was_never_seen_queued_has_run_since_its_acceptance(
    engine: Engine, vendor: Replicate
) -> None:
    await running(engine, 1)

    await run(engine, What.POLL)

    (runs,) = await attempts(engine)
    assert (
        abs(runs["running_at"] - runs["accepted_at"]) < (runs["seen_at"] - runs["accepted_at"]) / 2
    )


def test_who_keeps_an_operation_knows_since_when_it_runs() -> None:
    item = PollItem(
        id="att_1",
        job="job_1",
        tenant="default",
        account=ACCOUNT,
        operation_id="p1",
        route="replicate/m/5s",
        elapsed=10.0,
        typical=60.0,
        poll_faults=0,
        denied_for=None,
        estimate=1,
        is_wanted=True,
        shows_reports=False,
        time_left=3600.0,
        last_fault=None,
        read_at=1000.0,
    )
    assert item.run_for(1005.0) is None  # it was never seen in a queue

    item.note(running_for=None, now=1010.0)  # queued
    assert item.run_for(1030.0) == 10.0

    item.note(running_for=10.0, now=1030.0)
    item.note(running_for=None, now=1040.0)  # a vendor that takes its word back
    assert item.run_for(1050.0) == 30.0


async def test_ends_that_callbacks_told_of_are_noted(engine: Engine, vendor: Replicate) -> None:
    await running(engine, 2)
    await run(engine, What.POLL)
    first, second = await attempts(engine)
    body = json.dumps({"id": first["operation_id"]}).encode()

    await hear(engine, "replicate", first["marker"], headers={}, body=body)
    called, silent = await attempts(engine)
    assert called["called_at"] > called["seen_at"]
    assert (silent["id"], silent["called_at"]) == (second["id"], None)

    with patch.object(Looks, "ended") as noted:
        vendor.status = "succeeded"
        await run(engine, What.POLL)
    assert sorted(call.kwargs["told"] for call in noted.call_args_list) == [False, True]
