"""Layer's open calls that are sent again: after their job's end, without their gate, at once."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from api.watching import Watcher
from tasks import history
from tests.integration.api.conftest import Api
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/layer/v3/video", "/v1/video/generations"
BODY = {"gateId": "shop", "data": {"prompt": "a serene ocean sunset"}}
REPLAYED = "idempotent-replayed"
ACCEPTED = "UPDATE attempt SET state = 'accepted', operation_id = 'op_1', sent_at = now()"
END = "UPDATE job SET state = 'complete', finished_at = now() RETURNING id"


class Calls:
    """Open calls of one body, which end with the test at the latest."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._tasks: list[asyncio.Task[httpx.Response]] = []

    async def begin(self, **headers: str) -> asyncio.Task[httpx.Response]:
        """Send one, and return when it has a job of its own or its answer."""
        before = await self.jobs()
        call = self.send(**headers)

        async def has_begun() -> bool:
            return call.done() or await self.jobs() > before

        await until(has_begun)
        return call

    def send(self, **headers: str) -> asyncio.Task[httpx.Response]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        call = asyncio.create_task(self.api.http.post(PATH, json=BODY, headers=named))
        self._tasks.append(call)
        return call

    async def jobs(self) -> int:
        return (await self.api.counts())["job"]

    async def newest(self) -> str:
        (row,) = await self.api.fetch("SELECT id FROM job ORDER BY id DESC LIMIT 1")
        job: str = row["id"]
        return job

    async def end(self) -> None:
        for call in self._tasks:
            call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def calls(api: Api) -> AsyncIterator[Calls]:
    engine = api.front.engine
    api.front.job_watcher = Watcher(partial(history.look, engine), every=0.01)
    gate = await api.http.post("/v1/gates", json={"name": "shop", "model": "runway-gen3"})
    assert gate.status_code == 201, gate.text
    calls = Calls(api)
    yield calls
    await calls.end()
    await _noted(api)


async def _noted(api: Api) -> None:
    await api.front.answers._ended.join()  # noqa: SLF001 - nobody else waits for it


async def _states(api: Api) -> list[str]:
    return [row["state"] for row in await api.fetch("SELECT state FROM submission ORDER BY at")]


@pytest.mark.parametrize("is_accepted", [False, True])
async def test_a_call_whose_client_read_that_its_job_was_cancelled_can_be_made_again(
    api: Api, calls: Calls, *, is_accepted: bool
) -> None:
    call = await calls.begin()
    if is_accepted:
        await api.fetch(f"{ACCEPTED} RETURNING id")
    await api.http.post(f"{NATIVE}/{await calls.newest()}/cancel")
    assert (await call).status_code == 500
    await _noted(api)
    assert await _states(api) == ["answered"]

    again = await calls.begin()

    assert not again.done()
    assert await calls.jobs() == 2


async def test_a_call_whose_client_read_that_its_job_was_deleted_can_be_made_again(
    api: Api, calls: Calls
) -> None:
    call = await calls.begin()
    await api.http.delete(f"{NATIVE}/{await calls.newest()}")
    assert (await call).status_code == 404
    await _noted(api)

    again = await calls.begin()

    assert not again.done()
    assert await calls.jobs() == 2


@pytest.mark.parametrize("key", [{}, {"Idempotency_Key": "order-1"}])
async def test_a_repeat_is_answered_after_its_gate_was_deleted(
    api: Api, calls: Calls, key: dict[str, str]
) -> None:
    call = await calls.begin(**key)
    job = await calls.newest()
    call.cancel()  # it hangs up
    await asyncio.gather(call, return_exceptions=True)
    await _noted(api)
    assert (await api.http.delete("/v1/gates/shop")).status_code == 200
    await api.fetch(END)

    again = await calls.send(**key)

    assert (again.status_code, again.headers[REPLAYED]) == (200, "true")
    assert again.json()["id"] == again.headers["X-Job-ID"] == job
    assert await calls.jobs() == 1


async def test_a_call_that_repeats_nothing_is_told_that_there_is_no_such_gate(
    api: Api, calls: Calls
) -> None:
    await api.http.delete("/v1/gates/shop")

    answer = await calls.send()

    assert answer.status_code == 404
    assert answer.json()["message"] == 'Gate with ID "shop" not found'


async def test_identical_calls_at_once_do_not_wait_for_each_other(
    api: Api, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        pass

    # Nobody says that the first is still being answered: whoever waits for it takes its job.
    monkeypatch.setattr(api.front.answers, "_look", never)
    for _ in range(3):
        calls.send()

    async def has_three() -> bool:
        return await calls.jobs() == 3

    await until(has_three)
