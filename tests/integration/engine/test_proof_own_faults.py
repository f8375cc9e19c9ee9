"""Our own faults fail no paid work, and one bad row holds up nobody else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from models.database import Connection
from models.request import VideoRequest
from models.state import JobState
from models.vault import VaultError
from models.verbs import What
from scheduler.claim import lanes_due
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.reconcile import doubtful
from tasks.verbs.verb import AnyVerb as Verb
from tasks.verbs.verb import Hold
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

#: So often a worker dies, or a row fails, before it was poison.
OFTEN = 11
OLD_KEY = "an-old-key-that-was-taken-away-0123456789"
LANES = {What.DELIVER: None, What.EXPIRE: "-"}
HOOK = {"webhook_url": "http://127.0.0.1/hook"}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracebacks are not printed: with the values of all variables that takes seconds each."""
    with capture_logs():
        yield


class Died(BaseException):
    """The worker is gone, and hands nothing back."""


@dataclass(frozen=True, slots=True)
class Dying:
    """A verb whose worker dies as soon as it has claimed something."""

    verb: Verb

    def __getattr__(self, name: str) -> Any:
        return getattr(self.verb, name)

    async def load(self, claimed: Sequence[Any]) -> Sequence[Any]:
        raise Died


async def vendor(request: Request) -> Response:
    """Takes and makes whatever it is asked for."""
    answer = next(iter(answers_to(request, uuid4().int % 10**12).values()))
    assert isinstance(answer, Response)
    return answer


async def accepted(engine: Engine, **fields: Any) -> str:
    body = {"prompt": "a quiet sea", "model": "gen4.5", **fields}
    return (await accept(engine, VideoRequest.from_json(body), tenant="default")).job_id


async def pump(
    engine: Engine,
    what: What,
    *,
    seconds: float = 5.0,
    wrapped: Callable[[Verb], Any] = lambda verb: verb,
    only: Sequence[str] | None = None,
) -> bool:
    """One run, as if everything's time had come, or that of some alone; whether it lived."""
    await engine.database.fetch(
        """
        UPDATE due SET at = now() + CASE WHEN %(only)s::text[] IS NULL OR id = ANY(%(only)s)
                                         THEN interval '-1 s' ELSE interval '1 h' END
        WHERE what = %(what)s
        """,
        {"what": what, "only": list(only) if only is not None else None},
    )
    verb = wrapped(verb_for(what, engine))
    try:
        await Pump(verb, engine.database, LANES.get(what, "runway"), seconds=seconds).run()
    except BaseExceptionGroup:
        return False
    return True


async def count(engine: Engine, sql: str, *parameters: Any) -> dict[str, int]:
    """How many rows there are of each `name` that the statement selects."""
    rows = await engine.database.fetch(
        f"SELECT name, count(*)::int AS n FROM ({sql}) AS each GROUP BY name",  # noqa: S608
        parameters,
    )
    return {row["name"]: row["n"] for row in rows}


STATES = "SELECT state AS name FROM job"


# -- workers that die -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", [What.SUBMIT, What.POLL, What.STORE, What.DELIVER])
async def test_workers_that_die_after_each_claim_fail_nothing(
    make_engine: MakeEngine, what: What
) -> None:
    # Given jobs that have come as far as this kind of work
    engine = facing(make_engine(), FarSide(vendor))
    for _ in range(8):
        await accepted(engine, **HOOK)
    kinds = [What.SUBMIT, What.POLL, What.STORE, What.DELIVER]
    for before in kinds[: kinds.index(what)]:
        assert await pump(engine, before)

    # When each worker dies as soon as it has claimed, for a while, and then they live
    for _ in range(OFTEN):
        await pump(engine, what, wrapped=Dying)
    for after in kinds[kinds.index(what) :]:
        for _ in range(2):
            await pump(engine, after)

    # Then everything was done, once
    assert await count(engine, STATES) == {"complete": 8}
    assert await count(engine, "SELECT state AS name FROM delivery") == {"delivered": 8}
    await engine.close()


