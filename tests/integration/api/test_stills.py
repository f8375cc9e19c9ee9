"""A video's poster and sheet over the API, with a key."""

from pathlib import Path

import pytest

from models.keys import create_key
from tests.integration.api.conftest import Api
from tests.integration.api.stored import film, store_video

pytestmark = pytest.mark.anyio

JOBS = "/v1/video/generations"


async def stored(api: Api, content: bytes, folder: Path) -> str:
    job = str((await api.submit())["id"])
    await store_video(api, job, content, folder)
    return job


async def test_a_poster_and_a_sheet_are_jpegs_that_a_client_may_keep(
    api: Api, tmp_path: Path
) -> None:
    job = await stored(api, film(tmp_path), tmp_path)

    poster = await api.http.get(f"{JOBS}/{job}/poster/0")
    sheet = await api.http.get(f"{JOBS}/{job}/sheet/0")
    again = await api.http.get(
        f"{JOBS}/{job}/sheet/0", headers={"If-None-Match": sheet.headers["ETag"]}
    )

    for picture in (poster, sheet):
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
        assert picture.headers["cache-control"].startswith("private")
        assert picture.content.startswith(b"\xff\xd8")
    assert poster.content != sheet.content
    assert again.status_code == 304


async def test_stills_need_a_key_that_may_read_the_job(api: Api, tmp_path: Path) -> None:
    job = await stored(api, film(tmp_path), tmp_path)
    database = api.front.engine.database
    _, other = await database.run(lambda on: create_key(on, "globex"))
    _, admin = await database.run(lambda on: create_key(on, "globex", is_admin=True))
    keys = ["", f"Bearer {other}", f"Bearer {admin}"]

    found = [
        (await api.http.get(f"{JOBS}/{job}/poster/0", headers={"Authorization": key})).status_code
        for key in keys
    ]

    assert found == [401, 404, 200]


async def test_a_video_that_can_not_be_decoded_has_none(api: Api, tmp_path: Path) -> None:
    job = await stored(api, b"\0\0\0\x18ftypmp42" + b"nothing" * 40, tmp_path)

    answer = await api.http.get(f"{JOBS}/{job}/sheet/0")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_stills")


@pytest.mark.parametrize("index", ["1", "00", "-1", "x", "0.0"])
async def test_other_numbers_are_not_found(api: Api, tmp_path: Path, index: str) -> None:
    job = await stored(api, film(tmp_path), tmp_path)

    assert (await api.http.get(f"{JOBS}/{job}/poster/{index}")).status_code == 404
