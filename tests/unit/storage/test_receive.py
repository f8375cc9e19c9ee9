"""Receiving a download: every byte counted and hashed, and no file left behind."""

import asyncio
import errno
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import parts
from storage import receive as receiving
from storage.base import StorageFull, TooBig, Truncated
from storage.parts import Keep, Origin, Part
from storage.receive import PIECE, announced_bytes, receive, remove_abandoned
from storage.space import RESERVE


async def stream(*pieces: bytes, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if then:
        raise then


def take(
    chunks: AsyncIterator[bytes],
    into: Path,
    *,
    max_bytes: int = 2**30,
    expected_bytes: int | None = None,
    part: Part | None = None,
) -> tuple[bytes, int, str]:
    """What the block sees: the file's content, its size and its digest."""

    async def go() -> tuple[bytes, int, str]:
        async with receive(
            chunks, into=into, max_bytes=max_bytes, expected_bytes=expected_bytes, part=part
        ) as received:
            return received.path.read_bytes(), received.bytes, received.sha256

    return asyncio.run(go())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(st.binary(max_size=64), min_size=1).filter(any))
def test_the_file_is_what_was_streamed(tmp_path: Path, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)

    content, size, sha256 = take(stream(*pieces), tmp_path, expected_bytes=len(whole))

    assert (content, size, sha256) == (whole, len(whole), hashlib.sha256(whole).hexdigest())
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_many_pieces_arrives_whole(tmp_path: Path) -> None:
    pieces = [os.urandom(700_001) for _ in range(7)]

    content, _, sha256 = take(stream(*pieces), tmp_path / "made" / "when missing")

    assert content == b"".join(pieces)
    assert sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("came", [b"", b"12345", b"1234567"])
def test_another_size_than_announced_is_truncated(tmp_path: Path, came: bytes) -> None:
    with pytest.raises(Truncated, match=f"{len(came)} of 6 bytes"):
        take(stream(came), tmp_path, expected_bytes=6)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_download_is_truncated_even_when_nothing_was_announced(tmp_path: Path) -> None:
    with pytest.raises(Truncated, match="empty"):
        take(stream(), tmp_path)


def test_a_download_of_just_the_limit_is_fine_and_one_byte_more_is_too_big(tmp_path: Path) -> None:
    assert take(stream(b"12", b"34"), tmp_path, max_bytes=4)[1] == 4

    with pytest.raises(TooBig, match="larger than the limit of 4 bytes"):
        take(stream(b"12", b"345", then=AssertionError("read on")), tmp_path, max_bytes=4)

    assert list(tmp_path.iterdir()) == []


def test_an_announced_size_above_the_limit_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    with pytest.raises(TooBig, match="5 bytes were announced"):
        take(stream(then=AssertionError("read")), tmp_path, max_bytes=4, expected_bytes=5)


