"""A gate moves on to its next model where nothing is spent, and never where it may have been."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from models.database import Connection
from models.failure import RequestRefused
from models.gate import GateRequest
from models.ids import new_id
from models.invariants import violations
from models.request import DEFAULT_MODEL, VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted, Phase, Update, Video
from tasks import gates, intake
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller
from tasks.retry import retry
from tasks.upkeep.retention import prune_once
from tasks.verbs.submit import PATIENCE
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from tests.integration.engine.waiting import until
from transport.base import NotSent, Request, Response, Unanswered

pytestmark = pytest.mark.anyio

#: Runway first, then Luma, at half of Runway's price.
FALLBACK = {
    "name": "shop",
    "model": "gen4.5",
    "strategy": "fallback",
    "fallback_models": ["ray-3.2"],
}
LIFE = (What.SUBMIT, What.POLL, What.STORE)
RUNWAY, LUMA = 600_000, 300_000
AWAY = NotSent("connection refused")


@dataclass(slots=True)
class Vendors:
    """Runway answers as scripted, and Luma its first submit; everything else goes well."""

    submit: Response | Exception | None = None
    luma_first: Response | Exception | None = None
    #: A failed task's code and charge.
    fails: dict[str, Any] = field(default_factory=dict)
    #: Who got paid POSTs, in order.
    posts: list[str] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        vendor = "luma" if "/generations" in request.url else "runway"
        answer: Response | Exception = next(
            iter(answers_to(request, f"{vendor}-{len(self.posts)}").values())
        )
        if kind_of(request) == "submit":
            self.posts.append(vendor)
            if vendor == "runway" and self.submit is not None:
                answer = self.submit
            if vendor == "luma" and self.luma_first is not None:
                answer, self.luma_first = self.luma_first, None
        elif vendor == "runway" and kind_of(request) == "poll" and self.fails:
            id_ = request.url.rpartition("/")[2]
            task = {"id": id_, "status": "FAILED", "createdAt": "2026-01-01T00:00:00Z"}
            answer = said(200, task | self.fails)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
async def engine(
    make_engine: MakeEngine, vendors: Vendors, anyio_backend: str
) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(vendors.reply))
    await gates.create(engine, GateRequest.from_json(FALLBACK), tenant="default")
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def submitted(engine: Engine, **fields: Any) -> str:
    body = {"prompt": "a quiet sea", "gate": "shop"} | fields
    return (await accept(engine, VideoRequest.from_json(body), tenant="default")).job_id


async def run(engine: Engine, *kinds: What, lane: str | None = None) -> None:
    """All that is due of each kind, on one lane or on all, as if its time had come."""
    for what in kinds:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s"
        await engine.database.fetch(sql, (what,))
        await Pump(verb_for(what, engine), engine.database, lane, seconds=0.05).run()


async def view_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    return job_view(row, api_url="http://api.test", vault=engine.vault)


async def attempts(engine: Engine, job: str) -> list[tuple[str, str]]:
    sql = "SELECT provider, state FROM attempt WHERE job = %s ORDER BY id"
    return [(row["provider"], row["state"]) for row in await engine.database.fetch(sql, (job,))]


async def hops(engine: Engine, job: str) -> list[dict[str, Any]]:
    sql = "SELECT detail FROM event WHERE job = %s AND kind = 'gate.hop' ORDER BY id"
    return [row["detail"] for row in await engine.database.fetch(sql, (job,))]


REFUSALS = {
    "the request is refused": said(400, {"error": "no"}),
    "the key is refused": said(401, {"error": "no"}),
    "the account is out of credits": said(
        400, {"error": "You do not have enough credits to run this task."}
    ),
    "the limit lifts in an hour": said(429, {"error": "later"}, **{"retry-after": "3600"}),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_moves_on_and_the_next_is_paid_once(
    engine: Engine, vendors: Vendors, refusal: str
) -> None:
    vendors.submit = REFUSALS[refusal]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, *LIFE)

    view = await view_of(engine, job)
    assert vendors.posts == ["runway", "luma"]
    assert (view["status"], view["perf"]["model_used"]) == ("complete", "ray-3.2")
    assert [(hop["from_model"], hop["to_model"]) for hop in view["hops"]] == [("gen4.5", "ray-3.2")]
    assert view["cost_usd"] == view["estimated_cost_usd"] == LUMA / 1e6
    (told,) = await hops(engine, job)
    assert (told["from"], told["to"]) == ("gen4.5", "ray-3.2")
    assert told["code"] == view["hops"][0]["code"]


@pytest.mark.parametrize(
    "trouble", [AWAY, said(429, {"error": "later"}, **{"retry-after": "0"}), said(503, {})]
)
async def test_trouble_is_borne_for_a_while_and_then_moves_on(
    engine: Engine, vendors: Vendors, trouble: Response | Exception
) -> None:
    vendors.submit = trouble
    job = await submitted(engine)
    await run(engine, *[What.SUBMIT] * (PATIENCE - 1))
    assert await attempts(engine, job) == [("runway", "planned")]

    await run(engine, What.SUBMIT, *LIFE)
    assert await attempts(engine, job) == [("runway", "failed"), ("luma_agents", "succeeded")]
    assert vendors.posts == [*["runway"] * PATIENCE, "luma"]


async def test_an_account_without_credentials_moves_on(engine: Engine, vendors: Vendors) -> None:
    """The API accepted the job with credentials that no worker has."""
    job = await submitted(engine)
    accounts = {name: one for name, one in engine.accounts.items() if name != "runway"}
    await run(replace(engine, accounts=accounts), *[What.SUBMIT] * PATIENCE, *LIFE)

    assert (await view_of(engine, job))["hops"][0]["code"] == "no_credentials"
    assert vendors.posts == ["luma"]


async def test_a_late_failure_worth_another_try_moves_on(engine: Engine, vendors: Vendors) -> None:
    vendors.fails = {"failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert await attempts(engine, job) == [("runway", "failed"), ("luma_agents", "succeeded")]
    assert (await view_of(engine, job))["cost_usd"] == LUMA / 1e6
    assert vendors.posts == ["runway", "luma"]


@pytest.mark.parametrize("code", ["SAFETY.INPUT.TEXT", "INPUT.INVALID", "NEVER.HEARD.OF"])
async def test_a_late_failure_that_would_come_again_ends_the_job(
    engine: Engine, vendors: Vendors, code: str
) -> None:
    vendors.fails = {"failureCode": code}
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


@pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
async def test_a_lost_answer_never_moves_on(engine: Engine, vendors: Vendors, policy: str) -> None:
    vendors.submit = Unanswered("no answer")
    job = await submitted(engine, unknown_policy=policy)
    await run(engine, What.SUBMIT)
    vendors.submit = REFUSALS["the request is refused"]  # what a repeat of the same route gets
    await run(engine, What.SUBMIT, What.SUBMIT)

    assert await hops(engine, job) == []
    assert "luma" not in vendors.posts
    assert ("runway", "unknown") in await attempts(engine, job)
    assert (await view_of(engine, job))["status"] == "failed"


async def test_a_repeat_after_a_hop_is_by_the_same_model(engine: Engine, vendors: Vendors) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    vendors.luma_first = Unanswered("no answer")
    job = await submitted(engine, unknown_policy="at_least_once")
    await run(engine, What.SUBMIT, What.SUBMIT, *LIFE)

    assert vendors.posts == ["runway", "luma", "luma"]
    view = await view_of(engine, job)
    assert (view["perf"]["model_used"], view["cost_usd"]) == ("ray-3.2", LUMA / 1e6)
    assert len(view["hops"]) == len(await hops(engine, job)) == 1


async def test_no_model_is_planned_that_costs_more_than_the_request_allows(
    engine: Engine, vendors: Vendors
) -> None:
    dear = FALLBACK | {"name": "dear", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(dear), tenant="default")
    job = await submitted(engine, gate="dear", max_cost_usd=0.5)

    (row,) = await engine.database.fetch("SELECT plan, fallbacks FROM job WHERE id = %s", (job,))
    assert (row["plan"]["model"], row["fallbacks"]) == ("ray-3.2", None)


@pytest.mark.parametrize(("most", "is_moved"), [(0.9, True), (0.89, False)])
async def test_what_a_failed_attempt_cost_counts_towards_the_maximum(
    engine: Engine, vendors: Vendors, most: float, *, is_moved: bool
) -> None:
    vendors.fails = {"failureCode": "INTERNAL", "cost": {"credits": 60}}
    job = await submitted(engine, max_cost_usd=most)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert bool(await hops(engine, job)) == is_moved
    assert vendors.posts == (["runway", "luma"] if is_moved else ["runway"])


@pytest.mark.parametrize("column", ["deadline_at", "start_by"])
async def test_a_deadline_that_has_passed_stops_hops(
    engine: Engine, vendors: Vendors, column: str
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)

    async def slow(request: Request) -> Response:
        sql = f"UPDATE job SET {column} = now() - interval '1 s'"  # noqa: S608
        await engine.database.fetch(sql)
        return await vendors.reply(request)

    await run(facing(engine, FarSide(slow)), What.SUBMIT)
    await run(engine, What.SUBMIT)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


async def test_a_cancelled_job_moves_on_no_more(engine: Engine, vendors: Vendors) -> None:
    vendors.fails = {"failureCode": "INTERNAL"}
    job = await submitted(engine)
    await run(engine, What.SUBMIT)

    async def cancel(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])
        await connection.execute("UPDATE due SET what = 'poll' WHERE what = 'cancel'")

    await engine.database.run(cancel)
    await run(engine, What.POLL, What.SUBMIT)
    assert vendors.posts == ["runway"]


async def test_each_video_moves_on_by_itself_and_is_charged_at_its_own_price(
    engine: Engine, vendors: Vendors
) -> None:
    job = await submitted(engine, count=2, seed=7, unsupported="ignore")
    sql = "SELECT id FROM due WHERE what = 'submit' ORDER BY id"
    first, _ = [row["id"] for row in await engine.database.fetch(sql)]
    await record_accepted(engine, first, Accepted(operation_id="op-first"))
    vendors.submit = REFUSALS["the request is refused"]
    await run(engine, What.SUBMIT, *LIFE, What.POLL, What.STORE)

    view = await view_of(engine, job)
    assert view["status"] == "complete"
    assert view["cost_usd"] == (RUNWAY + LUMA) / 1e6
    assert await attempts(engine, job) == [
        *(("runway", "succeeded"), ("runway", "refused"), ("luma_agents", "succeeded")),
    ]


async def test_the_last_models_refusal_is_the_jobs_end(engine: Engine, vendors: Vendors) -> None:
    dear = FALLBACK | {"name": "last", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(dear), tenant="default")
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine, gate="last", model="gen4.5")
    await run(engine, What.SUBMIT, What.SUBMIT)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


async def test_what_one_model_ignores_the_next_one_may_carry(
    engine: Engine, vendors: Vendors
) -> None:
    other = FALLBACK | {"name": "luma-first", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(other), tenant="default")
    job = await submitted(engine, gate="luma-first", seed=7, unsupported="ignore")

    sql = "SELECT plan, fallbacks FROM job WHERE id = %s"
    (row,) = await engine.database.fetch(sql, (job,))
    assert row["plan"]["scene"] == {"seed": None}
    assert "scene" not in row["fallbacks"]["1"]
    assert (await view_of(engine, job))["ignored"] == ["seed"]


async def test_evidence_that_comes_late_takes_the_videos_back(
    engine: Engine, vendors: Vendors
) -> None:
    """The refusal was no refusal: what the gate had planned instead is released, not sent."""
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    (first, _) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    await run(engine, *LIFE)

    assert await attempts(engine, job) == [("runway", "succeeded"), ("luma_agents", "cancelled")]
    assert vendors.posts == ["runway"]


async def test_an_attempt_that_comes_back_after_its_hop_may_be_left_once_more(
    engine: Engine, vendors: Vendors
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    # Given that the refused attempt was accepted after all, and its operation fails
    (first, _) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    vendors.fails = {"failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
    await run(engine, *LIFE, *LIFE)

    assert (await view_of(engine, job))["status"] == "complete"
    assert vendors.posts == ["runway", "luma"]
    states = [("runway", "failed"), ("luma_agents", "cancelled"), ("luma_agents", "succeeded")]
    assert await attempts(engine, job) == states


async def cancelled(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def test_a_retry_sets_only_what_its_gate_allows(engine: Engine) -> None:
    strict = GateRequest.from_json(FALLBACK | {"name": "strict", "overrides": "none"})
    await gates.create(engine, strict, tenant="default")
    job = await submitted(engine, gate="strict")
    await cancelled(engine, job)

    again, _ = await retry(engine, job, tenant="default", caller=Caller())
    assert (again.view["model"], again.view["retry_of"]) == ("gen4.5", job)


@pytest.mark.parametrize("asked", [DEFAULT_MODEL, "gen4.5", None])
async def test_a_retry_asks_its_gate_for_the_same_model(engine: Engine, asked: str | None) -> None:
    """The model that requests have by default is no default of a gate that has another one."""
    luma_first = FALLBACK | {"name": "luma", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(luma_first), tenant="default")
    job = await submitted(engine, gate="luma", **({"model": asked} if asked else {}))
    await cancelled(engine, job)

    again, _ = await retry(engine, job, tenant="default", caller=Caller())

    sql = "SELECT model, estimated_cost_micros, plan ->> 'model' AS used FROM job WHERE id = %s"
    (before,) = await engine.database.fetch(sql, (job,))
    assert await engine.database.fetch(sql, (again.job_id,)) == [before]
    assert before["model"] == (asked or "ray-3.2")


async def test_a_retry_goes_through_its_gate_whatever_its_name_is_now(engine: Engine) -> None:
    job = await submitted(engine)
    await cancelled(engine, job)
    renamed = GateRequest.from_json(FALLBACK | {"name": "renamed"})
    await gates.replace(engine, "shop", renamed, tenant="default")

    again, _ = await retry(engine, job, tenant="default", caller=Caller())
    assert again.view["retry_of"] == job


async def test_deliveries_of_one_job_at_once_count_once_against_the_gates_limit(
    engine: Engine,
) -> None:
    narrow = FALLBACK | {"name": "narrow", "spending_limit_usd": 0.7}
    await gates.create(engine, GateRequest.from_json(narrow), tenant="default")
    request = VideoRequest.from_json({"prompt": "a quiet sea", "gate": "narrow"})
    job_id = new_id("job_vid")
    accepted = await asyncio.gather(
        *(accept(engine, request, tenant="default", job_id=job_id) for _ in range(4))
    )
    assert [one.job_id for one in accepted] == [job_id] * 4
    assert [one.is_repeat for one in accepted].count(False) == 1


# -- evidence that comes while the next attempt is being sent -------------------------------------


def meddled(
    engine: Engine, vendors: Vendors, attempt: str, accepted: Accepted, lane: str
) -> Engine:
    """The engine, where evidence of `attempt` comes while a submit of the lane is on its way."""

    async def reply(request: Request) -> Response:
        is_luma = "/generations" in request.url
        if kind_of(request) == "submit" and is_luma == (lane == "luma_agents"):
            await record_accepted(engine, attempt, accepted)
        return await vendors.reply(request)

    return facing(engine, FarSide(reply))


async def first_of(engine: Engine) -> str:
    (first, *_) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    return str(first["id"])


RUNNING = Accepted(operation_id="op-late")
MADE = Accepted(
    operation_id="op-late",
    update=Update(phase=Phase.SUCCEEDED, videos=(Video(url="https://links.test/film.mp4"),)),
)


@pytest.mark.parametrize("refusal", [said(400, {"detail": "no"}), AWAY], ids=["refused", "away"])
async def test_what_the_next_attempt_does_not_make_the_first_operation_makes(
    engine: Engine, vendors: Vendors, refusal: Response | Exception
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    # Given the hop's POST, which fails after the first operation came to light
    vendors.luma_first = refusal
    await run(meddled(engine, vendors, await first_of(engine), RUNNING, "luma_agents"), What.SUBMIT)
    await run(engine, *LIFE, What.CANCEL)

    assert vendors.posts == ["runway", "luma"]  # none after that
    assert (await attempts(engine, job))[0] == ("runway", "succeeded")
    view = await view_of(engine, job)
    assert (view["status"], view["cost_usd"]) == ("complete", RUNWAY / 1e6)


@pytest.mark.parametrize("accepted", [RUNNING, MADE], ids=["running", "made"])
async def test_a_repeat_that_is_refused_gives_its_video_back(
    engine: Engine, vendors: Vendors, accepted: Accepted
) -> None:
    vendors.submit = Unanswered("no answer")
    job = await submitted(engine, unknown_policy="at_least_once")
    await run(engine, What.SUBMIT)
    vendors.submit = REFUSALS["the request is refused"]
    await run(meddled(engine, vendors, await first_of(engine), accepted, "runway"), What.SUBMIT)
    await run(engine, *LIFE, What.CANCEL)

    assert vendors.posts == ["runway", "runway"]
    assert await attempts(engine, job) == [("runway", "succeeded"), ("runway", "refused")]
    assert (await view_of(engine, job))["status"] == "complete"


async def test_hops_of_one_batch_stay_within_the_maximum_together(
    engine: Engine, vendors: Vendors
) -> None:
    vendors.fails = {"failureCode": "INTERNAL", "cost": {"credits": 40}}
    job = await submitted(engine, count=2, max_cost_usd=1.2)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    # Two failures at $0.40 leave room for one of Luma's videos at $0.30
    assert vendors.posts.count("luma") == len(await hops(engine, job)) == 1


@pytest.mark.parametrize("column", ["deadline_at", "start_by"])
async def test_nothing_is_sent_for_a_job_that_has_run_out_of_time(
    engine: Engine, vendors: Vendors, column: str
) -> None:
    """The workers were away meanwhile: the submit and the job's end are due at once."""
    job = await submitted(engine, model="gen4.5", start_within_seconds=60)
    await engine.database.fetch(f"UPDATE job SET {column} = now() - interval '1 s'")  # noqa: S608
    await run(engine, What.SUBMIT, What.EXPIRE, *LIFE)

    assert vendors.posts == []
    view = await view_of(engine, job)
    assert (view["status"], view["cost_usd"]) == ("failed", 0)


