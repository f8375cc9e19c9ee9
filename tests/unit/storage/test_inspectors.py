"""Inspectors: what a hostile video does to its own child process, it does to nothing else."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from storage import probe as probing
from storage.base import BadVideo, NotAVideo, Truncated, Unavailable, Unreadable
from storage.inspectors import PROGRAM, Inspectors, Limits
from storage.probe import probe

MakeVideo = Callable[..., Path]
ROOT = Path(__file__).parents[3]

#: An inspector's program whose work does what the file's name says; a FIFO tells that it has begun.
BAD = """
import os, signal, sys, time
from pathlib import Path
from storage import inspector

seen = []

def probe(path):
    if path.is_fifo():
        path.open("rb", buffering=0)
    match path.name:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spin":
            while True:
                pass
        case "sleep":
            time.sleep(1000)
        case "allocate":
            return [bytes(2**20) for _ in range(2**20)]
        case "second":
            seen.append(path)
            if len(seen) > 1:
                os.kill(os.getpid(), signal.SIGSEGV)
        case "environment":
            raise RuntimeError(sorted(os.environ), sorted(os.listdir("/proc/self/fd")), os.getcwd())
        case "garbage":
            os.write(1, b"\\x00\\x00\\x00\\x04{{{{")
        case "long":
            os.write(1, b"\\xff\\xff\\xff\\xff")
        case "lie":
            return {"content_type": "video/mp4", "width": "wide"}
    return {"content_type": "video/mp4", "duration_seconds": 1.0, "width": 1, "height": 1,
            "fps": 1.0, "frames": os.getpid()}

