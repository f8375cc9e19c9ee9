"""The video store: a local folder for real, and a bucket over a real socket."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from traceback import format_exception
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.base import NotStored, StorageFull, Unavailable
from storage.objects import WINDOW, ObjectStorage

KEY = "videos/2026/11/job_1/out_1.mp4"
#: Three windows to read, and more than the 5 MiB up to which a bucket takes an object in one part.
CONTENT = os.urandom(3 * WINDOW - 4321)


class Bucket(BaseHTTPRequestHandler):
    """The little of S3 that one object needs: put (also in parts), ranged get, head and delete."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[bytes, str]]
    parts: dict[int, bytes]
    refuse: bool

    def do_PUT(self) -> None:
        body = self._body()
        if self.refuse:
            self._answer(403)
        elif "partNumber" in self._query:
            number = int(self._query["partNumber"])
            self.parts[number] = body
            self._answer(200, etag=f'"{number}"')
        else:
            self.objects[self._name] = (body, self.headers["content-type"])
            self._answer(200, etag='"1"')

    def do_POST(self) -> None:
        body = self._body()
        if "uploads" in self._query:
            self.objects[self._name] = (b"", self.headers["content-type"])
            self._answer(200, b"<R><UploadId>up_1</UploadId></R>")
        elif "uploadId" in self._query:
            whole = b"".join(self.parts[number] for number in sorted(self.parts))
            self.objects[self._name] = (whole, self.objects[self._name][1])
            self._answer(200, b"<R><ETag>1</ETag></R>")
        else:
            (key,) = re.findall(r"<Key>.*?</Key>", body.decode())
            self.objects.pop(f"{self._name}/{key[5:-6]}", None)
            self._answer(200, f"<R><Deleted>{key}</Deleted></R>".encode())

    def do_HEAD(self) -> None:
        body, _ = self.objects.get(self._name, (None, ""))
        self._answer(404 if body is None else 200, size=len(body or b""), etag='"1"')

    def do_GET(self) -> None:
        body, _ = self.objects[self._name]
        first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
        piece = body[first : last + 1]
        where = f"bytes {first}-{first + len(piece) - 1}/{len(body)}"
        self._answer(206, piece, where=where, etag='"1"')

    @property
    def _name(self) -> str:
        return urlsplit(self.path).path

    @property
    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"] or 0))

    def _answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        size: int | None = None,
        etag: str = "",
        where: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body) if size is None else size))
        self.send_header("last-modified", "Sat, 21 Nov 2026 03:00:00 GMT")
        self.send_header("etag", etag)
        self.send_header("content-range", where)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


@contextmanager
def serving(handler: type[Bucket]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    class Own(Bucket):
        objects: dict[str, tuple[bytes, str]] = {}  # noqa: RUF012 - one test's own
        parts: dict[int, bytes] = {}  # noqa: RUF012 - the same
        refuse = False

    with serving(Own) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        yield Own


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return ObjectStorage("s3://videos/prefix")
    return ObjectStorage((tmp_path / "videos of ours").as_uri())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.write_bytes(CONTENT)
    return path


async def read(
    storage: ObjectStorage, key: str, *, start: int = 0, end: int | None = None
) -> bytes:
    return b"".join([piece async for piece in storage.read(key, start=start, end=end)])


def put(storage: ObjectStorage, path: Path) -> None:
    asyncio.run(storage.put_file(KEY, path, content_type="video/mp4"))


def test_what_was_put_is_read_again_in_bounded_pieces(storage: ObjectStorage, video: Path) -> None:
    async def go() -> list[bytes]:
        await storage.put_file(KEY, video, content_type="video/mp4")
        return [piece async for piece in storage.read(KEY)]

    pieces = asyncio.run(go())

    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= WINDOW


def test_head_tells_the_size_and_none_where_nothing_is(storage: ObjectStorage, video: Path) -> None:
    put(storage, video)

    assert asyncio.run(storage.head(KEY)) == len(CONTENT)
    assert asyncio.run(storage.head("videos/2026/11/job_1/out_2.mp4")) is None


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(
    storage: ObjectStorage, video: Path
) -> None:
    put(storage, video)

    asyncio.run(storage.delete(KEY))
    asyncio.run(storage.delete(KEY))

    assert asyncio.run(storage.head(KEY)) is None
    with pytest.raises(NotStored, match=r"out_1\.mp4"):
        asyncio.run(read(storage, KEY))


def test_putting_again_is_harmless(storage: ObjectStorage, video: Path) -> None:
    put(storage, video)
    put(storage, video)

    assert asyncio.run(read(storage, KEY)) == CONTENT


@pytest.fixture
def stored(tmp_path: Path) -> ObjectStorage:
    small = tmp_path / "small"
    small.write_bytes(CONTENT[:1000])
    storage = ObjectStorage((tmp_path / "videos").as_uri())
    put(storage, small)
    return storage


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.integers(0, 1200), end=st.none() | st.integers(0, 1200) | st.just(9 * WINDOW))
def test_a_range_is_read_as_a_slice_is(stored: ObjectStorage, start: int, end: int | None) -> None:
    assert asyncio.run(read(stored, KEY, start=start, end=end)) == CONTENT[:1000][start:end]


