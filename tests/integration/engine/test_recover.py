"""Videos that are brought in after their jobs' end, and those of which nothing stays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.database import Connection
from models.failure import RequestRefused
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from scheduler.claim import Turn
from scheduler.pace import Pace
from scheduler.turns import Claim, claim_in_turns
from storage.base import Unavailable
from storage.objects import ObjectStorage
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.recover import Retried, retry_store
from tasks.upkeep.retention import prune_once
from tasks.verbs.verb import Hold
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said, video
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

BUSY, GONE = said(503, {}), said(404, {"error": "no such thing"})
LEASE = "00000000-0000-4000-8000-000000000001"


@dataclass(slots=True)
class Vendor:
    """Submits go well, polls show success; downloads and polls may be given another answer."""

    film: Response | None = None
    poll: Response | None = None
    numbered: int = 0

    async def reply(self, request: Request) -> Response:
        self.numbered += 1
        best = next(iter(answers_to(request, self.numbered).values()))
        assert isinstance(best, Response)
        scripted = {"download": self.film, "poll": self.poll}.get(kind_of(request))
        return scripted or best


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Vendor) -> AsyncIterator[Engine]:
    engine = facing(make_engine(LONGTAKE_KEEP_JOBS_DAYS=60), FarSide(vendor.reply))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def pump(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s", (what,)
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def made_upstream(engine: Engine, **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5", **fields})
    job = (await accept(engine, request, tenant="default")).job_id
    await pump(engine, What.SUBMIT, What.POLL)
    return job


async def failed(engine: Engine, vendor: Vendor, **fields: Any) -> str:
    """A job that ended because its videos could not be had by its deadline."""
    job = await made_upstream(engine, **fields)
    vendor.film = BUSY
    await pump(engine, What.STORE)
    await expire(engine)
    vendor.film = None
    return job


async def expire(engine: Engine) -> None:
    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await pump(engine, What.EXPIRE)


async def retry(engine: Engine, job: str) -> Retried:
    return await engine.database.run(lambda connection: retry_store(connection, job))


async def outputs(engine: Engine, job: str) -> list[dict[str, Any]]:
    rows = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    view = job_view(rows[0], api_url="https://video.test", vault=engine.vault)
    found: list[dict[str, Any]] = view["outputs"]
    return found


async def events(engine: Engine) -> list[str]:
    rows = await engine.database.fetch("SELECT kind FROM event ORDER BY id")
    return [row["kind"] for row in rows]


def videos(engine: Engine) -> list[Path]:
    return [path for path in engine.settings.data_dir.rglob("*.mp4") if path.is_file()]


async def nothing_due(engine: Engine) -> bool:
    return await engine.database.fetch("SELECT 1 FROM due WHERE what = 'store'") == []


# -- brought in after all -------------------------------------------------------------------------


async def test_one_of_two_videos_is_recovered_and_the_price_stays(
    engine: Engine, vendor: Vendor
) -> None:
    job = await made_upstream(engine, count=2)
    await engine.database.fetch("UPDATE due SET at = now() + interval '1 h' WHERE what = 'store'")
    await engine.database.fetch(
        "UPDATE due SET at = now() - interval '1 s' "
        "WHERE id = (SELECT id FROM output WHERE position = 0)"
    )
    await Pump(verb_for(What.STORE, engine), engine.database, None, seconds=0.05).run()
    await expire(engine)
    (before,) = await engine.database.fetch("SELECT state, cost_micros, finished_at FROM job")
    assert before["state"] == "complete"

    assert await retry(engine, job) == Retried(hurried=(), recovering=(1,))
    assert await engine.database.run(violations) == []
    assert await retry(engine, job) == Retried(hurried=(), recovering=(1,))
    await pump(engine, What.STORE)

    assert await engine.database.fetch("SELECT state, cost_micros, finished_at FROM job") == [
        before
    ]
    first, second = await outputs(engine, job)
    assert (first["status"], second["status"]) == ("stored", "stored")
    assert "recovered_at" not in first
    assert datetime.fromisoformat(second["recovered_at"]) <= datetime.now(UTC)
    assert (await events(engine)).count("output.recovered") == 1
    assert len(videos(engine)) == 2
    assert await nothing_due(engine)


async def test_a_video_whose_link_is_forgotten_is_recovered_by_asking_its_operation(
    engine: Engine, vendor: Vendor
) -> None:
    job = await failed(engine, vendor)
    await pump(engine, What.STORE)  # nothing of it is left
    await engine.database.fetch("UPDATE output SET source = NULL, source_at = NULL")

    await retry(engine, job)
    await pump(engine, What.STORE)

    assert [each["status"] for each in await outputs(engine, job)] == ["stored"]


async def test_a_recovery_ends_when_the_link_is_dead_and_its_life_is_over(
    engine: Engine, vendor: Vendor
) -> None:
    job = await failed(engine, vendor)
    vendor.film = vendor.poll = GONE
    await retry(engine, job)
    await pump(engine, What.STORE)
    assert not await nothing_due(engine)

    await engine.database.fetch("UPDATE output SET source_at = now() - interval '25 h'")
    await pump(engine, What.STORE)
    assert (await events(engine)).count("output.not_recovered") == 1
    assert [each["status"] for each in await outputs(engine, job)] == ["failed"]
    await pump(engine, What.STORE)
    assert await nothing_due(engine)


async def test_a_recovery_ends_after_a_day_whatever_the_vendor_says(
    engine: Engine, vendor: Vendor
) -> None:
    job = await failed(engine, vendor)
    vendor.film = BUSY
    await retry(engine, job)
    await engine.database.fetch("UPDATE output SET recovery_asked_at = now() - interval '25 h'")
    await pump(engine, What.STORE)

    assert (await events(engine)).count("output.not_recovered") == 1


async def test_ready_videos_are_due_at_once_save_one_that_is_worked_on(
    engine: Engine, vendor: Vendor
) -> None:
    job = await made_upstream(engine, count=2)
    vendor.film = BUSY
    await pump(engine, What.STORE)
    await engine.database.fetch("UPDATE due SET at = now() + interval '1 h' WHERE what = 'store'")
    await engine.database.fetch(
        "UPDATE due SET lease = %s::uuid WHERE id = (SELECT min(id) FROM output)", (LEASE,)
    )

    assert await retry(engine, job) == Retried(hurried=(0, 1), recovering=())
    rows = await engine.database.fetch(
        "SELECT at <= now() AS is_due FROM due WHERE what = 'store' ORDER BY id"
    )
    assert [row["is_due"] for row in rows] == [False, True]


async def test_what_cannot_be_recovered_is_refused_in_words(engine: Engine, vendor: Vendor) -> None:
    with pytest.raises(RequestRefused, match="there is no job 'job_none'"):
        await retry(engine, "job_none")

    cancelled = await failed(engine, vendor)
    stored = await made_upstream(engine)
    await pump(engine, What.STORE)
    with pytest.raises(RequestRefused, match=r"can be stored \(0 is stored\)"):
        await retry(engine, stored)

    cancelled = await made_upstream(engine)
    await cancel(engine, cancelled)
    with pytest.raises(RequestRefused, match="was cancelled"):
        await retry(engine, cancelled)


async def cancel(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def test_a_video_asked_for_while_its_traces_are_removed_comes_afterwards(
    engine: Engine, vendor: Vendor
) -> None:
    # Given a worker that is about to remove what may be left of it
    job = await failed(engine, vendor)
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s', lease = NULL")
    verb = verb_for(What.STORE, engine)

    async def take(connection: Connection) -> Any:
        asked = Claim(turn=Turn(), most=9, each=9, lease=LEASE, seconds=30)
        return await claim_in_turns(connection, What.STORE, asked)

    (item,) = await verb.load((await engine.database.run(take)).rows)
    done = await verb.act(item, Hold(LEASE, Pace(1)))
    # When an operator asks for it just then
    await retry(engine, job)
    await engine.database.run(lambda connection: verb.write(connection, [done]))
    # Then the row stays, and brings it
    await pump(engine, What.STORE)
    assert [each["status"] for each in await outputs(engine, job)] == ["stored"]
    assert await nothing_due(engine)


# -- nothing stays --------------------------------------------------------------------------------


async def test_a_cancelled_job_keeps_no_link(engine: Engine) -> None:
    job = await made_upstream(engine)
    await cancel(engine, job)

    assert await engine.database.fetch("SELECT 1 FROM output WHERE source IS NOT NULL") == []


async def test_traces_are_removed_when_the_store_is_back(engine: Engine) -> None:
    @dataclass
    class Away(ObjectStorage):
        async def delete(self, key: str) -> None:
            raise Unavailable(key)

    job = await made_upstream(engine)
    away = replace(engine, storage=Away.__new__(Away))
    await cancel(engine, job)
    await pump(away, What.STORE)
    assert not await nothing_due(engine)

    await pump(engine, What.STORE)
    assert await nothing_due(engine)


async def test_old_links_are_forgotten_and_a_job_stays_while_traces_are_to_be_removed(
    engine: Engine, vendor: Vendor
) -> None:
    await failed(engine, vendor)
    await engine.database.fetch("UPDATE output SET source_at = now() - interval '31 days'")
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '61 days'")
    await prune_once(engine)
    assert await engine.database.fetch("SELECT source FROM output") == [{"source": None}]

    await pump(engine, What.STORE)
    await prune_once(engine)
    assert await engine.database.fetch("SELECT 1 FROM job") == []


async def test_a_recovered_video_is_the_vendors_own(engine: Engine, vendor: Vendor) -> None:
    job = await failed(engine, vendor)
    await retry(engine, job)
    await pump(engine, What.STORE)

    assert [path.read_bytes() for path in videos(engine)] == [video()]
