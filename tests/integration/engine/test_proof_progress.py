"""Whatever happens to a job, in whatever order, the progress that is shown never becomes less."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from models.advance import advance_jobs
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing
from transport.base import Request, Response

T = TypeVar("T")

#: One of them reports progress, the other does not.
ACCOUNTS = ("runway", "luma")
VIDEOS = 3


@dataclass(slots=True)
class Story:
    """One job of three attempts, what happens to it, and what was shown after each event."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    far: Engine = field(init=False)
    job: str = ""
    progress: float = 0.0
    accepted: int = 0
    shown: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.far = facing(self.engine, FarSide(self.reply))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def reply(self, request: Request) -> Response:
        id_ = request.url.rpartition("/")[2]
        if "/tasks/" in request.url:
            body = {"id": id_, "status": "RUNNING", "createdAt": "2026-01-01T00:00:00Z"}
            return _said(body | {"progress": self.progress})
        return _said({"id": id_, "type": "video", "state": "processing", "output": []})

    async def begin(self, accounts: tuple[str, ...]) -> None:
        fetch = self.engine.database.fetch
        for sql in ("DELETE FROM job", "DELETE FROM due", "DELETE FROM duration"):
            await fetch(sql)
        body = {"prompt": "a quiet sea", "model": "gen4.5", "count": VIDEOS}
        request = VideoRequest.from_json(body)
        self.job = (await accept(self.engine, request, tenant="default")).job_id
        await fetch("UPDATE attempt SET state = 'sent', sent_at = now(), payload_hash = 'x'")
        await self.engine.database.run(lambda c: advance_jobs(c, JobState.SUBMITTING, [self.job]))
        for attempt, name in zip(await self._attempts(), accounts, strict=True):
            account = "luma_agents" if name == "luma" else name
            await fetch(
                "UPDATE attempt SET provider = %s, account = %s WHERE id = %s",
                (account, account, attempt),
            )

    async def happens(self, kind: str, value: float) -> None:
        fetch = self.engine.database.fetch
        match kind:
            case "accept" if self.accepted < VIDEOS:
                attempt = (await self._attempts())[self.accepted]
                self.accepted += 1
                operation = Accepted(operation_id=f"op-{self.accepted}")
                await record_accepted(self.far, attempt, operation)
            case "learn":
                await fetch(
                    """
                    INSERT INTO duration (route, p10, p50, p90, samples)
                    SELECT DISTINCT route, %(p)s / 4, %(p)s, %(p)s * 2, 9 FROM attempt
                    ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50
                    """,
                    {"p": max(value, 1.0)},
                )
            case "time":
                back = "SET accepted_at = accepted_at - %s * interval '1 s'"
                await fetch(f"UPDATE job {back}", (value,))
                await fetch(f"UPDATE attempt {back}", (value,))
            case "poll":
                self.progress = min(value / 1000, 1.0)
                await fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = 'poll'")
                poll = verb_for(What.POLL, self.far)
                await Pump(poll, self.far.database, None, seconds=0.03).run()
            case "cancel":
                ids = [self.job]
                await self.far.database.run(lambda c: finish(self.far, c, JobState.CANCELLED, ids))

    async def look(self, event: str) -> None:
        (row,) = await self.engine.database.run(lambda c: read_jobs(c, [self.job]))
        view = job_view(row, api_url="https://video.test", vault=self.engine.vault)
        self.shown.append((event, view["progress_percent"]))

    async def _attempts(self) -> list[str]:
        rows = await self.engine.database.fetch("SELECT id FROM attempt ORDER BY id")
        return [row["id"] for row in rows]


def _said(body: object) -> Response:
    return Response(status=200, headers={}, content=json.dumps(body).encode())


kind = st.sampled_from(["accept", "learn", "time", "poll", "accept", "time"])
event = st.tuples(kind, st.floats(0, 1000))
accounts = st.tuples(*[st.sampled_from(ACCOUNTS)] * VIDEOS)

LEARNED_BETWEEN = [("accept", 0.0), ("time", 20.0), ("learn", 400.0), ("accept", 0.0)]


@pytest.fixture
def story(make_engine: MakeEngine) -> Iterator[Story]:
    loop = asyncio.new_event_loop()
    engine = make_engine()
    yield Story(engine, loop)
    loop.run_until_complete(engine.close())
    loop.close()


def _tell(story: Story, events: list[tuple[str, float]], who: tuple[str, ...]) -> None:
    story.accepted, story.shown = 0, []
    story.run(story.begin(who))
    for kind, value in [*events, ("cancel", 0.0)]:
        story.run(story.happens(kind, value))
        story.run(story.look(kind))
    percents = [percent for _, percent in story.shown]
    assert percents == sorted(percents), f"what was shown became less: {story.shown}"
    assert max(percents) < 100, "complete before its end"


def test_a_duration_that_is_learned_between_two_attempts_takes_no_progress_back(
    story: Story,
) -> None:
    _tell(story, LEARNED_BETWEEN, ("luma",) * VIDEOS)


def test_a_second_attempt_that_reports_takes_no_estimate_back(story: Story) -> None:
    events = [("accept", 0.0), ("time", 60.0), ("accept", 0.0), ("poll", 10.0)]
    _tell(story, events, ("luma", "runway", "runway"))


def test_progress_that_was_shown_never_becomes_less(story: Story) -> None:
    @settings(max_examples=25, deadline=None, report_multiple_bugs=False)
    @given(events=st.lists(event, min_size=2, max_size=9), who=accounts)
    @example(events=LEARNED_BETWEEN, who=("luma",) * VIDEOS)
    def whatever_happens(events: list[tuple[str, float]], who: tuple[str, ...]) -> None:
        _tell(story, events, who)

    whatever_happens()
