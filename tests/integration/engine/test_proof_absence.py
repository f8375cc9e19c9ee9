"""Absence is proven from what was sent, and by two looks: whatever changes meanwhile, paid once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from models.request import VideoRequest
from models.verbs import What
from storage.base import video_key
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said, video
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio

LUMA = {
    "LUMAAI_API_KEY": "luma-for-tests-of-absence",
    "LUMAAI_BASE_URL": "http://127.0.0.1:9/dream-machine/v1",
}
KLING = {"KLING_API_KEY": "kling-for-tests-of-absence", "KLING_BASE_URL": "http://127.0.0.1:9"}
REPLICATE = {
    "REPLICATE_API_TOKEN": "replicate-for-tests",
    "REPLICATE_BASE_URL": "http://127.0.0.1:9",
}
ADDRESS = {"LONGTAKE_PUBLIC_URL": "https://video.example"}
LISTED_AT_ONCE = 100


@dataclass(slots=True)
class Vendor:
    """An account: what is POSTed is made and found there; an answer to a POST may be lost."""

    #: The newest first: what each POST asked for, with its id.
    made: list[dict[str, Any]] = field(default_factory=list)
    #: POSTs that were paid for.
    posts: int = 0
    #: Answers to POSTs that get lost.
    lost: int = 1
    #: Keys that see what was made; None: all of them.
    keys: set[str] | None = None
    #: Called after each page of the listing was read.
    after_page: Callable[[], None] = lambda: None
    #: Look-ups that are answered by a copy which has not caught up.
    lagging: int = 0
    #: A POST waits for this before it is taken.
    go_on: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._post(request)
        if self.lagging:
            self.lagging -= 1
            return self._shown(request, [])
        key = request.headers.get("authorization", "")
        sees = self.keys is None or any(key.endswith(known) for known in self.keys)
        answer = self._shown(request, self.made if sees else [])
        self.after_page()
        return answer

    async def _post(self, request: Request) -> Response:
        self.arrived.set()
        if self.go_on is not None:
            go_on, self.go_on = self.go_on, None
            await go_on.wait()
        self.posts += 1
        made = {"id": f"gen-{self.posts}", "request": json.loads(request.content or b"{}")}
        self.made.insert(0, made)
        if self.lost:
            self.lost -= 1
            raise Unanswered("no answer within 60 s")
        return said(200, {**made, "state": "dreaming", "code": 0, "data": {"id": made["id"]}})

    def _shown(self, request: Request, made: list[dict[str, Any]]) -> Response:
        query = parse_qs(urlsplit(request.url).query)
        if "external_task_ids" in query:
            (name,) = query["external_task_ids"]
            of_it = [
                {"id": one["id"], "external_id": name, "status": "processing"}
                for one in made
                if one["request"]["options"]["external_task_id"] == name
            ]
            return said(200, {"code": 0, "data": of_it})
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        page = [{**one, "state": "dreaming"} for one in made[offset : offset + limit]]
        return said(200, {"generations": page, "has_more": offset + limit < len(made)})


@dataclass(slots=True)
class House:
    """Workers of one deployment, which may be configured differently, and their vendor."""

    make: Callable[..., Engine]
    vendor: Vendor = field(default_factory=Vendor)
    engines: list[Engine] = field(default_factory=list)

    def worker(self, **environment: Any) -> Engine:
        engine = facing(self.make(**environment), FarSide(self.vendor.reply))
        self.engines.append(engine)
        return engine


@pytest.fixture
async def house(make_engine: MakeEngine) -> AsyncIterator[House]:
    house = House(make_engine)
    yield house
    for engine in house.engines:
        await engine.close()


async def submitted(engine: Engine, model: str, **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": model, **fields})
    return (await accept(engine, request, tenant="default")).job_id


async def pump(engine: Engine, what: What) -> None:
    """One short run, as if everything's time had come and every lease had ended."""
    await engine.database.fetch(
        "UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s", (what,)
    )
    lanes = await engine.database.fetch("SELECT DISTINCT lane FROM due WHERE what = %s", (what,))
    for row in lanes:
        await Pump(verb_for(what, engine), engine.database, row["lane"], seconds=0.2).run()