@pytest.mark.parametrize("what", [What.POLL, What.STORE])
async def test_a_row_that_has_killed_many_workers_is_tried_again_until_its_deadline(
    make_engine: MakeEngine, what: What
) -> None:
    engine = facing(make_engine(), FarSide(vendor))
    await accepted(engine)
    await pump(engine, What.SUBMIT)
    if what is What.STORE:
        await pump(engine, What.POLL)
    for _ in range(3):
        await engine.database.fetch("UPDATE due SET tries = 10 WHERE what = %s", (what,))
        await pump(engine, what)
    assert set(await count(engine, STATES)) <= {"processing", "storing"}

    await pump(engine, what)
    await pump(engine, What.POLL)
    await pump(engine, What.STORE)
    assert await count(engine, STATES) == {"complete": 1}
    await engine.close()


async def test_a_parked_delivery_is_still_delivered(make_engine: MakeEngine) -> None:
    engine = facing(make_engine(), FarSide(vendor))
    await accepted(engine, **HOOK)
    for what in (What.SUBMIT, What.POLL, What.STORE):
        await pump(engine, what)
    await engine.database.fetch("UPDATE due SET tries = 10 WHERE what = 'deliver'")
    for _ in range(2):
        await pump(engine, What.DELIVER)
    assert await count(engine, "SELECT state AS name FROM delivery") == {"delivered": 1}
    await engine.close()


async def test_work_that_raises_is_handed_back_at_once_and_not_when_its_lease_ends(
    make_engine: MakeEngine,
) -> None:
    engine = facing(make_engine(), FarSide(vendor))
    await accepted(engine)

    @dataclass(frozen=True, slots=True)
    class Raising(Dying):
        async def load(self, claimed: Sequence[Any]) -> Sequence[Any]:
            return await self.verb.load(claimed)

        async def act(self, item: Any, hold: Hold) -> Any:
            raise ZeroDivisionError

    await pump(engine, What.SUBMIT, wrapped=Raising)

    (row,) = await engine.database.fetch(
        "SELECT lease IS NULL AS is_free, tries FROM due WHERE what = 'submit'"
    )
    assert row == {"is_free": True, "tries": 0}
    await engine.close()


async def test_a_row_that_can_not_be_loaded_takes_no_other_with_it(
    make_engine: MakeEngine,
) -> None:
    engine = facing(make_engine(), FarSide(vendor))
    await accepted(engine)
    (bad,) = await engine.database.fetch("SELECT id FROM attempt")
    for _ in range(5):
        await accepted(engine)

    @dataclass(frozen=True, slots=True)
    class Unreadable(Dying):
        async def load(self, claimed: Sequence[Any]) -> Sequence[Any]:
            if bad["id"] in {row.id for row in claimed}:
                raise ValueError
            return await self.verb.load(claimed)

    await pump(engine, What.SUBMIT, wrapped=Unreadable)

    assert await count(engine, STATES) == {"processing": 5, "pending": 1}
    await engine.close()


# -- one bad row ----------------------------------------------------------------------------------


async def test_a_job_whose_secrets_can_not_be_read_holds_up_no_other_submit(
    make_engine: MakeEngine,
) -> None:
    old = make_engine(LONGTAKE_SECRET_KEYS=OLD_KEY)
    far_side = FarSide(vendor)
    engine = facing(make_engine(), far_side)
    await accepted(old, **HOOK)
    (bad,) = await engine.database.fetch("SELECT id FROM attempt")
    for _ in range(20):
        await accepted(engine)

    # Given that it has failed again and again
    for _ in range(OFTEN):
        await pump(engine, What.SUBMIT, only=[bad["id"]], seconds=0.05)
    # When it comes up together with twenty others
    for _ in range(3):
        await pump(engine, What.SUBMIT)

    assert await count(engine, STATES) == {"processing": 20, "pending": 1}
    assert far_side.posts() == 20
    await old.close()
    await engine.close()


async def test_a_job_whose_event_can_not_be_made_ends_and_others_keep_their_deadlines(
    make_engine: MakeEngine,
) -> None:
    old = make_engine(LONGTAKE_SECRET_KEYS=OLD_KEY)
    engine = make_engine()
    bad = await accepted(old, **HOOK)
    for _ in range(5):
        await accepted(engine)
    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await engine.database.fetch(
        "UPDATE due SET tries = 10 WHERE what = 'expire' AND id = %s", (bad,)
    )

    for _ in range(4):
        await pump(engine, What.EXPIRE)

    assert await count(engine, STATES) == {"failed": 6}
    await old.close()
    await engine.close()


