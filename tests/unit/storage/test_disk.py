"""A disk that hangs holds its own threads, and none that other work needs."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.disk import THREADS, on_disk
from storage.objects import ObjectStorage
from storage.receive import receive

pytestmark = pytest.mark.anyio


class HungDisk:
    """Holds as many threads as there are, until it answers again."""

    def __init__(self) -> None:
        self._answers = threading.Event()
        self.begun = threading.Semaphore(0)

    def work(self) -> None:
        self.begun.release()
        self._answers.wait(30)

    def recover(self) -> None:
        self._answers.set()


@pytest.fixture
async def hung() -> AsyncIterator[HungDisk]:
    disk = HungDisk()
    waiting = [asyncio.create_task(on_disk(disk.work)) for _ in range(3 * THREADS)]
    for _ in range(THREADS):
        assert await asyncio.to_thread(disk.begun.acquire, timeout=10)
    yield disk
    disk.recover()
    await asyncio.gather(*waiting)


async def chunks() -> AsyncIterator[bytes]:
    yield b"video"


async def test_notes_are_written_and_other_work_goes_on_while_downloads_hang(
    hung: HungDisk, tmp_path: Path
) -> None:
    storage = ObjectStorage(f"file://{tmp_path}/videos")

    async def download() -> int:
        async with receive(chunks(), into=tmp_path, max_bytes=10) as received:
            return received.bytes

    waiting = asyncio.create_task(download())
    async with asyncio.timeout(10):
        await storage.put_note("marks/one", b"1")
        assert await storage.read_note("marks/one") == b"1"
        assert await asyncio.gather(*(asyncio.to_thread(len, "abc") for _ in range(50))) == [3] * 50
    assert not waiting.done()

    hung.recover()

    async with asyncio.timeout(10):
        assert await waiting == 5


async def test_errors_and_results_come_through() -> None:
    def fail() -> None:
        msg = "no space"
        raise OSError(msg)

    assert await on_disk(max, 1, 2) == 2
    with pytest.raises(OSError, match="no space"):
        await on_disk(fail)
