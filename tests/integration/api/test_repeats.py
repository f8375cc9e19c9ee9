"""A request that is sent again without an Idempotency-Key makes no second job."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb
from starlette.types import Message, Scope

from api.repeats import Answer, watched
from models.failure import RequestRefused
from models.limits import set_limits
from models.rows.limits import Holder
from tasks import jobs, resent
from tasks.repeats import Caller
from tests.integration.api.conftest import Api
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH = "/perf/v1/video/generations"
NATIVE = "/v1/video/generations"
BODY = {"prompt": "a fox in fresh snow"}
REPLAYED = "idempotent-replayed"


def _retry(number: int) -> dict[str, str]:
    """What clients of Stainless' making send with each request."""
    return {"x-stainless-retry-count": str(number), "x-stainless-lang": "python"}


async def _post(api: Api, *, path: str = PATH, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.post(path, json=BODY, headers=named)


async def _created(api: Api, headers: dict[str, str] | None = None) -> httpx.Response:
    answer = await api.http.post(PATH, json=BODY, headers=headers)
    assert answer.status_code == 202, answer.text
    await _noted(api)
    return answer


async def _noted(api: Api) -> None:
    """Until what became of the answers so far is in the database."""
    await api.front.answers._ended.join()  # noqa: SLF001 - nobody else waits for it


async def _jobs(api: Api) -> int:
    return (await api.counts())["job"]


async def _states(api: Api) -> list[str]:
    return [row["state"] for row in await api.fetch("SELECT state FROM submission ORDER BY at")]


async def _is_lost(api: Api) -> bool:
    return await _states(api) == ["lost"]


async def _age(api: Api, seconds: float) -> None:
    sql = "UPDATE submission SET at = at - %s * interval '1 second' RETURNING id"
    await api.fetch(sql, seconds)


@dataclass(slots=True)
class Program:
    """A client of the application that hangs up when it is told to."""

    api: Api
    hangs_up: asyncio.Event
    received: list[Message]

    async def post(self, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(BODY).encode()
        given = {"authorization": f"Bearer {self.api.key}", **(headers or {})}
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "server": ("api.test", 80),
            "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await self.hangs_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.received.append(message)

        await self.api.app(scope, receive, send)


@pytest.fixture
def gone(api: Api) -> Program:
    """A client that has hung up by the time its answer could be sent."""
    caller = Program(api, asyncio.Event(), [])
    caller.hangs_up.set()
    return caller


@pytest.fixture
def at_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Runs something once, between a job's commit and its answer."""

    def set_up(act: Callable[[], Any]) -> None:
        submit, pending = jobs.submit, [act]

        async def submitting(*args: Any, **names: Any) -> Any:
            accepted = await submit(*args, **names)
            if pending:
                pending.pop()()
            return accepted

        monkeypatch.setattr(jobs, "submit", submitting)

    return set_up


def _fails(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


# -- an answer that did not go out ---------------------------------------------------------------


async def test_a_client_that_hung_up_gets_its_job_when_it_sends_again(
    api: Api, gone: Program, at_commit: Callable[..., None]
) -> None:
    gone.hangs_up.clear()
    at_commit(gone.hangs_up.set)
    await gone.post()
    await _noted(api)
    assert await _states(api) == ["lost"]

    again = await _created(api)

    (row,) = await api.fetch("SELECT id FROM job")
    assert again.json()["id"] == row["id"]
    assert (again.status_code, again.headers[REPLAYED]) == (202, "true")
    assert await _states(api) == ["answered"]


async def test_a_hang_up_that_the_loop_has_not_yet_read_is_seen_too(
    api: Api, gone: Program, at_commit: Callable[..., None]
) -> None:
    loop = asyncio.get_running_loop()
    gone.hangs_up.clear()
    # A socket's end is read in one turn of the loop, and told in the next.
    at_commit(lambda: loop.call_soon(loop.call_soon, gone.hangs_up.set))
    await gone.post()
    await _noted(api)

    assert await _states(api) == ["lost"]


async def test_a_repeat_has_the_first_answers_fields_and_what_was_adapted(
    api: Api, at_commit: Callable[..., None]
) -> None:
    at_commit(_fails(RuntimeError("after the commit")))
    failed = await _post(api)
    await api.fetch("UPDATE job SET state = 'processing', progress_percent = 50 RETURNING id")

    again = await _created(api)
    fresh = await _created(api)

    assert (failed.status_code, again.status_code) == (500, 202)
    first, other = again.json(), fresh.json()
    assert first.keys() == other.keys()
    assert (first["status"], other["status"]) == ("pending", "pending")
    assert again.headers["longtake-adapted"] == fresh.headers["longtake-adapted"]
    assert REPLAYED not in fresh.headers
    assert first["id"] != other["id"]


async def test_four_tries_whose_answers_are_all_lost_make_one_job(api: Api, gone: Program) -> None:
    for _ in range(4):
        await gone.post()
        await _noted(api)

    assert await _jobs(api) == 1
    await _created(api)
    assert await _jobs(api) == 1


async def test_an_answer_of_5xx_after_the_commit_is_no_answer(
    api: Api, at_commit: Callable[..., None]
) -> None:
    at_commit(_fails(RuntimeError("after the commit")))
    assert (await _post(api)).status_code == 500

    await _created(api)

    assert await _jobs(api) == 1


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
@pytest.mark.parametrize(
    ("attempt", "made"),
    [
        ("state = 'refused', sent_at = now()", 2),
        ("state = 'failed', sent_at = now(), operation_id = 'op_1'", 2),
        ("state = 'cancelled'", 2),
        ("state = 'sent', sent_at = now()", 1),
        ("state = 'unknown', sent_at = now()", 1),
        ("state = 'accepted', sent_at = now(), operation_id = 'op_1'", 1),
        ("state = 'succeeded', sent_at = now(), operation_id = 'op_1'", 1),
        ("state = 'failed', sent_at = now(), operation_id = 'op_1', cost_micros = 5", 1),
        ("state = 'failed', parked_at = now()", 1),
    ],
)
async def test_a_job_that_ended_is_made_again_unless_it_may_have_been_paid_for(
    api: Api, gone: Program, attempt: str, made: int, ended: str
) -> None:
    """An open call ends with its job: whoever sends it again after that wants another try."""
    await gone.post()
    await until(lambda: _is_lost(api))
    await api.fetch(f"UPDATE attempt SET {attempt} RETURNING id")  # noqa: S608 - the test's own
    await _end(api, ended)

    await _created(api)
    assert await _jobs(api) == made


async def test_asking_for_a_failed_job_again_does_not_extend_its_window(
    api: Api, gone: Program
) -> None:
    await gone.post()
    await until(lambda: _is_lost(api))
    await api.fetch("UPDATE attempt SET state = 'unknown', sent_at = now() RETURNING id")
    await _end(api, "failed")

    for _ in range(2):
        await _age(api, 0.6 * resent.WINDOW_SECONDS)
        await _created(api)
        await api.fetch("UPDATE submission SET state = 'lost' RETURNING id")

    assert await _jobs(api) == 2


async def _end(api: Api, state: str) -> None:
    sql = "UPDATE job SET state = %s, error = %s, finished_at = now() RETURNING id"
    await api.fetch(sql, state, Jsonb({"code": "deadline_exceeded"}))


async def test_a_process_that_died_before_it_answered_is_not_waited_for_long(
    api: Api, monkeypatch: pytest.MonkeyPatch, at_commit: Callable[..., None]
) -> None:
    # It notes nothing more.
    monkeypatch.setattr(api.front.answers, "end", lambda answer: None)
    at_commit(_fails(RuntimeError("dies here")))
    await _post(api)
    api.front.answers._open.clear()  # noqa: SLF001 - nor does it say that it lives
    monkeypatch.undo()
    assert await _states(api) == ["open"]
    monkeypatch.setattr(resent, "OPEN_SECONDS", 0.3)

    again = await _created(api)

    assert again.headers[REPLAYED] == "true"
    assert await _jobs(api) == 1


async def test_an_answer_that_takes_long_is_waited_for_and_not_taken(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dialect may answer when the video is there: an identical one beside it is another job."""
    accepted, go = _slow_at_first(monkeypatch)
    first = asyncio.create_task(_post(api))
    await accepted.wait()
    second = await _post(api)
    assert not first.done()
    go.set()

    assert second.json()["id"] != (await first).json()["id"]
    assert await _jobs(api) == 2


async def test_a_long_wait_whose_client_hangs_up_is_taken_at_once(
    api: Api, gone: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, go = _slow_at_first(monkeypatch)
    gone.hangs_up.clear()
    first = asyncio.create_task(gone.post())
    await accepted.wait()
    gone.hangs_up.set()
    await until(lambda: _is_lost(api))
    second = await _post(api)
    assert not first.done()
    go.set()
    await first
    await _noted(api)

    assert second.headers[REPLAYED] == "true"
    assert await _jobs(api) == 1
    assert await _states(api) == ["answered"]  # the first's end says nothing about the second


def _slow_at_first(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """The first submission is answered long after its commit; returns both moments."""
    submit, accepted, go = jobs.submit, asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **names: Any) -> Any:
        result = await submit(*args, **names)
        if not accepted.is_set():
            accepted.set()
            await go.wait()
        return result

    monkeypatch.setattr(jobs, "submit", slowly)
    return accepted, go


# -- retries that say so -------------------------------------------------------------------------


async def test_retries_that_say_so_get_the_first_job_though_it_was_answered(api: Api) -> None:
    first = await _created(api, _retry(0))
    retries = [await _created(api, _retry(number)) for number in (1, 2)]

    assert {answer.json()["id"] for answer in retries} == {first.json()["id"]}
    assert [answer.headers.get(REPLAYED) for answer in retries] == ["true", "true"]
    assert await _jobs(api) == 1


async def test_two_retries_at_once_make_no_second_job(api: Api) -> None:
    first = await _created(api, _retry(0))
    retries = await asyncio.gather(*(_post(api, **_retry(1)) for _ in range(2)))

    assert {answer.json()["id"] for answer in retries} == {first.json()["id"]}


async def test_a_retry_while_the_first_is_being_committed_waits_for_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, go = resent.keep, asyncio.Event()
    holding = asyncio.Event()

    async def slow(*args: Any) -> None:
        await keep(*args)
        holding.set()
        await go.wait()

    monkeypatch.setattr("tasks.repeats.keep", slow)
    first = asyncio.create_task(_post(api, **_retry(0)))
    await holding.wait()
    retry = asyncio.create_task(_post(api, **_retry(1)))
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not await api.fetch(waiting):
        pass
    go.set()

    assert (await retry).json()["id"] == (await first).json()["id"]
    assert await _jobs(api) == 1


async def test_the_retry_of_a_refused_request_is_no_repeat_of_another(api: Api) -> None:
    """Of four variants in a loop, the second meets a limit, and its client tries again."""
    first = await _created(api, _retry(0))
    await _limit(api, at_a_time=1)
    for number in (0, 1):
        assert (await _post(api, **_retry(number))).status_code == 429
        await _noted(api)
    await _limit(api, at_a_time=9)

    second = await _created(api, _retry(2))
    repeat = await _created(api, _retry(1))

    assert REPLAYED not in second.headers
    assert second.json()["id"] != first.json()["id"]
    assert repeat.headers[REPLAYED] == "true"  # the refusal explains one retry, not two
    assert await _jobs(api) == 2


async def test_the_retry_of_a_request_that_met_our_own_error_is_no_repeat_of_another(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await _created(api, _retry(0))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.jobs.accept", None)  # it fails before anything is written
        assert (await _post(api, **_retry(0))).status_code == 500
        await _noted(api)

    assert (await _created(api, _retry(1))).json()["id"] != first.json()["id"]


async def test_two_refused_requests_that_are_retried_make_two_jobs(api: Api) -> None:
    await api.submit()
    await _limit(api, at_a_time=1)
    for _ in range(2):
        assert (await _post(api, **_retry(0))).status_code == 429
        await _noted(api)
    await _limit(api, at_a_time=9)

    retries = [await _created(api, _retry(1)) for _ in range(2)]

    assert len({answer.json()["id"] for answer in retries}) == 2
    assert await _states(api) == ["answered", "answered"]


async def test_the_retry_of_a_refused_request_is_no_repeat_of_a_later_one(api: Api) -> None:
    await api.submit()
    await _limit(api, at_a_time=1)
    assert (await _post(api, **_retry(0))).status_code == 429
    await _noted(api)
    await _limit(api, at_a_time=9)
    order = await _created(api, _retry(0))

    retried = await _created(api, _retry(1))

    assert retried.json()["id"] != order.json()["id"]


async def test_many_refusals_hide_no_lost_answer(api: Api, gone: Program) -> None:
    await gone.post()
    await until(lambda: _is_lost(api))
    sql = """
    INSERT INTO submission (id, fingerprint, state, at)
    SELECT 'sub_' || number, fingerprint, 'refused', at - interval '1 minute'
    FROM submission, generate_series(1, 600) AS number RETURNING id
    """
    await api.fetch(sql)

    assert (await _created(api)).headers[REPLAYED] == "true"


async def _limit(api: Api, *, at_a_time: int) -> None:
    await api.front.engine.database.run(
        lambda connection: set_limits(
            connection, Holder.TENANT, "acme", changes={"concurrent": at_a_time}
        )
    )


async def test_a_refused_request_whose_client_does_not_count_leaves_no_row(api: Api) -> None:
    await api.submit()
    await _limit(api, at_a_time=1)
    assert (await _post(api)).status_code == 429
    await api.http.post(PATH, json={"prompt": ""})
    await _noted(api)

    assert await _states(api) == []


@pytest.mark.parametrize("count", ["-1", "one", "", "99999999999999999999", "²"])
async def test_a_count_that_is_no_number_of_retries_is_none(api: Api, count: str) -> None:
    await _created(api)
    headers = [(b"x-stainless-retry-count", count.encode())]
    answer = await api.http.post(PATH, json=BODY, headers=headers)

    assert answer.status_code == 202
    assert await _jobs(api) == 2


# -- what is no repeat ---------------------------------------------------------------------------


async def test_a_loop_that_asks_for_four_variants_gets_four(api: Api) -> None:
    # As fast as it can: it does not wait until its answers are noted.
    made = {(await _post(api)).json()["id"] for _ in range(4)}

    assert len(made) == 4


async def test_identical_requests_at_once_are_jobs_of_their_own(api: Api) -> None:
    answers = await asyncio.gather(*(_post(api, **_retry(0)) for _ in range(6)))

    assert len({answer.json()["id"] for answer in answers}) == 6
    assert not any(REPLAYED in answer.headers for answer in answers)


@pytest.mark.parametrize(("state", "number"), [("lost", 0), ("lost", 1), ("answered", 1)])
async def test_the_retries_of_parallel_requests_take_one_job_each(
    api: Api, state: str, number: int
) -> None:
    """All were accepted, and a proxy between lost what they were told."""
    firsts = {(await _created(api)).json()["id"] for _ in range(4)}
    await api.fetch("UPDATE submission SET state = %s RETURNING id", state)

    retries = await asyncio.gather(*(_post(api, **_retry(number)) for _ in range(4)))

    assert {answer.json()["id"] for answer in retries} == firsts
    assert await _jobs(api) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"json": BODY | {"seed": 1}},
        {"headers": {"X-App-ID": "other"}},
        {"params": {"hook": "1"}},
        {"headers": {"Idempotency-Key": "k"}},
        {"headers": {"Longtake-Repeats": "allow"}},
        {"headers": {"Longtake-Repeats": "allow", **_retry(2)}},
    ],
    ids=["body", "app", "query", "Idempotency-Key", "allow", "allow with a count"],
)
async def test_another_request_is_no_repeat(api: Api, gone: Program, other: dict[str, Any]) -> None:
    await gone.post()
    await _noted(api)

    answer = await api.http.post(PATH, **({"json": BODY} | other))

    assert answer.status_code == 202
    assert REPLAYED not in answer.headers
    assert await _jobs(api) == 2
    assert (await _states(api))[0] == "lost"


async def test_a_request_with_a_key_of_its_own_is_the_first_of_no_other(api: Api) -> None:
    await _created(api, {"Idempotency-Key": "k"})

    assert await _states(api) == []
    assert REPLAYED not in (await _created(api, _retry(1))).headers


async def test_another_key_never_gets_the_job(api: Api, gone: Program) -> None:
    await gone.post()
    await _noted(api)
    for tenant in ("acme", "other"):
        key = await api.new_key(tenant)
        answer = await _post(api, Authorization=f"Bearer {key}", **_retry(1))
        assert REPLAYED not in answer.headers

    assert await _jobs(api) == 3


async def test_after_the_window_it_is_a_new_job(api: Api, gone: Program) -> None:
    await gone.post()
    await _noted(api)
    await _age(api, resent.WINDOW_SECONDS + 1)

    assert REPLAYED not in (await _created(api, _retry(1))).headers
    assert await _jobs(api) == 2


async def test_one_whose_client_was_gone_before_its_commit_makes_no_job_beside_its_retry(
    api: Api, gone: Program
) -> None:
    """The first waited long, and its retry went past it."""
    retry = await _created(api)
    await gone.post()
    await _noted(api)

    assert await _jobs(api) == 1
    assert await _states(api) == ["answered"]
    assert (await _created(api)).json()["id"] != retry.json()["id"]


async def test_the_jobs_of_one_request_are_no_repeats_of_each_other(api: Api) -> None:
    scope: Scope = {
        "type": "http",
        "path": PATH,
        "query_string": b"",
        "headers": [],
        "app": api.app,
        "state": {"answer": Answer(_never)},
    }
    made = [watched(scope, Caller(api_key="key_1"), BODY, by_default=True) for _ in range(2)]

    assert len({each.unkeyed.fingerprint for each in made if each.unkeyed}) == 2
    api.front.answers.end(scope["state"]["answer"])


async def _never() -> Message:
    raise AssertionError


# -- headers, our own API, deletion --------------------------------------------------------------


async def test_our_own_api_repeats_only_where_it_is_asked_to(
    api: Api, at_commit: Callable[..., None]
) -> None:
    once = {"Longtake_Repeats": "once"}
    first = await _post(api, path=NATIVE, **once)
    await _noted(api)
    again = await _post(api, path=NATIVE, **once, **_retry(1))
    other = await _post(api, path=NATIVE, **_retry(1))

    assert again.headers[REPLAYED] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert other.json()["id"] != first.json()["id"]
    at_commit(_fails(RuntimeError("after the commit")))
    await _post(api, path=NATIVE, **once)
    assert await _jobs(api) == 3
    await _noted(api)
    assert (await _post(api, path=NATIVE, **once)).headers[REPLAYED] == "true"
    assert await _jobs(api) == 3


@pytest.mark.parametrize("value", ["never", "", "ONCE"])
async def test_a_wrong_header_is_refused_by_name(api: Api, value: str) -> None:
    answer = await _post(api, Longtake_Repeats=value)

    assert answer.status_code == 400
    assert "Longtake-Repeats must be once or allow" in answer.text
    assert await _jobs(api) == 0


async def test_a_deleted_job_is_not_made_again_by_a_repeat(api: Api, gone: Program) -> None:
    await gone.post()
    await _noted(api)
    (row,) = await api.fetch("SELECT id FROM job")
    await api.http.delete(f"{NATIVE}/{row['id']}")

    answer = await _post(api, **_retry(1))

    assert answer.status_code == 404
    assert await _jobs(api) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, {}),
        (PATH, {"Idempotency_Key": "order-1"}),
        (NATIVE, {"Longtake_Repeats": "once"}),
        (NATIVE, {"Idempotency_Key": "order-1"}),
    ],
)
async def test_a_repeat_is_answered_after_its_model_was_removed(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    first = await _post(api, path=path, **headers)
    await _noted(api)
    await api.fetch("UPDATE submission SET state = 'lost' RETURNING id")
    removed = RequestRefused("there is no such model", type="model_unavailable", param="model")
    for adapting in ("api.dialects.submitting.adapt", "tasks.choosing.Choice.of_model"):
        monkeypatch.setattr(adapting, _refuses(removed))

    again = await _post(api, path=path, **headers)

    assert again.json()["id"] == first.json()["id"]
    assert (again.status_code, again.headers[REPLAYED]) == (202, "true")
    other = await _post(api, path=path, Longtake_Repeats="allow")
    assert other.status_code >= 400


async def test_a_retry_that_is_refused_today_leaves_the_refusal_that_explains_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.submit()
    await _limit(api, at_a_time=1)
    assert (await _post(api, **_retry(0))).status_code == 429
    await _noted(api)
    removed = RequestRefused("the model is unknown", param="model")
    monkeypatch.setattr("api.dialects.submitting.adapt", _refuses(removed))

    assert (await _post(api, **_retry(1))).status_code == 400

    assert await _states(api) == ["refused"]


def _refuses(refusal: RequestRefused) -> Callable[..., Any]:
    def act(*_: object, **__: object) -> None:
        raise refusal

    return act


async def test_a_repeat_is_not_counted_by_a_limit(api: Api, gone: Program) -> None:
    await _limit(api, at_a_time=1)
    await gone.post()
    await _noted(api)

    assert (await _created(api)).headers[REPLAYED] == "true"
    assert (await _post(api)).status_code == 429


async def test_nothing_of_the_prompt_is_kept_in_clear(api: Api) -> None:
    await _created(api)
    (row,) = await api.fetch("SELECT submission::text AS text, response FROM submission")

    assert "fox" not in row["text"]
    assert b"fox" not in row["response"]
    assert api.front.engine.vault.open_json(row["response"])["prompt"] == BODY["prompt"]


@pytest.fixture(autouse=True)
async def _undisturbed(api: Api) -> AsyncIterator[None]:
    """What the application could not note is never silently dropped in these tests."""
    yield
    await _noted(api)
