"""The one stream of a tab: it says when its page has changed, and ends with its session."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from api.watching import Watcher
from models.page_sessions import Session, create_link, end_session, open_session
from models.state import JobState
from settings import Settings
from tasks import glances
from tests.integration.api.following import Listener, Live, live

pytestmark = pytest.mark.anyio


@pytest.fixture(name="live")
async def _live(api_settings: Settings, anyio_backend: str) -> AsyncIterator[Live]:
    async with live(api_settings) as made:
        look = partial(glances.look, made.front.engine)
        made.front.page_watcher = Watcher(look, every=0.01)
        yield made


async def signed_in(live: Live, tenant: str = "acme") -> tuple[Session, dict[str, str]]:
    """A session of the tenant, and the header of its cookie."""
    run, cookie = live.front.engine.database.run, secrets.token_urlsafe(32)
    link = await run(lambda connection: create_link(connection, tenant))
    session = await run(lambda connection: open_session(connection, link, cookie))
    assert session is not None
    return session, {"Cookie": f"longtake_ui={cookie}", "Authorization": ""}


@asynccontextmanager
async def listening(live: Live, headers: dict[str, str], **query: str) -> AsyncIterator[Listener]:
    async with live.http.stream("GET", "/ui/live", params=query, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Listener(response)


async def test_a_page_hears_of_each_change_of_its_job_and_nothing_of_others(live: Live) -> None:
    job, other = await live.submit(), await live.submit()
    _, headers = await signed_in(live)
    mark = await _mark(live, headers, job)

    async with listening(live, headers, job=job, mark=mark) as listener:
        await live.advance(other, JobState.SUBMITTING)
        await live.advance(job, JobState.SUBMITTING)
        heard = await listener.next()
        assert heard is not None
        assert (heard.event, heard.data) == ("changed", {})
        present = await _mark(live, headers, job)
    # A tab that comes back with what its page was drawn from hears at once that it missed some.
    async with listening(live, headers, job=job, mark=mark) as listener:
        assert await listener.next() is not None
    assert present != mark
    await live.advance(other, JobState.PROCESSING)
    assert await _mark(live, headers, job) == present


async def _mark(live: Live, headers: dict[str, str], job: str) -> str:
    page = await live.http.get(f"/ui/jobs/{job}", headers=headers)
    assert page.status_code == 200
    return page.text.partition("mark=")[2].partition('"')[0]


async def test_a_list_hears_of_every_job(live: Live) -> None:
    _, headers = await signed_in(live)
    page = await live.http.get("/ui/jobs", headers=headers)
    mark = page.text.partition("mark=")[2].partition('"')[0]

    async with listening(live, headers, mark=mark) as listener:
        await live.submit()
        assert await listener.next() is not None


async def test_a_stream_ends_with_its_session_and_shows_nobody_anothers_job(live: Live) -> None:
    job = await live.submit()
    session, headers = await signed_in(live)
    await live.new_key("globex")
    _, other = await signed_in(live, "globex")

    async with listening(live, other, job=job) as listener, asyncio.timeout(20):
        assert len(await listener.rest()) == 1
    mark = await _mark(live, headers, job)
    async with listening(live, headers, job=job, mark=mark) as listener, asyncio.timeout(20):
        await live.front.engine.database.run(lambda connection: end_session(connection, session.id))
        assert len(await listener.rest()) == 1
    assert (await live.http.get("/ui/live", headers=headers)).status_code == 401
    assert (await live.http.get("/ui/live?x=1", headers=other)).status_code == 400
