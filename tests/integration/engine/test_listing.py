"""Lists of jobs read a bounded number of rows, and together their pages show all that match."""

from datetime import UTC, datetime
from typing import Any

import pytest

from models.database import fetch_rows
from models.failure import RequestRefused
from models.request import VideoRequest
from tasks import listing
from tasks.deletion import delete
from tasks.engine import Engine
from tasks.intake import accept
from tasks.jobs import cancel
from tasks.listing import Filter, Listed, list_own
from tasks.repeats import Caller
from tests.integration.conftest import MakeEngine
from tests.integration.engine.batched import batch_of

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _walks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WALK", 3)


async def made(
    engine: Engine,
    number: int,
    *,
    app_id: str | None = None,
    prompt: str = "a quiet sea",
    key: str | None = None,
) -> list[str]:
    """Jobs, newest first."""
    request = VideoRequest.from_json({"prompt": prompt, "model": "gen4.5"})
    caller = Caller(app_id=app_id, idempotency_key=key)
    ids = [
        (await accept(engine, request, tenant="default", caller=caller)).job_id
        for _ in range(number)
    ]
    return sorted(ids, reverse=True)


async def followed(engine: Engine, wanted: Filter, *, limit: int = 2) -> tuple[list[str], int]:
    """The ids on all pages of a list, and the number of pages."""
    ids: list[str] = []
    after: str | None = None
    for pages in range(1, 50):
        page: Listed = await list_own(engine, wanted, limit=limit, after=after)
        ids += [job.id for job in page.jobs]
        after = page.jobs[-1].id if len(page.jobs) == limit else page.walked_to
        if after is None:
            return ids, pages
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_all_pages_together_show_what_matches(
    make_engine: MakeEngine, *, oldest_first: bool
) -> None:
    engine = make_engine()
    await made(engine, 4)
    wanted = await made(engine, 1, app_id="ours")
    await made(engine, 5)
    wanted += await made(engine, 1, app_id="ours")

    found, pages = await followed(
        engine, Filter(tenant="default", app_id="ours", oldest_first=oldest_first)
    )

    assert found == sorted(wanted, reverse=not oldest_first)
    assert pages > 1


