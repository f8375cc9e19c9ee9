"""The last frame of a stored video, as a picture that any decoder reads."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import pytest

from storage.base import NotAVideo
from storage.frames import last_frame

MakeVideo = Callable[..., Path]


def _grey(width: int, height: int, level: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def _brightness(jpeg: bytes) -> float:
    with av.open(BytesIO(jpeg), "r") as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    pixels = bytes(frame.planes[0])
    return sum(pixels) / len(pixels)


def test_it_is_the_last_frame_and_not_the_first(tmp_path: Path) -> None:
    # Given a film that is dark until its last frame, with one key frame only
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in [20] * 30 + [230]:
            container.mux(stream.encode(_grey(64, 48, level)))
        container.mux(stream.encode())

    # When its last frame is taken
    jpeg = last_frame(path)

    # Then it is a bright JPEG of the film's size
    assert jpeg.startswith(b"\xff\xd8")
    assert _brightness(jpeg) > 200
    with av.open(BytesIO(jpeg)) as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (64, 48)


def test_what_is_no_video_is_told_so(tmp_path: Path) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<html>gone</html>")

    with pytest.raises(NotAVideo):
        last_frame(page)
