"""Limits of keys and tenants: exact whoever asks, how many at once and wherever."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from api.app import create_app
from models.database import Connection
from models.limits import hold, set_limits
from models.rows.limits import Holder
from models.state import JobState
from settings import Settings
from tasks.letters import Letter, take_in
from tasks.outcomes.finish import finish
from tests.integration.api.conftest import Api, Hints
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
FOX = {"prompt": "a fox in fresh snow"}


@pytest.fixture
async def both(
    api: Api, api_settings: Settings, anyio_backend: str
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of two APIs that share nothing but the database, with one key."""
    clients = [api.http]
    async with AsyncExitStack() as stack:
        other = create_app(api_settings, hinter=Hints)
        await stack.enter_async_context(other.router.lifespan_context(other))
        transport = httpx.ASGITransport(other, raise_app_exceptions=False)
        client = httpx.AsyncClient(
            transport=transport, base_url="http://other.test", headers=api.http.headers
        )
        clients.append(await stack.enter_async_context(client))
        yield clients


async def limit(api: Api, holder: Holder = Holder.KEY, **limits: Any) -> None:
    """Limit the API's key, or its tenant."""
    (key,) = await api.fetch("SELECT id FROM api_key WHERE tenant = 'acme'")
    id_ = key["id"] if holder is Holder.KEY else "acme"
    tier = limits.pop("tier", None)
    await api.front.engine.database.run(
        lambda c: set_limits(c, holder, id_, tier=tier, changes=limits)
    )


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post(PATH, json=FOX, headers=headers)


