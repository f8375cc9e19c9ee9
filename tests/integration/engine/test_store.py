"""What becomes of a job whose finished video cannot be kept: too big, cut off, no room for it."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from storage.inspectors import Inspectors
from storage.marks import FOLDER
from storage.objects import ObjectStorage
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, video
from transport.base import Request, Response, Unresolved

pytestmark = pytest.mark.anyio

FILM = Response(status=200, headers={}, content=video())
CUT_OFF = Response(
    status=200, headers={"content-length": str(len(video()))}, content=video()[: len(video()) // 3]
)
GONE = Response(status=404, headers={}, content=b"{}")
A_PAGE = Response(status=200, headers={}, content=b"<html>this link has expired</html>")
LIMIT = 2**20
TOO_BIG = Response(status=200, headers={}, content=b"\0" * (LIMIT + 1))
TOO_BIG_SAID = Response(status=200, headers={"content-length": str(LIMIT + 1)}, content=b"")


@dataclass(slots=True)
class Shelf:
    """The vendor: submits and polls go well, and each download is answered with `film`."""

    film: Response = FILM
    #: What a poll is answered with instead of the vendor's own word.
    poll: Response | None = None
    #: Whether no name server knows the video's host.
    unresolved: bool = False
    downloads: int = 0
    polls: int = 0

    async def reply(self, request: Request) -> Response:
        kind = kind_of(request)
        self.downloads += kind == "download"
        self.polls += kind == "poll"
        if kind == "download":
            if self.unresolved:
                msg = "cdn.test: its name server did not answer"
                raise Unresolved(msg)
            return self.film
        if kind == "poll" and self.poll is not None:
            return self.poll
        answer = next(iter(answers_to(request, 1).values()))
        assert isinstance(answer, Response)
        return answer


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def engine(make_engine: MakeEngine, shelf: Shelf) -> AsyncIterator[Engine]:
    engine = facing(make_engine(LONGTAKE_MAX_VIDEO_BYTES=LIMIT), FarSide(shelf.reply))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def finished_upstream(engine: Engine) -> str:
    """A job whose video the vendor has and we don't."""
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
    job = (await accept(engine, request, tenant="default")).job_id
    await pump(engine, What.SUBMIT)
    await pump(engine, What.POLL)
    return job


async def pump(engine: Engine, what: What) -> None:
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s', lease = NULL")
    await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def told_of(engine: Engine, job: str) -> tuple[str, str | None, int]:
    """The job's state, its error's code, and its video's failed downloads."""
    (row,) = await engine.database.fetch(
        """
        SELECT job.state, job.error ->> 'code' AS code, output.faults
        FROM job JOIN output ON output.job = job.id WHERE job.id = %s
        """,
        (job,),
    )
    return row["state"], row["code"], row["faults"]


async def links(engine: Engine, job: str) -> int:
    """How many of the job's videos have a link that we still know."""
    rows = await engine.database.fetch(
        "SELECT 1 FROM output WHERE job = %s AND source IS NOT NULL", (job,)
    )
    return len(rows)


def left_behind(engine: Engine) -> list[Path]:
    """Files of downloads that are over, and parts of videos in the store; no high-water marks."""
    found = engine.settings.data_dir.rglob("*")
    return [path for path in found if path.is_file() and FOLDER not in str(path)]


@pytest.mark.parametrize("film", [CUT_OFF, A_PAGE], ids=["cut off", "no video"])
async def test_a_broken_download_is_tried_again_and_the_job_completes_when_it_is_whole(
    engine: Engine, shelf: Shelf, film: Response
) -> None:
    shelf.film = film
    job = await finished_upstream(engine)
    polled = shelf.polls
    await pump(engine, What.STORE)
    assert await told_of(engine, job) == ("storing", None, 1)
    # By its first link, and by a fresh one, since an expired link may answer with a page.
    assert (shelf.downloads, shelf.polls - polled) == (2, 1)
    assert left_behind(engine) == []

    shelf.film = FILM
    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)
    (kept,) = left_behind(engine)
    assert kept.read_bytes() == video()