inspector.main({"probe": probe})
"""


@contextmanager
def pool(
    *, bad: bool = False, most: int = 1, limits: Limits | None = None, program: str = BAD
) -> Iterator[Inspectors]:
    made = Inspectors(
        limits,
        most=most,
        program=(sys.executable, "-P", "-s", "-c", program) if bad else PROGRAM,
    )
    try:
        yield made
    finally:
        made.close()
        assert made.pids() == []


def look(inspectors: Inspectors, path: Path) -> int:
    """The process that looked, where the program is BAD."""
    return asyncio.run(inspectors.probe(path)).frames


def begun(fifo: Path) -> None:
    """Wait until an inspector is at work on the FIFO."""
    os.close(os.open(fifo, os.O_WRONLY))


def is_gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(timeout=30)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


def test_an_inspector_finds_what_the_probe_finds(make_video: MakeVideo) -> None:
    video = make_video("inspected.mp4", sound=True)

    with pool() as inspectors:
        assert asyncio.run(inspectors.probe(video)) == probe(video)
        assert asyncio.run(inspectors.last_frame(video)).startswith(b"\xff\xd8")


def test_packets_without_end_are_refused_by_their_number(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video("packets.mp4", frames=40)
    assert probe(video).frames == 40

    monkeypatch.setattr(probing, "MOST_PACKETS", 39)
    with pytest.raises(NotAVideo, match="more than 39 packets"):
        probe(video)


def test_hostile_files_are_told_apart_by_one_inspector(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video("whole.mp4", sound=True).read_bytes()
    index = whole.index(b"moov")
    corpus = {
        "cut": whole[: len(whole) // 2],
        "box longer than the file": whole[: index - 4] + b"\xff\xff\xff\xff" + whole[index:],
        "box of length 1": whole[: index - 4] + b"\0\0\0\1" + whole[index:],
        "garbage": b"\x00\x01\x02\xff" * 5000,
        "zeros in the index": whole[: index + 200] + bytes(len(whole) - index - 200),
        "nested": b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\x10\0moov\0\0\x0f\xf8moov" * 256,
        "matroska of zeros": b"\x1a\x45\xdf\xa3" + bytes(4096),
        "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
    }

    with pool() as inspectors:
        for name, content in corpus.items():
            file = tmp_path / name
            file.write_bytes(content)
            with pytest.raises(BadVideo) as refused:
                asyncio.run(inspectors.probe(file))
            assert isinstance(refused.value, NotAVideo | Truncated), name
        assert len(inspectors.pids()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash", "crashes the decoder"),
        ("spin", "too much CPU time"),
        ("allocate", "too much memory"),
        ("garbage", "crashes the decoder"),
        ("long", "crashes the decoder"),
    ],
)
def test_what_breaks_a_fresh_inspector_too_is_the_videos_fault(
    tmp_path: Path, name: str, words: str
) -> None:
    with pool(bad=True, limits=Limits(cpu_seconds=1)) as inspectors:
        with pytest.raises(Unreadable, match=words):
            look(inspectors, tmp_path / name)

        # Then the next video is looked into
        assert look(inspectors, tmp_path / "fine") in inspectors.pids()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("killed", "the process that read it ended"),
        ("sleep", "took too long"),
        ("lie", "another form"),
    ],
)
def test_what_may_be_our_own_fault_is_not_the_videos(tmp_path: Path, name: str, words: str) -> None:
    with (
        pool(bad=True, limits=Limits(wall_seconds=1)) as inspectors,
        pytest.raises(Unavailable, match=words),
    ):
        look(inspectors, tmp_path / name)


def test_a_program_that_does_not_start_is_our_own_fault(tmp_path: Path) -> None:
    with (
        pool(bad=True, program="raise SystemExit(3)") as inspectors,
        pytest.raises(Unavailable, match="ended"),
    ):
        look(inspectors, tmp_path / "fine")


def test_one_crash_blames_nobody(tmp_path: Path) -> None:
    """An inspector that has seen other files may break by them."""
    with pool(bad=True) as inspectors:
        first = look(inspectors, tmp_path / "second")
        second = look(inspectors, tmp_path / "second")

        assert second != first
        assert inspectors.pids() == [second]


def test_an_inspector_that_was_killed_while_it_waited_costs_nothing(tmp_path: Path) -> None:
    with pool(bad=True) as inspectors:
        first = look(inspectors, tmp_path / "fine")
        psutil.Process(first).kill()

        assert look(inspectors, tmp_path / "fine") != first


def test_an_inspector_is_replaced_after_so_many_files(tmp_path: Path) -> None:
    with pool(bad=True, limits=Limits(files=3)) as inspectors:
        seen = [look(inspectors, tmp_path / "fine") for _ in range(7)]

    assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 1]


def test_looks_share_as_many_inspectors_as_there_may_be(tmp_path: Path) -> None:
    async def looks(inspectors: Inspectors) -> set[int]:
        probes = [inspectors.probe(tmp_path / "fine") for _ in range(40)]
        return {found.frames for found in await asyncio.gather(*probes)}

    with pool(bad=True, most=2) as inspectors:
        assert inspectors.pids() == []
        used = asyncio.run(looks(inspectors))

        assert used == set(inspectors.pids())
        assert 1 <= len(used) <= 2


def test_an_inspector_inherits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "s3cret")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # noqa: FBT003 - takes no keyword
    try:
        with pool(bad=True) as inspectors, pytest.raises(Unavailable) as told:
            look(inspectors, tmp_path / "environment")
    finally:
        os.close(reading)
        os.close(writing)

    # Then it has its own variables, its pipes (3 is the listing itself), and no folder of ours
    words = str(told.value)
    assert "LONGTAKE" not in words
    assert "['0', '1', '2', '3'], '/'" in words


def test_closing_ends_inspectors_at_work(tmp_path: Path) -> None:
    async def go() -> list[int]:
        inspectors = Inspectors(most=1, program=(sys.executable, "-P", "-s", "-c", BAD))
        fine = (await inspectors.probe(tmp_path / "fine")).frames
        looks = [asyncio.ensure_future(inspectors.probe(tmp_path / "sleep")) for _ in range(3)]
        await asyncio.to_thread(begun, tmp_path / "sleep")
        await asyncio.to_thread(inspectors.close)
        ended = await asyncio.gather(*looks, return_exceptions=True)
        assert all(isinstance(one, Unavailable | asyncio.CancelledError) for one in ended)
        with pytest.raises(Unavailable, match="stopping"):
            await inspectors.probe(tmp_path / "fine")
        return [fine]

    os.mkfifo(tmp_path / "sleep")
    assert all(map(is_gone, asyncio.run(go())))


PARENT = """
import asyncio, sys
from pathlib import Path
from storage.inspectors import Inspectors

async def go():
    inspectors = Inspectors(most=2, program=(sys.executable, "-P", "-s", "-c", sys.argv[1]))
    await inspectors.probe(Path("/fine"))
    print(*inspectors.pids(), flush=True)
    await inspectors.probe(Path(sys.argv[2]))

asyncio.run(go())
"""


@pytest.mark.parametrize("work", ["sleep", "spin"])
def test_a_parent_that_is_killed_leaves_no_inspector(tmp_path: Path, work: str) -> None:
    os.mkfifo(tmp_path / work)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, BAD, str(tmp_path / work)], stdout=subprocess.PIPE, cwd=ROOT
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        begun(tmp_path / work)
        parent.kill()

    assert len(pids) == 1
    assert all(map(is_gone, pids))
