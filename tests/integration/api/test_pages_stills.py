"""A job's page shows its video with a poster and a sheet of frames, if they can be made."""

from pathlib import Path

import pytest

from storage.base import stills_key
from tests.integration.api.browsing import Browser, new_browser, signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.stored import film, store_video

pytestmark = pytest.mark.anyio


async def stored(api: Api, content: bytes, folder: Path) -> str:
    job = str((await api.submit())["id"])
    await store_video(api, job, content, folder)
    return job


async def statuses(browser: Browser, job: str) -> list[int]:
    paths = [f"/ui/jobs/{job}/videos/0/{kind}" for kind in ("poster", "sheet")]
    return [(await browser.get(path)).status_code for path in paths]


async def test_a_player_has_a_poster_and_a_sheet_below_it(api: Api, tmp_path: Path) -> None:
    job = await stored(api, film(tmp_path), tmp_path)
    browser = await signed_in(api)

    page = await browser.open(f"/ui/jobs/{job}")
    poster = await browser.get(f"/ui/jobs/{job}/videos/0/poster")
    sheet = await browser.get(f"/ui/jobs/{job}/videos/0/sheet")
    again = await browser.http.get(
        f"/ui/jobs/{job}/videos/0/sheet", headers={"If-None-Match": sheet.headers["ETag"]}
    )

    assert f'poster="/ui/jobs/{job}/videos/0/poster"' in page.text
    assert f'src="/ui/jobs/{job}/videos/0/sheet"' in page.text
    for picture in (poster, sheet):
        assert picture.status_code == 200
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.headers["cache-control"].startswith("private")
        assert picture.headers["x-content-type-options"] == "nosniff"
        assert picture.content.startswith(b"\xff\xd8")
    assert poster.content != sheet.content
    assert again.status_code == 304


async def test_a_video_that_can_not_be_decoded_is_shown_without(api: Api, tmp_path: Path) -> None:
    job = await stored(api, b"\0\0\0\x18ftypmp42" + b"nothing" * 40, tmp_path)
    browser = await signed_in(api)

    assert await statuses(browser, job) == [404, 404]

    page = await browser.open(f"/ui/jobs/{job}")
    assert "<video" in page.text
    assert "poster=" not in page.text
    assert "/sheet" not in page.text


async def test_stills_are_shown_only_to_those_who_may_see_the_video(
    api: Api, tmp_path: Path
) -> None:
    job = await stored(api, film(tmp_path), tmp_path)
    await api.fetch("INSERT INTO tenant (id) VALUES ('globex')")

    assert await statuses(new_browser(api), job) == [401, 401]
    assert await statuses(await signed_in(api, tenant="globex"), job) == [404, 404]
    assert await statuses(await signed_in(api, tenant="globex", is_admin=True), job) == [200, 200]


async def test_other_numbers_and_deleted_jobs_have_no_stills(api: Api, tmp_path: Path) -> None:
    job = await stored(api, film(tmp_path), tmp_path)
    browser = await signed_in(api)
    assert await statuses(browser, job) == [200, 200]

    for position in ("1", "00", "-1", "x"):
        answer = await browser.get(f"/ui/jobs/{job}/videos/{position}/poster")
        assert answer.status_code == 404, position
    await browser.open(f"/ui/jobs/{job}")
    await browser.send(f"/ui/jobs/{job}/delete")
    assert await statuses(browser, job) == [404, 404]


@pytest.mark.parametrize("gone", [["poster"], ["sheet"], ["poster", "sheet"]])
async def test_stills_that_are_gone_from_the_storage_are_made_again(
    api: Api, tmp_path: Path, gone: list[str]
) -> None:
    job = await stored(api, film(tmp_path), tmp_path)
    browser = await signed_in(api)
    assert await statuses(browser, job) == [200, 200]
    (row,) = await api.fetch("SELECT key FROM output WHERE job = %s", job)
    for kind in gone:
        await api.front.engine.storage.delete(stills_key(row["key"], kind))

    assert await statuses(browser, job) == [200, 200]

    assert await api.fetch("SELECT key FROM removal") == []
    (row,) = await api.fetch("SELECT stills_bytes FROM output WHERE job = %s", job)
    assert row["stills_bytes"] > 0