async def test_a_name_that_nobody_resolves_counts_nothing_against_a_link(
    engine: Engine, shelf: Shelf
) -> None:
    shelf.unresolved = True
    job = await finished_upstream(engine)
    for _ in range(3):
        await pump(engine, What.STORE)
    assert await told_of(engine, job) == ("storing", None, 0)

    shelf.unresolved = False
    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)


async def test_a_download_that_stays_broken_is_tried_until_the_deadline_and_its_link_is_kept(
    engine: Engine, shelf: Shelf
) -> None:
    shelf.film = CUT_OFF
    job = await finished_upstream(engine)
    for _ in range(12):
        await pump(engine, What.STORE)
    assert await told_of(engine, job) == ("storing", None, 12)

    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await pump(engine, What.EXPIRE)
    assert (await told_of(engine, job))[:2] == ("failed", "deadline_exceeded")
    assert await links(engine, job) == 1

    # The row that is left sees to it that nothing of the video is.
    await pump(engine, What.STORE)
    assert await engine.database.fetch("SELECT 1 FROM due") == []
    assert left_behind(engine) == []


async def test_a_link_that_is_dead_is_given_up_when_its_life_is_over_and_there_is_no_other(
    engine: Engine, shelf: Shelf
) -> None:
    job = await finished_upstream(engine)
    shelf.film, shelf.poll = GONE, GONE
    for _ in range(12):
        await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("storing", None)

    await engine.database.fetch("UPDATE output SET source_at = now() - interval '25 h'")
    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("failed", "result_unavailable")
    await pump(engine, What.STORE)
    assert await engine.database.fetch("SELECT 1 FROM due") == []


async def test_a_fresh_link_begins_a_new_life(engine: Engine, shelf: Shelf) -> None:
    shelf.film = GONE
    job = await finished_upstream(engine)
    await engine.database.fetch("UPDATE output SET source_at = now() - interval '25 h'")
    await pump(engine, What.STORE)

    (row,) = await engine.database.fetch(
        "SELECT state, now() - source_at < interval '1 min' AS is_new FROM output"
    )
    assert (row["state"], row["is_new"]) == ("ready", True)
    shelf.film = FILM
    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)


@pytest.mark.parametrize("film", [TOO_BIG, TOO_BIG_SAID], ids=["came", "announced"])
async def test_a_video_above_the_limit_fails_at_once(
    engine: Engine, shelf: Shelf, film: Response
) -> None:
    shelf.film = film
    job = await finished_upstream(engine)
    await pump(engine, What.STORE)

    assert await told_of(engine, job) == ("failed", "video_too_big", 0)
    assert shelf.downloads == 1
    assert left_behind(engine) == []


DIES = """
import os, signal
from storage import inspector

def probe(path):
    os.kill(os.getpid(), signal.{name})

inspector.main({{"probe": probe}})
"""


def with_inspectors_that_die(engine: Engine, name: str) -> Engine:
    program = (sys.executable, "-P", "-s", "-c", DIES.format(name=name))
    return replace(engine, inspectors=Inspectors(most=1, program=program))


async def test_a_video_that_crashes_two_inspectors_fails_and_keeps_its_link(
    engine: Engine, shelf: Shelf
) -> None:
    crashing = with_inspectors_that_die(engine, "SIGSEGV")
    job = await finished_upstream(crashing)
    await pump(crashing, What.STORE)
    crashing.inspectors.close()

    assert await told_of(engine, job) == ("failed", "video_unreadable", 0)
    assert (shelf.downloads, await links(engine, job)) == (1, 1)
    assert left_behind(engine) == []


async def test_inspectors_that_are_killed_cost_time_and_no_video(engine: Engine) -> None:
    killed = with_inspectors_that_die(engine, "SIGKILL")
    job = await finished_upstream(killed)
    for _ in range(3):
        await pump(killed, What.STORE)
    killed.inspectors.close()
    assert await told_of(engine, job) == ("storing", None, 0)

    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)


async def test_a_full_store_costs_time_and_no_video(engine: Engine) -> None:
    """However long it is full: that is our trouble, and counts against no video."""
    no_room = ObjectStorage(engine.settings.videos_url, reserve=2**62)
    full = replace(engine, storage=no_room)
    job = await finished_upstream(full)
    for _ in range(10):
        await pump(full, What.STORE)
    assert await told_of(engine, job) == ("storing", None, 0)
    assert left_behind(engine) == []

    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)