async def time_goes_by(engine: Engine, seconds: float) -> None:
    """All that is known of attempts was so many seconds earlier, in whichever columns it is."""
    columns = await engine.database.fetch(
        "SELECT column_name AS name FROM information_schema.columns "
        "WHERE table_name = 'attempt' AND data_type = 'timestamp with time zone'"
    )
    moves = ", ".join(f"{row['name']} = {row['name']} - %(by)s::interval" for row in columns)
    by = {"by": f"{seconds} seconds"}
    await engine.database.fetch(f"UPDATE attempt SET {moves}", by)  # noqa: S608 - columns' names


async def looked_for(engine: Engine, *, times: int = 4, apart: float = 60.0) -> None:
    """Several look-ups, and what may be sent after each of them."""
    for _ in range(times):
        await pump(engine, What.LOOK_UP)
        await pump(engine, What.SUBMIT)
        await time_goes_by(engine, apart)


async def states(engine: Engine) -> list[tuple[str, str | None]]:
    rows = await engine.database.fetch("SELECT state, operation_id FROM attempt ORDER BY id")
    return [(row["state"], row["operation_id"]) for row in rows]


# -- the settings of whoever looks ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, ADDRESS), (ADDRESS, {})],
    ids=["set", "taken away"],
)
async def test_a_public_address_that_changes_after_the_send_proves_no_absence(
    house: House, before: dict[str, str], after: dict[str, str]
) -> None:
    # Given an attempt whose answer was lost
    old, new = house.worker(**LUMA, **before), house.worker(**LUMA, **after)
    await submitted(old, "luma-dream-machine")
    await pump(old, What.SUBMIT)
    # When it is looked up after the public address was set, or taken away
    await time_goes_by(old, 300)
    await looked_for(new)
    # Then it is not made again, and found where its own address went out
    assert house.vendor.posts == 1
    known = [("accepted", "gen-1")] if before else [("unknown", None)]
    assert await states(new) == known


async def test_a_shorter_time_out_of_whoever_looks_proves_no_absence(house: House) -> None:
    # Given a worker that gives a POST 300 s, and whose vendor takes it after more than 110
    house.vendor.lost, house.vendor.go_on = 0, asyncio.Event()
    go_on = house.vendor.go_on
    patient = house.worker(**LUMA, **ADDRESS, LONGTAKE_SUBMIT_TIMEOUT_SECONDS=300)
    hasty = house.worker(**LUMA, **ADDRESS)
    await submitted(patient, "luma-dream-machine")
    sending = asyncio.create_task(pump(patient, What.SUBMIT))
    await house.vendor.arrived.wait()
    # When its lease is lost, and one that gives a POST 60 s finds the attempt
    await time_goes_by(patient, 110)
    for what in (What.SUBMIT, What.LOOK_UP, What.SUBMIT, What.LOOK_UP, What.SUBMIT):
        await pump(hasty, what)
    go_on.set()
    await sending
    # Then there is one POST, and its answer is kept
    assert house.vendor.posts == 1
    assert await states(patient) == [("accepted", "gen-1")]


@pytest.mark.parametrize(
    "change",
    [{"LUMAAI_API_KEY": "another-account"}, {"LUMAAI_BASE_URL": "http://127.0.0.1:9/elsewhere"}],
    ids=["key", "base address"],
)
async def test_what_another_account_does_not_list_is_not_absent(
    house: House, change: dict[str, str]
) -> None:
    # Given an attempt whose answer was lost, and a worker with another key or address
    house.vendor.keys = {LUMA["LUMAAI_API_KEY"]}
    old, new = house.worker(**LUMA, **ADDRESS), house.worker(**{**LUMA, **ADDRESS, **change})
    await submitted(old, "luma-dream-machine")
    await pump(old, What.SUBMIT)
    await time_goes_by(old, 300)
    # When that worker finds nothing there
    house.vendor.lagging = 99 if "LUMAAI_BASE_URL" in change else 0
    await looked_for(new)
    house.vendor.lagging = 0
    # Then nothing was made again, and the one that has the account still finds it
    assert house.vendor.posts == 1
    await pump(old, What.LOOK_UP)
    assert await states(old) == [("accepted", "gen-1")]


