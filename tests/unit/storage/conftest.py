"""Small real videos, made once for all the tests of storage."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import av
import pytest

MakeVideo = Callable[..., Path]


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> MakeVideo:
    """Make a video of 24 frames a second, of noise, so that it has a body to cut."""
    folder = tmp_path_factory.mktemp("videos")

    def make(
        name: str,
        *,
        codec: Literal["libx264", "libvpx-vp9"] = "libx264",
        frames: int = 36,
        size: tuple[int, int] = (128, 72),
        movflags: Mapping[str, str] | None = None,
        sound: bool = False,
    ) -> Path:
        path = folder / name
        with av.open(str(path), "w", options=dict(movflags or {})) as container:
            stream = container.add_stream(codec, rate=24)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            audio = container.add_stream("aac", rate=48_000) if sound else None
            for frame in _noise(size, frames):
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if audio:
                container.mux(audio.encode(_silence(seconds=frames / 24)))
                container.mux(audio.encode())
        return path

    return make


def _noise(size: tuple[int, int], frames: int) -> list[av.VideoFrame]:
    chance = random.Random(7)
    made = []
    for _ in range(frames):
        frame = av.VideoFrame(*size, "yuv420p")
        for plane in frame.planes:
            plane.update(chance.randbytes(plane.buffer_size))
        made.append(frame)
    return made


def _silence(*, seconds: float) -> av.AudioFrame:
    frame = av.AudioFrame("fltp", "mono", round(48_000 * seconds))
    frame.sample_rate = 48_000
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


@pytest.fixture(scope="session")
def make_video_once(make_video: MakeVideo) -> Callable[[dict[str, str]], Path]:
    """The same, but one video for each set of options, however often it is asked for."""
    made: dict[str, Path] = {}

    def once(movflags: dict[str, str]) -> Path:
        name = f"once-{movflags.get('movflags', 'plain')}.mp4"
        if name not in made:
            made[name] = make_video(name, movflags=movflags)
        return made[name]

    return once
