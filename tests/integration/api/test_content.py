"""The videos: whole, in ranges, to their owner and to whoever has a good link."""

import random
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storage.base import video_key
from storage.links import sign_link
from storage.objects import WINDOW
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
#: More than one window of storage, so that it comes in pieces.
VIDEO = random.Random(7).randbytes(WINDOW + 12_345)
SIZE = len(VIDEO)
ETAG = f'"{sha256(VIDEO).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Stored:
    """A complete job: `path` is its content, `link` the signed address that it gives out."""

    id: str
    path: str
    link: str
    key: str


@pytest.fixture
async def stored(api: Api, tmp_path: Path) -> Stored:
    """A job of two videos, of which the second alone could be stored."""
    job = await api.submit(count=2)
    (row,) = await api.fetch(
        "SELECT output.id, job.created_at FROM output JOIN job ON job.id = job WHERE position = 1"
    )
    key = video_key(job["id"], row["id"], row["created_at"])
    file = tmp_path / "video.mp4"
    file.write_bytes(VIDEO)
    await api.front.engine.storage.put_file(key, file, content_type="video/mp4")
    await api.fetch(
        """
        UPDATE output SET state = CASE position WHEN 1 THEN 'stored' ELSE 'failed' END,
               key = %s, sha256 = %s, bytes = %s, content_type = 'video/mp4'
        """,
        *(key, sha256(VIDEO).hexdigest(), SIZE),
    )
    await api.fetch("UPDATE output SET key = NULL, sha256 = NULL WHERE position = 0")
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now()")
    path = f"/v1/video/generations/{job['id']}"
    link = (await api.http.get(path)).json()["video_url"]
    assert link.startswith(f"https://videos.test{path}/content/1?")
    parts = urlsplit(link)
    return Stored(id=job["id"], path=f"{path}/content", link=f"{parts.path}?{parts.query}", key=key)


async def test_the_owner_gets_the_whole_video(api: Api, stored: Stored) -> None:
    for path in (stored.path, f"{stored.path}/1"):
        answer = await api.http.get(path)

        assert answer.status_code == 200
        assert answer.content == VIDEO
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Content-Length"] == str(SIZE)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["ETag"] == ETAG
        assert stored.id in answer.headers["Content-Disposition"]


async def test_a_link_opens_without_a_key(api: Api, stored: Stored) -> None:
    del api.http.headers["Authorization"]

    answer = await api.http.get(stored.link)

    assert answer.status_code == 200
    assert answer.content == VIDEO


async def test_a_link_opens_what_it_was_signed_for_alone(api: Api, stored: Stored) -> None:
    other = await api.submit()
    del api.http.headers["Authorization"]
    query = urlsplit(stored.link).query
    keys = api.front.engine.vault.link_keys
    old = sign_link(keys, f"{stored.path}/1", expires=int(time.time()) - 1)

    for address in (
        f"{stored.path}?{query}",
        f"{stored.path}/0?{query}",
        f"{stored.path}/01?{query}",
        f"/v1/video/generations/{other['id']}/content/1?{query}",
        f"/v1/video/generations/{stored.id}?{query}",
        f"{stored.path}/1?{query[:-1]}",
        f"{stored.path}/1?{query.replace('expires=', 'expires=9')}",
        f"{stored.path}/1?{old}",
        f"{stored.path}/1",
    ):
        answer = await api.http.get(address)
        expected = 404 if "/01?" in address else 401
        assert answer.status_code == expected, address
        assert "error" in answer.json()


async def test_a_deleted_video_is_404_and_the_next_one_is_the_jobs(
    api: Api, stored: Stored
) -> None:
    await api.fetch(
        """
        UPDATE output SET state = 'stored', deleted_at = '2026-02-01T00:00:00Z' WHERE position = 0
        """
    )
    gone = await api.http.get(f"{stored.path}/0")
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "video_deleted"
    assert "2026-02-01" in gone.json()["error"]["message"]
    assert (await api.http.get(stored.path)).content == VIDEO

    await api.fetch("UPDATE output SET key = NULL, deleted_at = now() WHERE position = 1")
    for path in (stored.path, f"{stored.path}/1", stored.link):
        assert (await api.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes={WINDOW - 10}-{WINDOW + 10}", WINDOW - 10, WINDOW + 11),
        (f"bytes=5-{SIZE + 5}", 5, SIZE),
        (f"bytes=-{SIZE + 5}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("BYTES=7-7", 7, 8),
    ],
)
async def test_a_range_is_206_with_exactly_its_bytes(
    api: Api, stored: Stored, header: str, start: int, end: int
) -> None:
    answer = await api.http.get(stored.link, headers={"Range": header})

    assert answer.status_code == 206
    assert answer.content == VIDEO[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
async def test_a_range_past_the_end_is_416(api: Api, stored: Stored, header: str) -> None:
    answer = await api.http.get(stored.link, headers={"Range": header})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.json()["error"]["param"] == "Range"


@pytest.mark.parametrize(
    "header", ["bytes=9-5", "bytes=a-b", "bytes=-", "items=0-5", "bytes=0-1,4-5", "bytes=0x1-2", ""]
)
async def test_a_range_that_we_do_not_cut_gives_the_whole(
    api: Api, stored: Stored, header: str
) -> None:
    answer = await api.http.get(stored.link, headers={"Range": header})

    assert answer.status_code == 200
    assert answer.content == VIDEO


async def test_if_range_cuts_only_the_same_video(api: Api, stored: Stored) -> None:
    cut = {"Range": "bytes=0-9"}

    same = await api.http.get(stored.link, headers=cut | {"If-Range": ETAG})
    other = await api.http.get(stored.link, headers=cut | {"If-Range": '"other"'})
    weak = await api.http.get(stored.link, headers=cut | {"If-Range": f"W/{ETAG}"})

    assert (same.status_code, other.status_code, weak.status_code) == (206, 200, 200)


async def test_a_video_that_the_client_has_is_not_sent_again(api: Api, stored: Stored) -> None:
    for tags in (ETAG, f'"other", {ETAG}', f"W/{ETAG}", "*"):
        answer = await api.http.get(stored.link, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == ETAG
    answer = await api.http.get(stored.link, headers={"If-None-Match": '"other"'})
    assert answer.status_code == 200


async def test_head_says_what_get_would_and_sends_nothing(api: Api, stored: Stored) -> None:
    answer = await api.http.head(stored.link, headers={"Range": "bytes=0-9"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["ETag"] == ETAG


async def test_a_video_that_is_not_stored_is_404_in_our_shape(api: Api, stored: Stored) -> None:
    waiting = await api.submit()

    for path in (
        f"/v1/video/generations/{waiting['id']}/content",
        f"{stored.path}/0",
        f"{stored.path}/7",
    ):
        answer = await api.http.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "video_not_stored"


async def test_a_video_that_was_deleted_from_storage_is_404_not_500(
    api: Api, stored: Stored
) -> None:
    await api.front.engine.storage.delete(stored.key)

    answer = await api.http.get(stored.link)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "video_missing"
