"""Batches are followed over a socket: their counts in order, one end, and whoever comes back."""

from collections.abc import AsyncIterator

import httpx
import pytest

from models.state import JobState
from settings import Settings
from tasks.outcomes.finish import finish
from tests.integration.api.following import Listener, Live, live
from tests.integration.engine.batched import tally

pytestmark = pytest.mark.anyio

BATCHES = "/v1/batches"


@pytest.fixture(name="live")
async def _live(api_settings: Settings, anyio_backend: str) -> AsyncIterator[Live]:
    async with live(api_settings) as made:
        yield made


async def submit(live: Live, *, lines: int = 3) -> tuple[str, list[str]]:
    """A batch, and its jobs in their order."""
    answer = await live.http.post(BATCHES, json=[{"prompt": f"fox {n}"} for n in range(lines)])
    assert answer.status_code == 202, answer.text
    batch = answer.json()["id"]
    rows = await live.front.engine.database.fetch(
        "SELECT id FROM job WHERE batch_id = %s ORDER BY batch_line", (batch,)
    )
    return batch, [row["id"] for row in rows]


async def cancel(live: Live, *jobs: str) -> None:
    engine = live.front.engine
    async with engine.database.transaction() as connection:
        assert await finish(engine, connection, JobState.CANCELLED, jobs)


def counts(message: object) -> tuple[int, int, int]:
    found = message.data["counts"]  # type: ignore[attr-defined]
    return found["pending"], found["processing"], found["cancelled"]


async def follow(live: Live, batch: str, *, after: int | None = None) -> httpx.Response:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    request = live.http.build_request("GET", f"{BATCHES}/{batch}/events", headers=headers)
    return await live.http.send(request, stream=True)


async def test_counts_come_in_their_order_and_the_final_batch_is_last(live: Live) -> None:
    batch, jobs = await submit(live)
    listener = Listener(await follow(live, batch))

    first = await listener.next()
    await live.advance(jobs[0], JobState.SUBMITTING)
    started = await listener.next()
    await cancel(live, *jobs)
    ended = await listener.next()
    await tally(live.front.engine)
    final = await listener.next()

    assert first
    assert started
    assert ended
    assert final
    assert [each.event for each in (first, started, ended, final)] == [
        *("batch", "progress", "progress", "final")
    ]
    assert [counts(each) for each in (first, started, ended)] == [(3, 0, 0), (2, 1, 0), (0, 0, 3)]
    ids = [each.id for each in (first, started, ended, final)]
    assert ids == sorted({each for each in ids if each is not None})
    assert (final.data["status"], final.data["id"]) == ("failed", batch)
    assert await listener.next() is None


async def test_who_comes_back_gets_what_is_new_and_in_the_end_204(live: Live) -> None:
    batch, jobs = await submit(live)
    listener = Listener(await follow(live, batch))
    first = await listener.next()
    assert first is not None
    await listener.response.aclose()
    await cancel(live, jobs[0])

    again = Listener(await follow(live, batch, after=first.id))
    missed = await again.next()
    assert missed is not None
    assert (missed.event, counts(missed)) == ("progress", (2, 0, 1))
    await cancel(live, *jobs[1:])
    await tally(live.front.engine)
    *_, final = await again.rest()

    assert final.event == "final"
    assert (await follow(live, batch, after=final.id)).status_code == 204
    assert (await follow(live, batch, after=(final.id or 0) - 1)).status_code == 200


@pytest.mark.parametrize("after", ["99", "x", "-1"])
async def test_an_id_that_no_event_has_is_refused(live: Live, after: str) -> None:
    batch, _ = await submit(live)

    answer = await live.http.get(f"{BATCHES}/{batch}/events", headers={"Last-Event-ID": after})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Last-Event-ID"


async def test_a_batch_of_another_tenant_is_unknown(live: Live) -> None:
    batch, _ = await submit(live)

    others = await live.http.get(f"{BATCHES}/{batch}/events", headers=await live.new_key("other"))
    nobodys = await live.http.get(f"{BATCHES}/batch_nobody/events")

    assert (others.status_code, nobodys.status_code) == (404, 404)


async def test_a_stream_ends_with_its_key(live: Live) -> None:
    batch, _ = await submit(live)
    listener = Listener(await follow(live, batch))
    assert await listener.next()

    async with live.front.engine.database.transaction() as connection:
        await connection.execute("UPDATE api_key SET revoked_at = now()")

    assert await listener.next() is None
