"""Server-sent events of jobs over a real socket: order, resumption, places, and how streams end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from psycopg import sql

from models.keys import revoke_key
from models.state import JobState
from settings import Settings
from stack.servers.postgres import EmbeddedPostgres
from tests.integration.api.following import PATH, Live, live
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
_J = JobState
LIFE = (_J.SUBMITTING, _J.PROCESSING, _J.STORING, _J.COMPLETE)
REPORTED = """
UPDATE job SET progress_percent = %s, progress_source = 'reported' WHERE id = %s RETURNING id
"""


@pytest.fixture(name="live")
async def _live(api_settings: Settings, anyio_backend: str) -> AsyncIterator[Live]:
    async with live(api_settings) as made:
        yield made


async def test_a_job_is_told_from_its_beginning_to_its_end(live: Live) -> None:
    job = await live.submit()
    async with live.following(job) as listener:
        headers = listener.response.headers
        first = await listener.next()
        now = (await live.http.get(f"{PATH}/{job}")).json()
        told: list[Any] = []
        for state in LIFE[:3]:
            await live.advance(job, state)
            told.append(await listener.next())
        await live.front.engine.database.fetch(REPORTED, (40, job))
        progress = await listener.next()
        await live.advance(job, _J.COMPLETE)
        last = await listener.next()
        end = await listener.next()

    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    ids = await live.ids(job)
    assert first
    assert first.event == "job"
    assert first.data == now
    assert [each.event for each in told] == ["status"] * 3
    assert [each.data["state"] for each in told] == list(LIFE[:3])
    assert [each.data["status"] for each in told] == ["processing"] * 3
    assert progress
    assert (progress.event, progress.id) == ("progress", None)
    assert progress.data == {
        "id": job,
        "status": "processing",
        "progress_percent": 40,
        "progress_source": "reported",
    }
    assert last
    assert last.event == "final"
    assert last.data == (await live.http.get(f"{PATH}/{job}")).json()
    assert end is None
    assert [first.id, *(each.id for each in told), last.id] == ids
    assert (await live.answer(job, headers={"Last-Event-ID": str(last.id)})).status_code == 204


async def test_whoever_comes_back_at_any_cut_gets_each_event_once(live: Live) -> None:
    """Listeners join at every moment of a job's life, having got any part of what was before."""
    job = await live.submit()
    async with AsyncExitStack() as stack:
        listeners = []
        for state in (None, *LIFE[:3]):
            if state:
                await live.advance(job, state)
            known = await live.ids(job)
            for cut in (None, 0, *known):
                listener = await stack.enter_async_context(live.following(job, after=cut))
                listeners.append((cut, known[-1], listener))
        await live.advance(job, _J.COMPLETE)
        ids = await live.ids(job)
        for cut, newest, listener in listeners:
            present, *told = await listener.rest()
            assert present.event == "job"
            assert present.id == (newest if cut is None else None)
            since = newest if cut is None else cut
            with_ids = [each for each in told if each.event != "progress"]
            assert [each.id for each in with_ids] == [each for each in ids if each > since]
            assert [each.event for each in with_ids][-1] == "final"

    for cut in (0, *ids[:-1]):
        async with live.following(job, after=cut) as listener:
            told = await listener.rest()
        assert [each.id for each in told] == [each for each in ids if each > cut]
        assert [each.event for each in told] == ["status"] * (len(told) - 1) + ["final"]
    async with live.following(job) as listener:
        assert [(each.event, each.id) for each in await listener.rest()] == [("final", ids[-1])]
    assert (await live.answer(job, headers={"Last-Event-ID": str(ids[-1])})).status_code == 204


async def test_a_job_whose_events_were_pruned_is_told_once(live: Live) -> None:
    job = await live.submit()
    await live.advance(job, _J.CANCELLED)
    (newest,) = (await live.ids(job))[-1:]
    await live.front.engine.database.fetch("DELETE FROM event")

    async with live.following(job) as listener:
        (final,) = await listener.rest()

    assert (final.event, final.id) == ("final", 0)
    for known in (final.id, newest):
        assert (await live.answer(job, headers={"Last-Event-ID": str(known)})).status_code == 204


async def test_fifty_listeners_cost_one_statement_a_look_and_none_once_they_left(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = 0
    execute = psycopg.AsyncConnection.execute

    async def counted(self: Any, *parameters: Any, **options: Any) -> Any:
        nonlocal statements
        statements += 1
        return await execute(self, *parameters, **options)

    jobs = [await live.submit() for _ in range(10)]
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(live.following(job)) for job in jobs for _ in range(5)
        ]
        for listener in listeners:
            assert await listener.next()
        asked = len(live.answered)
        await until(lambda: len(live.answered) > asked)
        monkeypatch.setattr(psycopg.AsyncConnection, "execute", counted)
        begun, statements = len(live.begun), 0
        await until(lambda: len(live.begun) >= begun + 5)
        assert statements in {len(live.begun) - begun, len(live.begun) - begun - 1}
        assert {len(each) for each in live.begun[-3:]} == {10}

    await until(lambda: live.front.streams.count == 0)
    await until(lambda: not _asks())
    statements = 0
    assert (await live.http.get("/healthz")).status_code == 200
    assert statements == 0


