"""What a vendor's SDK needs beside it to finish a job: patience, and an eye for the video."""

import io
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import av
import httpx

T = TypeVar("T")

#: Seconds in which an operation of the fixture's simulator has certainly ended.
SOON = 15.0
#: Seconds between two looks at one: its shortest state lasts four times as long.
LOOK = 0.01


class Simulator(Protocol):
    url: str
    env: Mapping[str, str]

    def bill(self) -> list[dict[str, object]]: ...
    def polls(self) -> dict[str, int]: ...
    def faults(self, faults: list[dict[str, object]]) -> None: ...
    def reset(self) -> None: ...


def poll_until(look: Callable[[], T], done: Callable[[T], bool]) -> list[T]:
    """Everything seen, the last of it `done`."""
    end = time.monotonic() + SOON
    looks = [look()]
    while not done(looks[-1]):
        assert time.monotonic() < end, f"still {looks[-1]!r}"
        time.sleep(LOOK)
        looks.append(look())
    return looks


def watched(url: str) -> tuple[int, int, float, int]:
    """Width, height, seconds and frames per second of the video at `url`."""
    answer = httpx.get(url, timeout=10, trust_env=False).raise_for_status()
    assert answer.headers["Content-Type"] == "video/mp4"
    return seen(answer.content)


def seen(film: bytes) -> tuple[int, int, float, int]:
    """The same of a video that is here."""
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))  # never all in memory
        assert stream.average_rate is not None
        fps = int(stream.average_rate)
        return stream.width, stream.height, frames / fps, fps
