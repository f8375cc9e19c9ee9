"""The page of doctor: for operators, findings in words, once at a time, and bounded."""

import asyncio
from collections.abc import Sequence

import pytest

from models.database import Connection
from models.failure import RequestRefused
from models.invariants import Violation
from models.keys import create_key
from tasks import doctor
from tests.integration.api.browsing import Browser, signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import told

pytestmark = pytest.mark.anyio
LOCKS = "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND classid <> 0"


async def operator(api: Api, **options: bool) -> Browser:
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    browser = await signed_in(api, "ops", is_admin=True, **options)
    await browser.open("/ui/doctor")
    return browser


async def test_what_contradicts_an_invariant_is_named_in_words(api: Api) -> None:
    job = (await api.submit())["id"]
    browser = await operator(api, is_read_only=True)

    healthy = await browser.send("/ui/doctor")
    await api.fetch("UPDATE job SET progress_percent = 100 WHERE id = %s", job)
    ill = await browser.send("/ui/doctor")

    assert healthy.status_code == ill.status_code == 200
    assert "Every invariant holds" in told(healthy.text)
    assert "1 thing contradicts what must hold" in " ".join(told(ill.text).split())
    assert "progress is 100 if and only if the job is complete" in ill.text
    assert f'/ui/jobs/{job}"' in ill.text


async def test_it_is_for_operators_and_looks_only_when_it_is_asked_to(api: Api) -> None:
    tenant = await signed_in(api)
    browser = await operator(api)

    assert (await tenant.get("/ui/doctor")).status_code == 403
    assert (await tenant.send("/ui/doctor")).status_code == 403
    assert (await browser.send("/ui/doctor", token="another")).status_code == 403
    assert "Look now" in (await browser.open("/ui/doctor")).text


async def test_two_never_look_at_once_and_the_lock_is_given_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> Sequence[Violation]:
        begun.set()
        await go_on.wait()
        return []

    monkeypatch.setattr(doctor, "violations", slow)
    browser = await operator(api)
    first = asyncio.create_task(doctor.examine_alone(api.front.engine))
    await asyncio.wait_for(begun.wait(), 10)

    second = await browser.send("/ui/doctor")
    go_on.set()
    await first
    third = await browser.send("/ui/doctor")

    assert second.status_code == 409
    assert "is looking already" in told(second.text)
    assert third.status_code == 200


async def test_a_look_that_takes_too_long_is_given_up_with_its_lock(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(connection: Connection) -> Sequence[Violation]:
        await asyncio.Event().wait()
        return []

    engine = api.front.engine
    with monkeypatch.context() as patched:
        patched.setattr(doctor, "violations", endless)
        with pytest.raises(RequestRefused, match="given up after 0 s"):
            await doctor.examine_alone(engine, within=0.2)

    assert (await doctor.examine_alone(engine)).violations == []
    (row,) = await api.fetch(LOCKS)
    assert row["held"] == 0