async def test_a_callback_is_waited_for_where_an_address_went_out(house: House) -> None:
    # Given an attempt that went out with a callback address
    house.vendor.lost = 0
    sender, finder = house.worker(**REPLICATE, **ADDRESS), house.worker(**REPLICATE)
    job = await submitted(sender, "kling-2.5-turbo")
    house.vendor.go_on = asyncio.Event()
    go_on = house.vendor.go_on
    sending = asyncio.create_task(pump(sender, What.SUBMIT))
    await house.vendor.arrived.wait()
    # When it is left without an answer, and a worker without a public address finds it
    await time_goes_by(sender, 3600)
    await pump(finder, What.SUBMIT)
    # Then the job waits for the callback
    (row,) = await finder.database.fetch("SELECT state FROM job WHERE id = %s", (job,))
    assert row["state"] == "submitting"
    assert await finder.database.fetch("SELECT 1 FROM due WHERE what = 'look_up'")
    go_on.set()
    await sending


# -- what a look-up is worth ----------------------------------------------------------------------


async def test_a_listing_that_shifts_between_its_pages_proves_no_absence(house: House) -> None:
    # Given ours at the beginning of the second page of a busy account's listing
    vendor = house.vendor
    engine = house.worker(**LUMA, **ADDRESS)
    await submitted(engine, "luma-dream-machine")
    await pump(engine, What.SUBMIT)
    others = [{"id": f"x{n}", "request": {"prompt": "p"}} for n in range(LISTED_AT_ONCE + 40)]
    (ours,) = vendor.made
    vendor.made[:] = [*others[:LISTED_AT_ONCE], ours, *others[LISTED_AT_ONCE:]]

    # When somebody deletes from the first page while it is read, at every look
    def delete() -> None:
        if vendor.made[0] is not ours:
            del vendor.made[0]

    vendor.after_page = delete
    await time_goes_by(engine, 300)
    await looked_for(engine)
    # Then ours is found, and not made again
    assert vendor.posts == 1
    assert await states(engine) == [("accepted", "gen-1")]


async def test_a_page_that_lost_many_at_once_proves_no_absence(house: House) -> None:
    # Given ours on the second page, and a first page that loses 50 after it was read, once
    vendor = house.vendor
    engine = house.worker(**LUMA, **ADDRESS)
    await submitted(engine, "luma-dream-machine")
    await pump(engine, What.SUBMIT)
    others = [{"id": f"x{n}", "request": {"prompt": "p"}} for n in range(LISTED_AT_ONCE + 100)]
    (ours,) = vendor.made
    vendor.made[:] = [*others[:LISTED_AT_ONCE], ours, *others[LISTED_AT_ONCE:]]

    def delete_many() -> None:
        del vendor.made[:50]
        vendor.after_page = lambda: None

    vendor.after_page = delete_many
    await time_goes_by(engine, 300)
    await looked_for(engine)
    assert vendor.posts == 1
    assert await states(engine) == [("accepted", "gen-1")]


@pytest.mark.parametrize(
    ("model", "variables"),
    [("kling-v3", KLING), ("luma-dream-machine", LUMA | ADDRESS)],
    ids=["external id", "listing"],
)
async def test_one_look_that_finds_nothing_proves_no_absence(
    house: House, model: str, variables: dict[str, str]
) -> None:
    # Given an attempt whose answer was lost, at a vendor one of whose copies lags
    engine = house.worker(**variables)
    await submitted(engine, model)
    await pump(engine, What.SUBMIT)
    await time_goes_by(engine, 300)
    house.vendor.lagging = 1
    # When it is looked up
    await looked_for(engine)
    # Then the second look finds it
    assert house.vendor.posts == 1
    assert await states(engine) == [("accepted", "gen-1")]