async def test_a_page_that_matches_nothing_reads_a_bounded_number_of_jobs(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    ids = await made(engine, 7)
    page = await list_own(engine, Filter(tenant="default", model="none"), limit=2, after=None)
    assert (page.jobs, page.walked_to) == ([], ids[2])
    page = await list_own(engine, Filter(tenant="default", model="none"), limit=2, after=ids[5])
    assert (page.jobs, page.walked_to) == ([], None)


async def test_few_unfinished_or_failed_jobs_are_found_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine()
    oldest = (await made(engine, 1))[0]
    for job in await made(engine, 9):
        await cancel(engine, job, tenant="default")

    for status, expected in (("pending", [oldest]), ("processing", []), ("failed", [])):
        page = await list_own(engine, Filter(tenant="default", status=status), limit=2, after=None)
        assert [job.id for job in page.jobs] == expected
        assert (page.walked_to is None) == (status != "failed")  # those share an index
    for status in ("complete", "cancelled"):
        found, _ = await followed(engine, Filter(tenant="default", status=status))
        assert len(found) == (9 if status == "cancelled" else 0)


async def test_deleted_jobs_are_passed_over(make_engine: MakeEngine) -> None:
    engine = make_engine()
    ids = await made(engine, 6)
    for job in ids[:4]:
        await delete(engine, job, tenant="default")
    assert await followed(engine, Filter(tenant="default")) == (ids[4:], 3)


async def test_lines_of_a_batch_are_listed_by_their_numbers(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await made(engine, 4)
    batch = await batch_of(engine, 5)
    await made(engine, 4)
    found, _ = await followed(engine, Filter(tenant="default", batch_id=batch.id))
    assert found == list(reversed(batch.jobs))
    other, _ = await followed(engine, Filter(tenant="default", batch_id=batch.id, model="none"))
    assert other == []


async def test_jobs_are_listed_by_their_provider_and_their_time(make_engine: MakeEngine) -> None:
    engine = make_engine()
    ids = await made(engine, 6)
    sql = "UPDATE job SET created_at = '2026-01-01Z'::timestamptz + %s * '1 day'::interval"
    for days, job in enumerate(ids):
        await engine.database.fetch(f"{sql} WHERE id = %s", (days, job))
    elsewhere = """UPDATE job SET plan = plan || '{"provider": "elsewhere"}' WHERE id = %s"""
    await engine.database.fetch(elsewhere, (ids[2],))

    def day(number: int) -> datetime:
        return datetime(2026, 1, 1 + number, tzinfo=UTC)

    found, _ = await followed(engine, Filter(tenant="default", since=day(1), until=day(4)))
    assert found == ids[1:4]
    found, _ = await followed(engine, Filter(tenant="default", provider="elsewhere"))
    assert found == [ids[2]]
    found, _ = await followed(engine, Filter(tenant=None, provider="elsewhere", since=day(3)))
    assert found == []


async def found_by(engine: Engine, text: str, *, tenant: str | None = "default") -> list[str]:
    return (await followed(engine, Filter(tenant=tenant, text=text)))[0]


async def test_jobs_are_found_by_the_words_of_their_prompts(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (fox,) = await made(engine, 1, prompt="A red FOX, crossing fresh snow: 100% wild_life")
    (lynx,) = await made(
        engine, 1, prompt="Ein Fuchs \u00c4hnliches \u041b\u0418\u0421\u0410 in the snow \\o/"
    )
    await made(engine, 4)

    assert await found_by(engine, "snow") == [lynx, fox]
    assert await found_by(engine, "  snow   fOx ") == [fox]
    assert await found_by(engine, "\u00e4hnliches \u043b\u0438\u0441\u0430") == [lynx]
    assert await found_by(engine, "snow hare") == []
    # The special characters of patterns match only themselves.
    assert await found_by(engine, "f.x") == []
    assert await found_by(engine, "(?i)") == []
    assert await found_by(engine, "100%") == [fox]
    assert await found_by(engine, "d_l") == [fox]
    assert await found_by(engine, "\\o/") == [lynx]
    assert await found_by(engine, "r%f") == []
    assert await found_by(engine, "s_ow") == []


async def test_a_rare_text_reads_a_bounded_number_of_jobs(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (rare,) = await made(engine, 1, prompt="a rare bird")
    ids = await made(engine, 5)

    page = await list_own(engine, Filter(tenant="default", text="bird"), limit=2, after=None)

    assert (page.jobs, page.walked_to) == ([], ids[2])
    assert await found_by(engine, "bird") == [rare]


async def test_a_text_is_looked_for_in_a_bounded_number_of_bytes(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WALK", 100)
    monkeypatch.setattr(listing, "MOST_BYTES", 3 * len("a long way"))
    engine = make_engine()
    (rare,) = await made(engine, 1, prompt="a rare bird")
    ids = await made(engine, 5, prompt="a long way")

    for oldest_first, expected in ((False, ids[2]), (True, ids[-2])):
        wanted = Filter(tenant="default", text="hare", oldest_first=oldest_first)
        page = await list_own(engine, wanted, limit=2, after=None)
        assert (page.jobs, page.walked_to) == ([], expected)
    assert await found_by(engine, "bird") == [rare]
    assert await found_by(engine, "hare") == []


@pytest.mark.parametrize("status", [None, "pending"])
async def test_what_happens_while_a_page_is_read_moves_none_of_its_jobs(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, *, status: str | None
) -> None:
    # Given a job that is the last of a page that is read, or the one behind it
    engine = make_engine()
    await made(engine, 2)
    rare = await made(engine, 1, prompt="a rare bird")
    newest = await made(engine, 2 if status is None else 3)
    pages = 0

    async def read_meanwhile(*given: Any) -> list[Any]:
        nonlocal pages
        rows, pages = await fetch_rows(*given), pages + 1
        if pages == 1 and status is None:
            await made(engine, 1)
        elif pages == 1:
            for job in newest[:2]:
                await cancel(engine, job, tenant="default")
        return rows

    # When a job is new, or two are not pending any more, before the page is known to end there
    monkeypatch.setattr(listing, "fetch_rows", read_meanwhile)
    found, _ = await followed(engine, Filter(tenant="default", text="bird", status=status))

    # Then the pages show it once
    assert found == rare


async def test_an_id_or_an_idempotency_key_finds_its_job_however_old(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    (old,) = await made(engine, 1, key="order-7")
    await made(engine, 9, prompt=f"about {old} and order-7")

    for text in (old, "order-7"):
        page = await list_own(engine, Filter(tenant="default", text=text), limit=2, after=None)
        assert ([job.id for job in page.jobs], page.walked_to) == ([old], None)
    page = await list_own(engine, Filter(tenant=None, text=old), limit=2, after=None)
    assert [job.id for job in page.jobs] == [old]
    assert await found_by(engine, old, tenant="another") == []
    elsewhere = Filter(tenant="default", text=old, status="complete")
    assert (await list_own(engine, elsewhere, limit=2, after=None)).jobs == []


async def test_nothing_is_found_of_a_deleted_job(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (gone,) = await made(engine, 1, prompt="a secret fox", key="order-8")
    await delete(engine, gone, tenant="default")

    for text in ("secret", gone, "order-8"):
        assert await found_by(engine, text) == []


async def test_the_key_of_a_deleted_job_hides_no_words_of_others(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (gone,) = await made(engine, 1, key="fox")
    await delete(engine, gone, tenant="default")
    other = await made(engine, 1, prompt="a fox in fresh snow")

    assert await found_by(engine, "fox") == other


@pytest.mark.parametrize("text", ["", "   ", " ".join("abcdefghijk")])
async def test_a_text_has_one_to_ten_words(make_engine: MakeEngine, text: str) -> None:
    with pytest.raises(RequestRefused, match="text must have 1 to 10 words"):
        await found_by(make_engine(), text)
