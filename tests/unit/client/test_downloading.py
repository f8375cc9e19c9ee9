"""Downloads: checked, resumed, and never a wrong file under the right name."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

import longtake
from tests.unit.client.conftest import Api, Handler, Pieces, job, refused, told

VIDEO = bytes(range(256)) * 40
HASH = sha256(VIDEO).hexdigest()
PATH = "/v1/video/generations/job_vid_1/content/1"


def made(**fields: Any) -> longtake.Job:
    stored = {"index": 1, "status": "stored", "sha256": HASH, "bytes": len(VIDEO)}
    outputs = [{"index": 0, "status": "failed"}, stored | fields]
    return longtake.Job.of(job("complete", outputs=outputs))


def whole(*pieces: bytes | Exception) -> Handler:
    return lambda _: httpx.Response(200, stream=Pieces(*pieces))


def ranged(request: httpx.Request) -> httpx.Response:
    """As our API answers: a range if it is asked for of what it still is."""
    wanted = request.headers.get("Range")
    if wanted is None or request.headers["If-Range"] != f'"{HASH}"':
        return httpx.Response(200, stream=Pieces(VIDEO))
    begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if begin >= len(VIDEO):
        return refused(416)(request)
    headers = {"Content-Range": f"bytes {begin}-{len(VIDEO) - 1}/{len(VIDEO)}"}
    return httpx.Response(206, headers=headers, stream=Pieces(VIDEO[begin:]))


def ranges(api: Api) -> Sequence[str | None]:
    return [request.headers.get("Range") for request in api.asked]


def test_a_video_is_downloaded_and_nothing_is_left_beside_it(api: Api, tmp_path: Path) -> None:
    api.answers = [whole(VIDEO[:5000], VIDEO[5000:])]
    progress: list[tuple[int, int | None]] = []

    path = api.client().download(
        made(), tmp_path / "fox.mp4", on_progress=lambda *told: progress.append(told)
    )

    assert path.read_bytes() == VIDEO
    assert list(tmp_path.iterdir()) == [path]
    assert progress == [(5000, len(VIDEO)), (len(VIDEO), len(VIDEO))]
    assert api.asked[0].url.path == PATH


def test_a_folder_is_enough_and_so_is_an_id(api: Api, tmp_path: Path) -> None:
    api.answers = [told(made().raw), ranged]

    path = api.client().download("job_vid_1", tmp_path)

    assert path == tmp_path / "job_vid_1-1.mp4"
    assert path.read_bytes() == VIDEO


def test_a_broken_download_goes_on_where_it_ended(api: Api, tmp_path: Path) -> None:
    api.answers = [whole(VIDEO[:3000], httpx.ReadError("reset")), refused(503), ranged]

    path = api.client().download(made(), tmp_path / "fox.mp4")

    assert path.read_bytes() == VIDEO
    assert ranges(api) == [None, "bytes=3000-", "bytes=3000-"]
    assert api.asked[1].headers["If-Range"] == f'"{HASH}"'


def test_another_process_goes_on_where_one_ended(api: Api, tmp_path: Path) -> None:
    api.answers = [whole(VIDEO[:3000], httpx.ReadError("reset")), httpx.ConnectError("refused")]
    with pytest.raises(longtake.ConnectionFailed):
        api.client().download(made(), tmp_path / "fox.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["fox.mp4.part"]

    api.answers = [ranged]
    path = api.client().download(made(), tmp_path / "fox.mp4")

    assert path.read_bytes() == VIDEO
    assert ranges(api)[-1] == "bytes=3000-"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "left", [b"wrong" * 100, b"x" * len(VIDEO), b"x" * (len(VIDEO) + 7)], ids=len
)
def test_a_wrong_part_is_replaced(api: Api, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "fox.mp4.part").write_bytes(left)
    api.answers = [ranged]

    path = api.client().download(made(), tmp_path / "fox.mp4")

    assert path.read_bytes() == VIDEO
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_part_needs_no_bytes(api: Api, tmp_path: Path) -> None:
    (tmp_path / "fox.mp4.part").write_bytes(VIDEO)

    path = api.client().download(made(), tmp_path / "fox.mp4")

    assert path.read_bytes() == VIDEO
    assert api.asked == []


def test_a_server_without_ranges_sends_all_of_it_again(api: Api, tmp_path: Path) -> None:
    (tmp_path / "fox.mp4.part").write_bytes(VIDEO[:3000])
    api.answers = [whole(VIDEO)]

    assert api.client().download(made(), tmp_path / "fox.mp4").read_bytes() == VIDEO


def test_another_range_than_asked_for_is_not_written(api: Api, tmp_path: Path) -> None:
    (tmp_path / "fox.mp4.part").write_bytes(VIDEO[:3000])
    wrong = {"Content-Range": f"bytes 2000-{len(VIDEO) - 1}/{len(VIDEO)}"}
    api.answers = [httpx.Response(206, headers=wrong, stream=Pieces(VIDEO[2000:]))]

    with pytest.raises(longtake.UnreadableAnswer):
        api.client().download(made(), tmp_path / "fox.mp4")


def test_a_wrong_video_is_refused_and_the_old_file_stays(api: Api, tmp_path: Path) -> None:
    (tmp_path / "fox.mp4").write_bytes(b"older")
    api.answers = [whole(VIDEO[:-1] + b"x")]

    with pytest.raises(longtake.DownloadCorrupt, match=HASH):
        api.client().download(made(), tmp_path / "fox.mp4")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_what_is_there_already_is_not_asked_for(api: Api, tmp_path: Path) -> None:
    (tmp_path / "fox.mp4").write_bytes(VIDEO)

    api.client().download(made(), tmp_path / "fox.mp4")

    assert api.asked == []


def test_a_job_without_a_video_says_so(api: Api, tmp_path: Path) -> None:
    client = api.client()

    with pytest.raises(longtake.NoVideo, match="pending"):
        client.download(longtake.Job.of(job()), tmp_path)
    with pytest.raises(longtake.NoVideo, match="index 0"):
        client.download(made(), tmp_path, index=0)


def test_generate_downloads_what_it_made(api: Api, tmp_path: Path) -> None:
    api.answers = [told(job(), 202), told(made().raw), whole(VIDEO)]

    api.client().generate("a fox", tmp_path / "fox.mp4")

    assert (tmp_path / "fox.mp4").read_bytes() == VIDEO


def test_generate_pays_for_nothing_that_it_could_not_write(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "no such folder"
    api.answers = [told(job(), 202), told(made().raw), whole(VIDEO)]

    with pytest.raises(FileNotFoundError, match=re.escape(f"'{folder}'")):
        api.client().generate("a fox", folder / "fox.mp4")

    assert not api.asked
    # And looking leaves nothing behind, in the folder where a video could be written
    api.client().generate("a fox", tmp_path / "fox.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["fox.mp4"]
