"""What a hostile video or a growing download takes: no memory for a huge frame, no reserve."""

import asyncio
import shutil
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from storage.base import StorageFull
from storage.receive import receive

ROOT = Path(__file__).parents[3]
MIB = 2**20
#: Bytes that downloads leave free.
RESERVE = 256 * MIB
#: Far above what an interpreter with FFmpeg takes, and far below a frame of 16,000 x 16,000.
MOST_MEMORY = 200 * MIB

#: Prints its peak of memory by /proc: what getrusage tells begins with the peak of the parent.
LOOK = """
import re, sys
from pathlib import Path
from storage.base import NotAVideo
from storage.probe import probe

try:
    probe(Path(sys.argv[1]))
except NotAVideo:
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""


def black(width: int, height: int) -> bytes:
    """A black PNG, of 250 kB where its frame takes 256 MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(1 + width)) for _ in range(height)) + squeeze.flush()
    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("said", [(16_000, 16_000), (160, 160)], ids=["said", "hidden"])
def test_a_huge_frame_is_refused_before_its_memory_is_taken(
    tmp_path: Path, said: tuple[int, int]
) -> None:
    # Given a film of one huge frame, whose header tells its size or lies about it
    film = tmp_path / "huge.mov"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("png", rate=24)
        (stream.width, stream.height), stream.pix_fmt = said, "rgb24"
        packet = av.Packet(black(16_000, 16_000))
        packet.stream, packet.time_base, packet.duration = stream, Fraction(1, 24), 1
        packet.pts = packet.dts = 0
        packet.is_keyframe = True
        container.mux(packet)

    # When it is looked into, then it is refused, and its frame was never allocated
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, film], cwd=ROOT, capture_output=True, check=True, timeout=120
    )
    assert 0 < int(looked.stdout) < MOST_MEMORY


def test_a_download_that_grows_stops_at_the_disks_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk with room for three pieces, and a stream of ten without an announced size
    def usage(_: object) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in tmp_path.glob("incoming-*"))
        return SimpleNamespace(free=RESERVE + 3 * MIB - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield bytes(MIB)

    # When it is received, then it ends before the reserve is touched, and leaves nothing
    async def go() -> None:
        async with receive(pieces(), into=tmp_path, max_bytes=2**30):
            pass

    with pytest.raises(StorageFull):
        asyncio.run(go())
    assert read == 4
    assert list(tmp_path.iterdir()) == []