async def test_an_event_that_can_not_be_made_is_told_and_keeps_no_job_from_ending(
    make_engine: MakeEngine,
) -> None:
    old = make_engine(LONGTAKE_SECRET_KEYS=OLD_KEY)
    engine = make_engine()
    job = await accepted(old, **HOOK)

    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    raised = ""
    try:
        await engine.database.run(work)
    except VaultError as error:
        raised = str(error)

    assert (raised, await count(engine, STATES)) == ("", {"cancelled": 1})
    told = await engine.database.fetch(
        "SELECT detail FROM event WHERE kind = 'webhook.unannounced'"
    )
    assert told == [{"detail": {"code": "secret_unreadable"}}]
    assert await engine.database.fetch("SELECT * FROM delivery") == []
    await old.close()
    await engine.close()


async def test_a_provider_that_left_the_registry_holds_up_no_deadline(
    make_engine: MakeEngine,
) -> None:
    engine = facing(make_engine(), FarSide(vendor))
    bad = await accepted(engine)
    await pump(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE attempt SET provider = 'left', account = 'left'")
    await engine.database.fetch("UPDATE due SET lane = 'left' WHERE what = 'poll'")
    for _ in range(5):
        await accepted(engine)
    await engine.database.fetch("UPDATE job SET deadline_at = now()")

    for _ in range(OFTEN):
        await pump(engine, What.EXPIRE, only=[bad], seconds=0.05)
    for _ in range(3):
        await pump(engine, What.EXPIRE)

    assert await count(engine, STATES) == {"failed": 6}
    await engine.close()


async def test_attempts_of_a_provider_that_left_the_registry_are_listed(
    make_engine: MakeEngine,
) -> None:
    async def breaks(request: Request) -> Response:
        return said(500, {}) if kind_of(request) == "submit" else await vendor(request)

    engine = facing(make_engine(), FarSide(breaks))
    await accepted(engine)
    await pump(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE attempt SET provider = 'left', account = 'left'")

    try:
        found = await engine.database.run(doubtful)
    except KeyError as error:
        pytest.fail(f"the list of doubtful attempts can't be read: {error!r}")
    assert [one.account for one in found] == ["left"]
    await engine.close()


# -- an old worker beside a newer one -------------------------------------------------------------


async def test_the_tick_finds_work_beside_rows_of_a_kind_that_only_a_newer_version_knows(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    await accepted(engine)
    await engine.database.fetch("ALTER TABLE due DROP CONSTRAINT IF EXISTS what_known")
    await engine.database.fetch(
        "INSERT INTO due (what, id, lane, tenant) VALUES ('rehearse', 'it', '-', 'default')"
    )

    try:
        found = await engine.database.run(lanes_due)
    except ValueError as error:
        pytest.fail(f"the tick finds nothing: {error}")
    assert found == [(What.SUBMIT, "runway")]
    await engine.close()


async def test_a_failure_that_a_newer_version_wrote_ends_its_job(make_engine: MakeEngine) -> None:
    """Its first output failed there; the second one fails here, and the job with it."""

    async def fails(request: Request) -> Response:
        if kind_of(request) == "submit":
            return await vendor(request)
        answer = answers_to(request, 0)["failed"]
        assert isinstance(answer, Response)
        return answer

    engine = facing(make_engine(), FarSide(fails))
    await accepted(engine, count=2)
    await pump(engine, What.SUBMIT)
    await engine.database.fetch(
        """
        UPDATE output SET state = 'failed', error =
            '{"fault": "overruled", "code": "new", "message": "words", "who": {"knows": 1}}'
        WHERE position = 0
        """
    )

    for _ in range(2):
        await pump(engine, What.POLL)

    (job,) = await engine.database.fetch("SELECT state, error FROM job")
    assert (job["state"], (job["error"] or {}).get("code")) == ("failed", "new")
    await engine.close()


async def test_a_job_in_a_state_of_a_newer_version_is_shown_as_at_work(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    job = await accepted(engine)
    await engine.database.fetch("ALTER TABLE job DROP CONSTRAINT state_known")
    await engine.database.fetch("ALTER TABLE output DROP CONSTRAINT state_known")
    await engine.database.fetch("UPDATE job SET state = 'rehearsing'")
    await engine.database.fetch("UPDATE output SET state = 'rehearsed'")
    (row,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))

    try:
        view = job_view(row, api_url="http://api.test", vault=engine.vault)
    except ValueError as error:
        pytest.fail(f"the job can't be shown: {error}")
    assert view["status"] == "processing"
    await engine.close()