def _asks() -> bool:
    """Whether the watcher's loop is at work."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return "Watcher._ask" in names


async def test_a_client_that_hangs_up_leaves_nothing_behind(live: Live) -> None:
    job = await live.submit()
    before = len(asyncio.all_tasks())
    async with live.following(job) as listener:
        assert await listener.next()
        assert live.front.streams.count == 1

    await until(lambda: live.front.streams.count == 0)
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_others_jobs_and_unknown_ones_are_not_found(live: Live) -> None:
    job, deleted = await live.submit(), await live.submit()
    await live.http.delete(f"{PATH}/{deleted}")
    other = await live.new_key("globex")

    foreign = await live.answer(job, headers=other)
    unknown = await live.answer("nope")
    gone = await live.answer(deleted)
    nobody = await live.answer(job, headers={"Authorization": ""})

    assert [foreign.status_code, unknown.status_code, gone.status_code] == [404] * 3
    assert foreign.json()["error"]["code"] == unknown.json()["error"]["code"] == "not_found"
    assert gone.json()["error"]["code"] == "job_deleted"
    assert nobody.status_code == 401
    await until(lambda: live.front.streams.count == 0, within=30)


@pytest.mark.parametrize(
    "values", [["x"], ["-1"], ["1.5"], [""], ["9" * 19], ["1", "2"], ["999999999"], ["0x1"]]
)
async def test_an_id_that_is_not_ours_is_named(live: Live, values: list[str]) -> None:
    job = await live.submit()

    headers = [("Last-Event-ID", value) for value in values]
    refused = await live.answer(job, headers=[*live.http.headers.items(), *headers])

    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "Last-Event-ID"
    assert values[0] in error["message"]


async def test_only_get_and_head_are_allowed_and_head_leaves_no_stream_open(live: Live) -> None:
    job = await live.submit()

    refused = await live.http.post(f"{PATH}/{job}/events")
    assert refused.status_code == 405
    assert refused.headers["Allow"] == "GET, HEAD"
    begun = await live.http.head(f"{PATH}/{job}/events")
    assert (begun.status_code, begun.content) == (200, b"")
    assert begun.headers["Content-Type"].startswith("text/event-stream")
    await until(lambda: live.front.streams.count == 0, within=30)


async def test_a_deletion_ends_the_stream_without_a_word(live: Live) -> None:
    job = await live.submit()
    async with live.following(job) as listener:
        assert await listener.next()
        await live.http.delete(f"{PATH}/{job}")
        assert await listener.rest() == []


async def test_a_revoked_key_ends_its_own_streams_only(live: Live) -> None:
    job, other = await live.submit(), await live.new_key("acme")
    async with live.following(job, headers=other) as revoked, live.following(job) as listener:
        assert await revoked.next()
        assert await listener.next()
        (key,) = await live.front.engine.database.fetch("SELECT max(id) AS id FROM api_key")
        await live.front.engine.database.run(lambda each: revoke_key(each, key["id"]))
        assert await revoked.rest() == []
        await live.advance(job, _J.CANCELLED)
        assert [each.event for each in await listener.rest()] == ["final"]


async def test_places_are_limited_and_given_back(live: Live) -> None:
    live.set(most=2, most_of_a_tenant=1)
    job, other, third = await live.submit(), await live.new_key("b"), await live.new_key("c")
    theirs = (await live.http.post(PATH, json={"prompt": "a"}, headers=other)).json()["id"]
    async with live.following(job):
        of_the_tenant = await live.answer(job)
        async with live.following(theirs, headers=other):
            of_the_process = await live.answer("nope", headers=third)

    for refused, words in ((of_the_tenant, "the tenant has 1"), (of_the_process, "this process")):
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "10"
        assert refused.json()["error"]["code"] == "too_many_streams"
        assert words in refused.json()["error"]["message"]
    await until(lambda: live.front.streams.count == 0)
    async with live.following(job) as listener:
        assert await listener.next()


async def test_silence_is_broken_by_pings_and_a_stream_has_its_time(live: Live) -> None:
    live.set(ping_every=0.01, lives=0.5)
    job = await live.submit()
    async with live.following(job) as listener:
        first, ping = await listener.any(), await listener.any()
        assert await listener.rest() == []
    assert first
    assert ping
    assert ping.comment == "ping"
    await live.advance(job, _J.CANCELLED)
    async with live.following(job, after=first.id) as listener:
        assert [each.event for each in await listener.rest()] == ["final"]


async def test_a_process_that_is_told_to_stop_ends_its_streams(live: Live) -> None:
    job = await live.submit()
    async with live.following(job) as listener:
        first = await listener.next()
        live.stop()
        assert await listener.rest() == []  # or the server would wait for it
        refused = await live.answer(job)
    assert first
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "draining"


async def test_a_stream_outlives_an_absence_of_the_database(
    live: Live, postgres_server: EmbeddedPostgres
) -> None:
    live.set(ping_every=0.01)
    job = await live.submit()
    (row,) = await live.front.engine.database.fetch("SELECT current_database() AS name")
    name = row["name"]
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        async with live.following(job) as listener:
            assert await listener.next()
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )
            answered = len(live.answered)
            await until(lambda: len(live.begun) > answered)
            for _ in range(3):
                ping = await listener.any()
                assert ping
                assert ping.comment == "ping"
            assert len(live.answered) == answered
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
            await live.advance(job, _J.CANCELLED)
            assert [each.event for each in await listener.rest()] == ["final"]
