"""Parts of downloads: read as they were kept, taken once, and never gone on with by other bytes."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from storage import parts
from storage.base import Truncated
from storage.parts import Keep, Origin, Part
from transport.base import Request
from transport.wire import prepare

URL = "https://cdn.test/films/1.mp4?signature=first"
ETAG = '"v1"'
PLACE = sha256(b"https://cdn.test/films/1.mp4").hexdigest()
ORIGIN = Origin(validator=ETAG, total=10, place=PLACE)
PART = Part(path=Path("incoming-out_1.part"), bytes=4, origin=ORIGIN)
REST = {"etag": ETAG, "content-range": "bytes 4-9/10"}


def kept(folder: Path, content: bytes, origin: Origin = ORIGIN) -> None:
    file = folder / "incoming-new"
    file.write_bytes(content)
    parts.keep(file, folder, Keep(name="out_1", origin=origin))


def test_a_part_is_found_as_it_was_kept_and_taken_once(tmp_path: Path) -> None:
    kept(tmp_path, b"0123")

    part = parts.find(tmp_path, "out_1")
    assert part is not None
    assert (part.bytes, part.origin) == (4, ORIGIN)
    assert parts.find(tmp_path, "out_2") is None

    mine = tmp_path / "mine"
    parts.take(part, mine)
    assert mine.read_bytes() == b"0123"
    assert parts.find(tmp_path, "out_1") is None
    with pytest.raises(Truncated, match="no longer exists"):
        parts.take(part, tmp_path / "another's")


def test_a_part_that_was_replaced_since_it_was_found_is_not_taken_for_it(tmp_path: Path) -> None:
    kept(tmp_path, b"0123")
    part = parts.find(tmp_path, "out_1")
    assert part is not None
    kept(tmp_path, b"abcd", replace(ORIGIN, validator='"v2"'))

    with pytest.raises(Truncated, match="no longer exists"):
        parts.take(part, tmp_path / "mine")


def test_the_last_to_keep_a_part_has_the_say_and_dropping_none_is_fine(tmp_path: Path) -> None:
    kept(tmp_path, b"0123")
    kept(tmp_path, b"012345")
    part = parts.find(tmp_path, "out_1")
    assert part is not None
    assert part.bytes == 6

    parts.drop(tmp_path, "out_1")
    parts.drop(tmp_path, "out_1")
    assert list(tmp_path.iterdir()) == []


@given(content=st.binary(max_size=64), length=st.integers(0, 2**32 - 1))
def test_what_is_no_part_is_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    folder = tmp_path_factory.mktemp("incoming")
    (folder / "incoming-out_1.part").write_bytes(content + length.to_bytes(4, "big"))
    assert parts.find(folder, "out_1") is None


def test_a_rest_of_the_same_bytes_goes_on_also_from_a_link_that_was_signed_anew() -> None:
    assert parts.completes(PART, REST, URL) == 10
    assert parts.completes(PART, REST, URL.replace("first", "second")) == 10
    untold = replace(PART, origin=replace(ORIGIN, total=None))
    assert parts.completes(untold, REST, URL) == 10


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes 0-9/10"},
        {"content-range": "bytes 5-9/10"},
        {"content-range": "bytes 4-8/10"},
        {"content-range": "bytes 4-10/11"},
        {"content-range": "bytes 4-9/*"},
        {"content-range": "bytes */10"},
        {"content-range": ""},
        {"etag": '"v2"'},
        {"etag": 'W/"v1"'},
        {"etag": ""},
        {"content-encoding": "gzip"},
    ],
    ids=str,
)
def test_any_other_part_does_not_go_on(headers: dict[str, str]) -> None:
    assert parts.completes(PART, REST | headers, URL) is None


def test_another_place_is_another_video() -> None:
    assert parts.completes(PART, REST, URL.replace("1.mp4", "2.mp4")) is None


OLD, NOW = "Sat, 21 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 10:01:00 GMT"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": ETAG, "last-modified": OLD, "date": NOW}, ETAG),
        ({"etag": 'W/"v1"', "last-modified": OLD, "date": NOW}, OLD),
        ({"last-modified": OLD, "date": NOW}, OLD),
        ({"last-modified": NOW, "date": NOW}, None),
        ({"last-modified": OLD}, None),
        ({"last-modified": "yesterday", "date": NOW}, None),
        ({"last-modified": OLD, "date": "Sat, 21 Nov 2026 10:01:00"}, None),
        ({"etag": '"a", "b"'}, None),
        ({"etag": ETAG, "content-encoding": "br"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_only_what_proves_the_same_bytes_is_gone_on_with(
    headers: dict[str, str], validator: str | None
) -> None:
    origin = parts.origin_of(headers, URL, total=10)

    assert (origin.validator if origin else None) == validator
    if origin is not None:
        sent = parts.range_headers(replace(PART, origin=origin))
        assert sent == {"range": "bytes=4-", "if-range": validator}
        assert prepare(Request(method="GET", url=URL, headers=sent)).headers["range"] == "bytes=4-"