async def limited(engine: Engine, usd: float | None) -> None:
    """Set the gate's spending limit, or lift it; a job of it may cost 0.60."""
    wanted = GateRequest.from_json(FALLBACK | {"spending_limit_usd": usd})
    await gates.replace(engine, "shop", wanted, tenant="default")


async def test_retention_forgets_nothing_that_a_gate_has_spent(engine: Engine) -> None:
    await limited(engine, 0.7)
    await submitted(engine)
    await run(engine, *LIFE)
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '31 d'")
    settings = engine.settings.model_copy(update={"keep_jobs_days": 30})
    assert (await prune_once(replace(engine, settings=settings))).jobs == 1

    for usd, is_enough in ((0.7, False), (1.19, False), (None, True)):
        await limited(engine, usd)
        if is_enough:
            await submitted(engine)
        else:
            with pytest.raises(RequestRefused, match=r"of which \$0.60 is spent or reserved"):
                await submitted(engine)
    # A limit that is set again counts what was spent without one
    await limited(engine, 1.79)
    with pytest.raises(RequestRefused, match=r"of which \$1.20 is spent or reserved"):
        await submitted(engine)


async def test_a_limit_that_is_set_during_a_submission_holds(engine: Engine) -> None:
    """It waits for the submission, which saw none, and counts it."""
    async with engine.database.transaction() as connection:
        await connection.execute("SELECT id FROM tenant FOR KEY SHARE")  # as a new job's row does
        setting = asyncio.create_task(limited(engine, 0.7))

        async def is_waiting() -> bool:
            assert not setting.done()
            return bool(
                await engine.database.fetch(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND datname = current_database()"
                )
            )

        await until(is_waiting)
    await setting


async def test_a_submission_that_saw_no_limit_is_held_to_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the gate, and inserts its job when the limit is set and used up."""
    record = intake._record  # noqa: SLF001
    has_chosen, goes_on = asyncio.Event(), asyncio.Event()

    async def held_up(*given: Any) -> Any:
        has_chosen.set()
        await goes_on.wait()
        return await record(*given)

    monkeypatch.setattr(intake, "_record", held_up)
    late = asyncio.create_task(submitted(engine))
    await has_chosen.wait()
    monkeypatch.setattr(intake, "_record", record)
    await limited(engine, 0.7)
    await submitted(engine)
    goes_on.set()

    with pytest.raises(RequestRefused, match="spending limit"):
        await late


async def test_a_spending_limit_is_told_in_dollars(engine: Engine) -> None:
    await limited(engine, 1.234567)
    for _ in range(2):
        await submitted(engine)
    with pytest.raises(RequestRefused) as refused:
        await submitted(engine)
    assert refused.value.message == (
        "the gate shop has a spending limit of $1.234567, of which $1.20 is spent or reserved; "
        "this job may cost $0.60"
    )
