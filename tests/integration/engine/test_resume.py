"""Downloads that are cut off: gone on with where that is safe, begun anew where it is not."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from storage import parts
from storage.marks import FOLDER
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.verbs import store
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, video
from tests.integration.engine.waiting import until
from transport.base import BadAnswer, Request, Response

pytestmark = pytest.mark.anyio

Range = tuple[int, str | None]
#: Status, headers and content for a wanted first byte.
Answer = tuple[int, dict[str, str], bytes]


def whole(etag: str | None = '"v1"') -> Answer:
    headers = {"content-length": str(len(video()))}
    return 200, headers | ({"etag": etag} if etag else {}), video()


def rest(first: int, etag: str = '"v1"') -> Answer:
    last = len(video()) - 1
    span = {"content-range": f"bytes {first}-{last}/{len(video())}", "etag": etag}
    return 206, span, video()[first:]


@dataclass(slots=True)
class Body:
    """An answer that breaks off after `most` bytes, or waits there when it is to hang."""

    status: int
    headers: dict[str, str]
    content: bytes
    most: int | None
    hangs: asyncio.Event | None

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.content[: self.most]
        if self.hangs is not None:
            self.hangs.set()
            await asyncio.Event().wait()
        if self.most is not None:
            msg = "the connection was cut off"
            raise BadAnswer(msg)


@dataclass(slots=True)
class Cdn(FarSide):
    """Answers each download as `answers` says for its first byte; the first is cut half-way."""

    answers: Callable[[int], Answer] = lambda first: rest(first) if first else whole()
    asked: list[Range] = field(default_factory=list)
    hangs: asyncio.Event | None = None

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Any]:
        self.requests.append(request)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        first = int(wanted[1]) if wanted else 0
        self.asked.append((first, request.headers.get("if-range")))
        is_first = len(self.asked) == 1
        most = len(video()) // 2 if is_first else None
        yield Body(*self.answers(first), most, self.hangs if is_first else None)


async def best(request: Request) -> Response:
    assert kind_of(request) != "download"
    answer = next(iter(answers_to(request, hash(request.content)).values()))
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
def cdn() -> Cdn:
    return Cdn(best)


@pytest.fixture
async def engine(make_engine: MakeEngine, cdn: Cdn) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), cdn)
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
    await accept(engine, request, tenant="default")
    await pump(engine, What.SUBMIT)
    await pump(engine, What.POLL)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def pump(engine: Engine, what: What, **how: Any) -> None:
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s', lease = NULL")
    await Pump(verb_for(what, engine), engine.database, None, seconds=0.05, **how).run()


async def state(engine: Engine) -> tuple[str, int]:
    (row,) = await engine.database.fetch(
        "SELECT job.state, output.faults FROM job JOIN output ON output.job = job.id"
    )
    return row["state"], row["faults"]


def files(engine: Engine) -> list[Path]:
    """All but the high-water marks."""
    found = engine.settings.data_dir.rglob("*")
    return [path for path in found if path.is_file() and FOLDER not in str(path)]


HALF = len(video()) // 2


async def test_the_rest_is_asked_for_with_proof_that_it_is_the_rest_of_that(
    engine: Engine, cdn: Cdn
) -> None:
    await pump(engine, What.STORE)
    await pump(engine, What.STORE)

    assert cdn.asked == [(0, None), (HALF, '"v1"')]
    assert (await state(engine))[0] == "complete"
    assert [path.read_bytes() for path in files(engine)] == [video()]


async def test_a_download_that_gets_on_is_no_fault_of_the_video(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROGRESS_BYTES", HALF)
    await pump(engine, What.STORE)

    assert await state(engine) == ("storing", 0)
    (row,) = await engine.database.fetch(
        "SELECT tries, at - now() < interval '3 s' AS is_soon FROM due WHERE what = %s",
        (What.STORE,),
    )
    assert row == {"tries": 0, "is_soon": True}


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        (lambda first: whole('"v2"'), [(0, None), (HALF, '"v1"')]),
        (
            lambda first: rest(first, '"v2"') if first else whole('"v2"'),
            [(0, None), (HALF, '"v1"'), (0, None)],
        ),
        (
            lambda first: (416, {}, b"") if first else whole('"v2"'),
            [(0, None), (HALF, '"v1"'), (0, None)],
        ),
        (
            lambda first: rest(first - 1) if first else whole(),
            [(0, None), (HALF, '"v1"'), (0, None)],
        ),
    ],
    ids=["another version", "a rest of another", "no such range", "another range"],
)
async def test_two_versions_are_never_mixed(
    engine: Engine, cdn: Cdn, answers: Callable[[int], Answer], asked: list[Range]
) -> None:
    await pump(engine, What.STORE)
    cdn.answers = answers
    await pump(engine, What.STORE)

    assert cdn.asked == asked
    assert (await state(engine))[0] == "complete"
    assert [path.read_bytes() for path in files(engine)] == [video()]


async def test_without_proof_a_download_begins_anew(engine: Engine, cdn: Cdn) -> None:
    cdn.answers = lambda first: whole(None)
    await pump(engine, What.STORE)
    assert files(engine) == []
    await pump(engine, What.STORE)

    assert cdn.asked == [(0, None), (0, None)]
    assert (await state(engine))[0] == "complete"


async def test_a_part_that_nobody_asked_for_is_trouble_of_the_vendors(
    engine: Engine, cdn: Cdn
) -> None:
    cdn.answers = lambda first: rest(HALF)
    await pump(engine, What.STORE)

    assert await state(engine) == ("storing", 1)
    assert files(engine) == []


async def test_a_worker_that_stops_leaves_the_part_to_the_next(engine: Engine, cdn: Cdn) -> None:
    # Given a download that hangs half-way when its worker is told to stop
    cdn.hangs = asyncio.Event()
    stops = asyncio.Event()
    worker = asyncio.create_task(pump(engine, What.STORE, stop=stops.is_set, patience=0.0))
    await asyncio.wait_for(cdn.hangs.wait(), timeout=20)
    stops.set()
    await asyncio.wait_for(worker, timeout=20)
    # Then the row is due at once, as if it had never been claimed
    (row,) = await engine.database.fetch(
        "SELECT tries, lease, at <= now() AS is_due FROM due WHERE what = %s", (What.STORE,)
    )
    assert row == {"tries": 0, "lease": None, "is_due": True}

    # And whoever takes it goes on with the part
    await pump(engine, What.STORE)
    assert cdn.asked == [(0, None), (HALF, '"v1"')]
    assert (await state(engine))[0] == "complete"
    assert [path.read_bytes() for path in files(engine)] == [video()]


async def test_a_job_that_ends_takes_the_part_with_it(engine: Engine) -> None:
    await pump(engine, What.STORE)
    (row,) = await engine.database.fetch("SELECT id FROM output")
    scratch = engine.settings.data_dir / "incoming"
    assert parts.find(scratch, row["id"]) is not None

    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await pump(engine, What.EXPIRE)
    await pump(engine, What.STORE)

    assert files(engine) == []
    assert await engine.database.fetch("SELECT 1 FROM due") == []


async def test_a_link_that_does_not_answer_is_left_after_a_while(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import download  # noqa: PLC0415 - its bound is changed

    class Silent(Cdn):
        @asynccontextmanager
        async def stream(self, request: Request) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield None

    monkeypatch.setattr(download, "STALLED_AFTER", 0.05)
    await pump(facing(engine, Silent(best)), What.STORE)

    assert await state(engine) == ("storing", 1)


async def test_a_long_download_lets_its_pump_claim_on(engine: Engine, cdn: Cdn) -> None:
    """Beyond its time a pump goes on with its lane, as long as something keeps it anyway."""
    cdn.hangs = asyncio.Event()
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s', lease = NULL")
    stops = asyncio.Event()
    long = Pump(
        verb_for(What.STORE, engine),
        *(engine.database, "runway"),
        seconds=0.1,
        longest=60.0,
        stop=stops.is_set,
        patience=0.0,
    )
    running = asyncio.create_task(long.run())
    await until(lambda: bool(cdn.asked))
    # Given another video of the lane, which comes when the pump's own time is over
    for what in (What.SUBMIT, What.POLL):
        if what is What.SUBMIT:
            request = VideoRequest.from_json({"prompt": "another sea", "model": "gen4.5"})
            await accept(engine, request, tenant="default")
        await engine.database.fetch("UPDATE due SET at = now() WHERE what = %s", (what,))
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()
    # Then it is stored by this one, which alone runs
    await until(lambda: len([path for path in files(engine) if path.suffix == ".mp4"]) == 1)
    assert not running.done()

    stops.set()
    await asyncio.wait_for(running, timeout=20)
    await pump(engine, What.STORE)
    assert len([path for path in files(engine) if path.suffix == ".mp4"]) == 2