async def test_a_look_up_looks_where_the_picture_of_an_earlier_job_was_sent(
    house: House, tmp_path: Path
) -> None:
    """The older Kling has a place for what begins with a picture, and another for what does not."""

    async def reply(request: Request) -> Response:
        if request.method == "POST":
            house.vendor.posts += 1
            assert request.url.endswith("/image2video")
            raise Unanswered("no answer within 60 s")
        if "/image2video/" not in request.url:
            return said(404, {"code": 1203, "message": "no such resource"})
        marker = request.url.rpartition("/")[2]
        task = {"task_id": "gen-1", "task_info": {"external_task_id": marker}}
        return said(200, {"code": 0, "data": task})

    # Given an attempt that began with an earlier job's last frame, and whose answer was lost
    engine = facing(house.worker(**KLING), FarSide(reply))
    earlier = await stored_job(engine, tmp_path)
    await submitted(engine, "kling-2.6", image={"job_id": earlier})
    await pump(engine, What.SUBMIT)
    assert house.vendor.posts == 1
    # When it is looked up
    await time_goes_by(engine, 300)
    await looked_for(engine)
    # Then it is found, and not made again
    assert house.vendor.posts == 1
    rows = await engine.database.fetch(
        "SELECT operation_id AS id FROM attempt WHERE job <> %s", (earlier,)
    )
    assert [row["id"] for row in rows] == ["image2video/gen-1"]


async def stored_job(engine: Engine, tmp_path: Path) -> str:
    """A job of tenant default with a real video in storage, of which nothing is due."""
    job = await submitted(engine, "gen4.5")
    (output,) = await engine.database.fetch(
        "SELECT output.id, job.created_at FROM output JOIN job ON job.id = job"
    )
    path = tmp_path / "made.mp4"
    path.write_bytes(video())
    key = video_key(job, output["id"], output["created_at"])
    await engine.storage.put_file(key, path, content_type="video/mp4")
    await engine.database.fetch("UPDATE output SET state = 'stored', key = %s", (key,))
    await engine.database.fetch("DELETE FROM due")
    return job


async def test_a_post_that_may_still_last_is_not_absent(house: House) -> None:
    """It may begin 15 s after `sent`, take 10 s to connect and 60 s to be answered."""
    # Given a worker that was stopped between `sent` and its POST, for as long as it may be
    vendor = house.vendor
    vendor.lost, vendor.go_on = 0, asyncio.Event()
    go_on = vendor.go_on
    engine, other = house.worker(**KLING), house.worker(**KLING)
    await submitted(engine, "kling-v3")
    sending = asyncio.create_task(pump(engine, What.SUBMIT))
    await vendor.arrived.wait()
    # When 82 s later its POST is still under way, and others find the attempt
    await time_goes_by(engine, 82)
    for what in (What.SUBMIT, What.LOOK_UP, What.SUBMIT, What.LOOK_UP, What.SUBMIT):
        await pump(other, what)
    go_on.set()
    await sending
    # Then nobody else has sent it
    assert vendor.posts == 1
    assert await states(engine) == [("accepted", "gen-1")]


async def test_what_was_never_taken_is_made_again_in_the_end(house: House) -> None:
    """The other side: two looks that find nothing do settle it."""
    engine = house.worker(**KLING)
    await submitted(engine, "kling-v3")
    await pump(engine, What.SUBMIT)
    house.vendor.made.clear()
    await time_goes_by(engine, 300)
    await looked_for(engine)
    assert house.vendor.posts == 2
    assert [state for state, _ in await states(engine)] == ["refused", "accepted"]


# -- between `sent` and the POST ------------------------------------------------------------------


@asynccontextmanager
async def after_sent(engine: Engine, then: Callable[[], None]) -> AsyncIterator[None]:
    """`then` happens once, when the first `sent` has just been committed."""
    real, pending = engine.database.transaction, [then]

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Any]:
        async with real() as connection:
            yield connection
            rows = await connection.execute("SELECT 1 FROM attempt WHERE state = 'sent'")
            is_sent = await rows.fetchone() is not None
        if is_sent and pending:
            pending.pop()()

    engine.database.transaction = transaction  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.database.transaction = real  # type: ignore[method-assign]


async def test_a_machine_that_was_suspended_after_sent_does_not_send(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's monotonic clock has stood still meanwhile; the wall clock has not."""
    house.vendor.lost = 0
    engine = house.worker()
    await submitted(engine, "gen4.5")
    # Given a lid that is closed for an hour just after the commit
    right = time.time

    def sleep() -> None:
        monkeypatch.setattr("time.time", lambda: right() + 3600)

    async with after_sent(engine, sleep):
        await pump(engine, What.SUBMIT)
    # Then nothing has left, and the attempt is planned as before
    assert house.vendor.posts == 0
    assert await states(engine) == [("planned", None)]
    # And it is sent in its turn
    await pump(engine, What.SUBMIT)
    assert house.vendor.posts == 1