async def end(api: Api, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(api.front.engine, connection, JobState.CANCELLED, [job])

    await api.front.engine.database.run(work)


@pytest.mark.parametrize("holder", Holder)
@pytest.mark.parametrize("name", ["concurrent", "per_minute", "per_day"])
async def test_of_32_at_once_over_two_apis_exactly_5_are_accepted(
    api: Api, both: list[httpx.AsyncClient], holder: Holder, name: str
) -> None:
    await limit(api, holder, **{name: 5})

    answers = await asyncio.gather(*(ask(both[number % 2]) for number in range(32)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] * 5 + [429] * 27
    assert (await api.counts())["job"] == 5
    left = [int(one.headers["X-RateLimit-Remaining"]) for one in answers if one.is_success]
    assert sorted(left) == [0, 1, 2, 3, 4]


async def test_a_refusal_says_which_limit_and_when_to_come_again(api: Api) -> None:
    await limit(api, tier="free")
    await ask(api.http)

    answer = await ask(api.http)

    error = answer.json()["error"]
    assert answer.status_code == 429
    assert (error["type"], error["code"]) == ("rate_limited", "concurrent_limit")
    assert "has 1 unfinished of 1 jobs allowed at a time" in error["message"]
    assert int(answer.headers["Retry-After"]) == 5
    assert answer.headers["X-RateLimit-Limit"] == "1"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert 0 < int(answer.headers["X-RateLimit-Reset"]) - time.time() < 7


@pytest.mark.parametrize("holder", Holder)
@pytest.mark.parametrize("name", ["per_minute", "per_day"])
async def test_first_limits_count_what_was_submitted_before(
    api: Api, holder: Holder, name: str
) -> None:
    for _ in range(4):
        await ask(api.http)
    # Given that one of them was made long ago, and one with no key
    ids = [row["id"] for row in await api.fetch("SELECT id FROM job ORDER BY id")]
    await api.fetch("UPDATE job SET created_at = now() - interval '25 h' WHERE id = %s", ids[0])
    await api.fetch("UPDATE job SET api_key = NULL WHERE id = %s", ids[1])

    await limit(api, holder, **{name: 4})

    used = {Holder.TENANT: 3, Holder.KEY: 2}[holder]
    answers = [await ask(api.http) for _ in range(5 - used)]
    assert [one.status_code for one in answers] == [*[202] * (4 - used), 429]
    assert "submitted 4 jobs" in answers[-1].json()["error"]["message"]


async def test_first_limits_count_a_submission_that_saw_none(api: Api) -> None:
    """They wait for its transaction."""
    database = api.front.engine.database
    async with database.transaction() as connection:
        await hold(connection, tenant="acme", api_key=None)
        setting = asyncio.create_task(limit(api, Holder.TENANT, per_day=1))

        async def is_waiting() -> bool:
            assert not setting.done()
            return bool(
                await api.fetch(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND datname = current_database()"
                )
            )

        await until(is_waiting)
    await setting


async def test_a_day_is_over_at_midnight_by_the_databases_clock(api: Api) -> None:
    await limit(api, per_day=1)
    await ask(api.http)
    full = await ask(api.http)
    (clock,) = await api.fetch("SELECT extract(epoch FROM now())::float8 AS now")
    reset = int(full.headers["X-RateLimit-Reset"])
    assert (full.status_code, reset % 86_400) == (429, 0)
    assert abs(int(full.headers["Retry-After"]) - (reset - clock["now"])) < 5

    # When it was yesterday that all were used
    await api.fetch("UPDATE rate_limit SET day = (now() AT TIME ZONE 'utc')::date - 1")

    assert (await ask(api.http)).status_code == 202
    assert (await ask(api.http)).status_code == 429


async def test_a_minute_is_over_after_a_minute(api: Api) -> None:
    await limit(api, per_minute=1)
    await ask(api.http)
    full = await ask(api.http)
    assert full.status_code == 429
    assert 50 < int(full.headers["Retry-After"]) <= 60

    await api.fetch("UPDATE rate_limit SET minute_at = minute_at - interval '60 s'")

    assert (await ask(api.http)).status_code == 202


async def test_a_job_that_ends_frees_one_place_and_no_job_of_the_day(api: Api) -> None:
    await limit(api, concurrent=2, per_day=3)
    first = (await ask(api.http)).json()["id"]
    await ask(api.http)
    assert (await ask(api.http)).json()["error"]["code"] == "concurrent_limit"

    await end(api, first)

    assert (await ask(api.http)).status_code == 202
    await api.http.delete(f"{PATH}/{first}")
    assert (await ask(api.http)).json()["error"]["code"] == "per_day_limit"


async def test_a_place_is_free_with_the_commit_that_ends_the_job_and_not_before(api: Api) -> None:
    await limit(api, concurrent=1)
    job = (await ask(api.http)).json()["id"]

    async with api.front.engine.database.transaction() as connection:
        await finish(api.front.engine, connection, JobState.CANCELLED, [job])
        assert (await ask(api.http)).status_code == 429

    assert (await ask(api.http)).status_code == 202


async def test_a_repeat_counts_once_and_is_answered_at_the_limit(api: Api) -> None:
    await limit(api, per_day=2, concurrent=2)
    first = await ask(api.http, **{"Idempotency-Key": "a"})
    again = await ask(api.http, **{"Idempotency-Key": "a"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert "X-RateLimit-Limit" not in again.headers
    assert (await ask(api.http)).status_code == 202

    at_limit = await ask(api.http, **{"Idempotency-Key": "a"})
    assert (at_limit.status_code, at_limit.json()) == (202, first.json())
    assert (await ask(api.http)).status_code == 429


async def test_a_request_that_is_refused_for_another_reason_does_not_count(api: Api) -> None:
    await limit(api, per_day=1)
    for body in ({"prompt": " "}, FOX | {"image": {"job_id": "job_nobodys"}}):
        assert (await api.http.post(PATH, json=body)).status_code == 400
    assert (await ask(api.http)).status_code == 202


async def test_keys_have_limits_of_their_own_and_share_their_tenants(api: Api) -> None:
    other = {"Authorization": f"Bearer {await api.new_key('globex')}"}
    await limit(api, per_day=1)
    assert (await ask(api.http)).status_code == 202
    assert (await ask(api.http)).status_code == 429
    assert (await ask(api.http, **other)).status_code == 202

    second = {"Authorization": f"Bearer {await api.new_key('acme')}"}
    unlimited = await ask(api.http, **second)
    assert unlimited.status_code == 202
    assert "X-RateLimit-Limit" not in unlimited.headers
    await api.front.engine.database.run(
        lambda c: set_limits(c, Holder.TENANT, "acme", changes={"concurrent": 3})
    )
    answer = await ask(api.http, **second)
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (202, "0")
    assert (await ask(api.http, **second)).status_code == 429


async def test_over_the_broker_the_tenants_limit_holds_and_a_repeat_is_no_dead_letter(
    api: Api,
) -> None:
    await limit(api, Holder.TENANT, concurrent=1)
    letter = [
        Letter(task_id=name, args=(), kwargs={"request": FOX, "tenant": "acme"}) for name in "ab"
    ]
    engine = api.front.engine

    first = await take_in(engine, letter[0])
    assert first is not None
    assert await take_in(engine, letter[1]) is None
    again = await take_in(engine, letter[0])

    assert again is not None
    assert (again.id, again.is_repeat) == (first.id, True)
    rows = await api.fetch("SELECT task_id, code FROM intake_failure")
    assert rows == [{"task_id": "b", "code": "concurrent_limit"}]
