"""What becomes of a job whose finished video cannot be kept: too big, cut off, no room for it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.state import What
from storage.objects import ObjectStorage
from tasks.engine import Engine
from tasks.intake import accept
from tasks.lifecycle import verb_for
from tasks.pump import Pump
from tasks.verbs.store import TRIES
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, video
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

FILM = Response(status=200, headers={}, content=video())
CUT_OFF = Response(
    status=200, headers={"content-length": str(len(video()))}, content=video()[: len(video()) // 3]
)
A_PAGE = Response(status=200, headers={}, content=b"<html>this link has expired</html>")
LIMIT = 2**20
TOO_BIG = Response(status=200, headers={}, content=b"\0" * (LIMIT + 1))
TOO_BIG_SAID = Response(status=200, headers={"content-length": str(LIMIT + 1)}, content=b"")


@dataclass(slots=True)
class Shelf:
    """The vendor: submits and polls go well, and each download is answered with `film`."""

    film: Response = FILM
    downloads: int = 0
    polls: int = 0

    async def reply(self, request: Request) -> Response:
        kind = kind_of(request)
        self.downloads += kind == "download"
        self.polls += kind == "poll"
        if kind == "download":
            return self.film
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


def left_behind(engine: Engine) -> list[Path]:
    """Files of downloads that nobody needs any more, and parts of videos in the store."""
    return [path for path in engine.settings.data_dir.rglob("*") if path.is_file()]


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


async def test_a_download_that_stays_broken_ends_the_job_after_so_many_tries(
    engine: Engine, shelf: Shelf
) -> None:
    shelf.film = CUT_OFF
    job = await finished_upstream(engine)
    for _ in range(TRIES):
        await pump(engine, What.STORE)

    assert await told_of(engine, job) == ("failed", "video_not_stored", TRIES - 1)
    assert await engine.database.fetch("SELECT 1 FROM due") == []
    assert left_behind(engine) == []


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


async def test_a_full_store_costs_time_and_no_video(engine: Engine) -> None:
    """However long it is full: that is our trouble, and counts against no video."""
    no_room = ObjectStorage(engine.settings.videos_url, reserve=2**62)
    full = replace(engine, storage=no_room)
    job = await finished_upstream(full)
    for _ in range(TRIES + 2):
        await pump(full, What.STORE)
    assert await told_of(engine, job) == ("storing", None, 0)
    assert left_behind(engine) == []

    await pump(engine, What.STORE)
    assert (await told_of(engine, job))[:2] == ("complete", None)