def test_the_networks_own_error_passes_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        take(stream(b"half", then=ConnectionResetError()), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_file_is_gone_when_the_block_fails(tmp_path: Path) -> None:
    async def go() -> None:
        async with receive(stream(b"video"), into=tmp_path, max_bytes=100):
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(go())

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_cancelled_leaves_no_file(tmp_path: Path) -> None:
    def files() -> list[Path]:
        return list(tmp_path.iterdir())

    async def go() -> None:
        # Given a download of which a part is already on the disk, and which then hangs
        hangs = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield bytes(3 * 2**20)
            hangs.set()
            await asyncio.Event().wait()

        async def download() -> None:
            async with receive(chunks(), into=tmp_path, max_bytes=2**30):
                pass

        task = asyncio.create_task(download())
        await asyncio.wait_for(hangs.wait(), timeout=10)
        assert len(files()) == 1

        # When it is cancelled
        task.cancel()
        await asyncio.wait([task], timeout=10)

    asyncio.run(go())

    # Then nothing is left
    assert files() == []


KEEP = Keep(name="out_1", origin=Origin(validator='"v1"', total=None, place="0" * 64))


def cut(into: Path, content: bytes, *, max_bytes: int = 2**30) -> Part:
    """A download of which `content` came before the network failed."""

    async def go() -> None:
        chunks = stream(content, then=ConnectionResetError())
        async with receive(chunks, into=into, max_bytes=max_bytes, keep=KEEP):
            pass

    with pytest.raises(ConnectionResetError):
        asyncio.run(go())
    part = parts.find(into, KEEP.name)
    assert part is not None
    return part


def test_what_was_cut_off_goes_on_and_is_hashed_as_a_whole(tmp_path: Path) -> None:
    # Given a download of which more than a piece is on the disk, and the rest was not yet
    whole = os.urandom(3 * 2**20 + 7)
    part = cut(tmp_path, whole[: 2**20 + 99])
    assert part.bytes == 2**20 + 99

    # When the next one goes on from there
    async def go() -> tuple[bytes, int, str]:
        async with receive(
            stream(whole[part.bytes :]),
            into=tmp_path,
            max_bytes=len(whole),
            expected_bytes=len(whole),
            part=part,
        ) as received:
            return received.path.read_bytes(), received.bytes, received.sha256

    # Then it is whole, and nothing is left
    assert asyncio.run(go()) == (whole, len(whole), hashlib.sha256(whole).hexdigest())
    assert list(tmp_path.iterdir()) == []


def test_a_part_counts_towards_the_limit(tmp_path: Path) -> None:
    part = cut(tmp_path, b"12345", max_bytes=8)

    async def go() -> None:
        async with receive(stream(b"6789"), into=tmp_path, max_bytes=8, part=part, keep=KEEP):
            pass

    with pytest.raises(TooBig, match="larger than the limit of 8 bytes"):
        asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_gone_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    part = cut(tmp_path, b"12345")
    parts.drop(tmp_path, KEEP.name)

    async def go() -> None:
        async with receive(stream(b"67"), into=tmp_path, max_bytes=99, part=part):
            pass

    with pytest.raises(Truncated, match="no longer exists"):
        asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_cancelled_keeps_all_that_came(tmp_path: Path) -> None:
    content = os.urandom(2**20 + 99)

    async def go() -> None:
        hangs = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield content
            yield b"!"
            hangs.set()
            await asyncio.Event().wait()

        async def download() -> None:
            async with receive(chunks(), into=tmp_path, max_bytes=2**30, keep=KEEP):
                pass

        task = asyncio.create_task(download())
        await asyncio.wait_for(hangs.wait(), timeout=10)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()

    asyncio.run(go())

    part = parts.find(tmp_path, KEEP.name)
    assert part is not None
    assert part.bytes == len(content) + 1
    parts.take(part, tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == content + b"!"


def test_whoever_leaves_a_part_removes_the_old_ones(tmp_path: Path) -> None:
    old = tmp_path / "incoming-out_0.part"
    old.touch()
    yesterday = time.time() - 86_400
    os.utime(old, (yesterday, yesterday))

    cut(tmp_path, b"12345")

    assert [file.name for file in tmp_path.iterdir()] == ["incoming-out_1.part"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / "incoming-full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(receiving, "_new_file", lambda into: full)

    with pytest.raises(StorageFull, match="no space left"):
        take(stream(bytes(100)), tmp_path)


def test_other_trouble_with_the_disk_keeps_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="File exists") as refused:
        take(stream(b"video"), tmp_path / "file")

    assert refused.value.errno == errno.EEXIST


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"content-length": "42"}, 42),
        ({"content-length": "42", "content-encoding": "identity"}, 42),
        ({"content-length": "42", "content-encoding": "gzip"}, None),
        ({}, None),
        ({"content-length": ""}, None),
        ({"content-length": "-1"}, None),
        ({"content-length": "4_2"}, None),
        ({"content-length": "٤٢"}, None),
    ],
)
def test_only_a_plain_bodys_length_is_believed(headers: dict[str, str], size: int | None) -> None:
    assert announced_bytes(headers) == size


def test_only_old_leftovers_of_downloads_are_removed(tmp_path: Path) -> None:
    # Given what a killed download left yesterday, one that runs, and a file of somebody else's
    old, young, foreign = (tmp_path / name for name in ("incoming-old", "incoming-young", "other"))
    for file in (old, young, foreign):
        file.touch()
    yesterday = time.time() - 86_400
    os.utime(old, (yesterday, yesterday))
    os.utime(foreign, (yesterday, yesterday))

    # When the leftovers of more than an hour are removed
    removed = remove_abandoned(tmp_path, older_than=timedelta(hours=1))

    # Then only the first is gone
    assert removed == 1
    assert {file.name for file in tmp_path.iterdir()} == {young.name, foreign.name}


class Disk:
    """A disk of which downloads use what they write, and on which others write too."""

    def __init__(self, folder: Path, free: int) -> None:
        self.folder, self.free = folder, free

    def usage(self, _: object) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in self.folder.glob("incoming-*"))
        return SimpleNamespace(free=self.free - used)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path, free=RESERVE + 3 * PIECE)
    monkeypatch.setattr(shutil, "disk_usage", made.usage)
    return made


def test_a_disk_that_others_fill_stops_a_running_download(tmp_path: Path, disk: Disk) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        disk.free -= 3 * PIECE
        yield bytes(PIECE)

    with pytest.raises(StorageFull, match="reserved"):
        take(pieces(), tmp_path, expected_bytes=2 * PIECE)


@pytest.mark.usefixtures("disk")
def test_an_announced_size_that_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="3,145,729 more bytes"):
        take(stream(then=AssertionError("read")), tmp_path, expected_bytes=3 * PIECE + 1)


@pytest.mark.usefixtures("disk")
def test_of_a_resumed_download_only_the_rest_must_fit(tmp_path: Path) -> None:
    # Given a part that fills two of the three pieces that are free
    content = os.urandom(2 * PIECE)
    part = cut(tmp_path, content)

    # When the last piece comes, then there is room for it
    _, size, sha256 = take(stream(bytes(PIECE)), tmp_path, expected_bytes=3 * PIECE, part=part)
    assert (size, sha256) == (3 * PIECE, hashlib.sha256(content + bytes(PIECE)).hexdigest())