def test_a_bucket_is_told_the_content_type(bucket: type[Bucket], tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"video")

    put(ObjectStorage("s3://videos/prefix"), path)

    assert bucket.objects == {f"/videos/prefix/{KEY}": (b"video", "video/mp4")}


def test_a_bucket_that_refuses_us_is_unavailable_and_its_address_is_not_told(
    bucket: type[Bucket], tmp_path: Path
) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"video")
    bucket.refuse = True

    with pytest.raises(Unavailable) as refused:
        put(ObjectStorage("s3://videos/prefix"), path)

    assert "127.0.0.1" not in str(refused.value)
    assert "PermissionDeniedError" in str(refused.value)


def test_nobody_ever_sees_half_a_video_in_the_folder(tmp_path: Path, video: Path) -> None:
    # Given a reader that looks at the object all the time
    storage = ObjectStorage((tmp_path / "videos").as_uri())
    target = tmp_path / "videos" / KEY
    stop = threading.Event()
    sizes: set[int] = set()

    def look() -> None:
        while not stop.is_set():
            if target.exists():
                sizes.add(target.stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()

    # When a video is stored
    try:
        put(storage, video)
    finally:
        stop.set()
        looking.join(timeout=10)

    # Then it was whole whenever it was there
    assert sizes <= {len(CONTENT)}
    assert [file.name for file in target.parent.iterdir()] == ["out_1.mp4"]


@pytest.mark.parametrize("verb", ["put", "delete"])
def test_what_a_killed_process_left_is_removed_with_its_object(
    tmp_path: Path, video: Path, verb: str
) -> None:
    # Given a part of a video beside its place, as a killed worker leaves it
    storage = ObjectStorage((tmp_path / "videos").as_uri())
    put(storage, video)
    folder = (tmp_path / "videos" / KEY).parent
    (folder / "out_1.mp4#1").write_bytes(b"half")
    (folder / "out_2.mp4#1").write_bytes(b"another output's")

    # When the object is stored again, or deleted
    if verb == "put":
        put(storage, video)
    else:
        asyncio.run(storage.delete(KEY))

    # Then it is gone, and only it
    left = {"put": {"out_1.mp4", "out_2.mp4#1"}, "delete": {"out_2.mp4#1"}}
    assert {file.name for file in folder.iterdir()} == left[verb]


def test_a_disk_with_too_little_space_is_full_before_a_byte_is_written(
    tmp_path: Path, video: Path
) -> None:
    storage = ObjectStorage((tmp_path / "videos").as_uri(), reserve=2**62)

    with pytest.raises(StorageFull, match="bytes are free") as refused:
        put(storage, video)

    assert f"{len(CONTENT):,}" in str(refused.value)
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://host/videos", "file:///dev/null/videos", "nonsense"])
def test_a_store_that_can_not_be_opened_says_so_in_words(url: str) -> None:
    with pytest.raises(Unavailable, match="can't be opened"):
        ObjectStorage(url)


@pytest.mark.parametrize("url", ["u:hidden@h", "hidden@h", "s3://u:hidden@", "ftp://u:hidden@h"])
def test_a_store_that_can_not_be_opened_never_shows_a_password(url: str) -> None:
    with pytest.raises(Unavailable, match="LONGTAKE_STORAGE_URL") as refused:
        ObjectStorage(url)

    assert "hidden" not in "".join(format_exception(refused.value))


@pytest.mark.parametrize("key", ["../outside.mp4", "/etc/passwd", "a//b", "a/%2e%2e/b", "a.mp4#1"])
def test_a_key_that_is_no_key_reaches_no_store(
    storage: ObjectStorage, video: Path, key: str
) -> None:
    for verb in (
        storage.put_file(key, video, content_type="video/mp4"),
        storage.head(key),
        storage.delete(key),
        read(storage, key),
    ):
        with pytest.raises(ValueError, match="not a storage key"):
            asyncio.run(verb)


FORKS = """
import asyncio, os, signal, sys
from storage.base import StorageError
from storage.objects import ObjectStorage

storage = ObjectStorage(sys.argv[1])
if "before" in sys.argv:
    asyncio.run(storage.head("a.mp4"))
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        print(asyncio.run(storage.head("a.mp4")), flush=True)
    except StorageError as error:
        print(error, flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("used", "told"), [("after", "None\n"), ("before", "used before this process forked")]
)
def test_a_store_survives_a_fork_unless_it_was_used_before_and_then_says_so(
    tmp_path: Path, used: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, tmp_path.as_uri(), used],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert told in done.stdout


def test_videos_and_notes_belong_to_their_account_alone(tmp_path: Path) -> None:
    folder, source = tmp_path / "videos here", tmp_path / "source"
    source.write_bytes(b"a video")
    before = os.umask(0o022)
    try:
        store = ObjectStorage(folder.as_uri())
        asyncio.run(store.put_file(KEY, source, content_type="video/mp4"))
        asyncio.run(store.put_note("longtake/mark/1.json", b"{}"))
    finally:
        os.umask(before)

    modes = {path: path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert len(modes) > 8


def test_a_folder_that_an_operator_made_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)

    asyncio.run(ObjectStorage(tmp_path.as_uri()).put_note("longtake/mark/1.json", b"{}"))

    assert tmp_path.stat().st_mode & 0o777 == 0o750
