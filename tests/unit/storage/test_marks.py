"""Marks: found in a folder and in a bucket, read as they were written, the highest the one."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from storage import marks
from storage.base import NotStored, Unavailable
from storage.marks import Mark, Name
from storage.objects import ObjectStorage
from tests.unit.storage.test_objects import Bucket, serving

MARK = Mark(
    installation="ours",
    generation=41,
    nonce="0a1b",
    written_at=datetime(2026, 11, 21, 15, tzinfo=UTC),
    attempt="att_1",
    sent_at=datetime(2026, 11, 21, 14, 59, tzinfo=UTC),
    system="7",
    timeline=2,
    database="longtake/5",
)


class Listing(Bucket):
    """A bucket that also lists, and gives whole objects."""

    def do_GET(self) -> None:  # noqa: N802 - the base class's name
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            (prefix,) = query["prefix"]
            keys = [key for key in self._keys() if key.startswith(prefix)]
            rows = "".join(
                f"<Contents><Key>{key}</Key><Size>1</Size><ETag>1</ETag>"
                "<LastModified>2026-11-21T03:00:00.000Z</LastModified></Contents>"
                for key in keys
            )
            self._answer(200, f"<ListBucketResult>{rows}</ListBucketResult>".encode())
        elif self._name in self.objects:
            self._answer(200, self.objects[self._name][0], etag='"1"')
        else:
            self._answer(404)

    def do_DELETE(self) -> None:  # noqa: N802 - the same
        self.objects.pop(self._name, None)
        self._answer(204)

    def _keys(self) -> list[str]:
        return [name.removeprefix("/videos/") for name in self.objects]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Own(Listing):
        objects: dict[str, tuple[bytes, str]] = {}  # noqa: RUF012 - one test's own
        parts: dict[int, bytes] = {}  # noqa: RUF012 - the same
        refuse = False

    with serving(Own) as endpoint:
        for name, value in (
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
        ):
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return ObjectStorage("s3://videos/prefix")
    return ObjectStorage((tmp_path / "videos").as_uri())


def names(storage: ObjectStorage, installation: str = "ours") -> list[Name]:
    return asyncio.run(marks.names(storage, installation))


def test_a_mark_is_read_as_it_was_written(storage: ObjectStorage) -> None:
    assert names(storage) == []
    asyncio.run(marks.write(storage, MARK))

    assert names(storage) == [Name(41, "0a1b")]
    assert names(storage, "theirs") == []
    assert asyncio.run(marks.read(storage, "ours", Name(41, "0a1b"))) == MARK


def test_a_newer_mark_replaces_older_ones_and_an_older_one_none(storage: ObjectStorage) -> None:
    def write(generation: int, nonce: str) -> None:
        mark = Mark(
            installation="ours", generation=generation, nonce=nonce, written_at=MARK.written_at
        )
        asyncio.run(marks.write(storage, mark))

    for generation in (9, 10, 100):
        write(generation, "aa")
    assert names(storage) == [Name(100, "aa")]

    write(99, "bb")
    assert names(storage)[-1] == Name(100, "aa")
    assert asyncio.run(marks.read(storage, "ours", Name(10, "aa"))) is None


def test_a_note_that_is_not_there_is_told_and_deleting_it_is_fine(storage: ObjectStorage) -> None:
    asyncio.run(storage.delete_note("longtake/none.json"))
    with pytest.raises(NotStored):
        asyncio.run(storage.read_note("longtake/none.json"))


def test_what_is_no_mark_is_no_mark(storage: ObjectStorage) -> None:
    folder = f"{marks.FOLDER}/ours"
    asyncio.run(storage.put_note(f"{folder}/readme.txt", b"hands off"))
    assert names(storage) == []

    asyncio.run(storage.put_note(f"{folder}/000000000000041-0a1b.json", b'{"generation": 41}'))
    with pytest.raises(Unavailable, match="generation 41 can't be read"):
        asyncio.run(marks.read(storage, "ours", Name(41, "0a1b")))
