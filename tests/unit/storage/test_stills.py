"""Posters and sheets of frames from long, short, upright and invalid videos."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage import stills as making
from storage.base import NotAVideo
from storage.stills import FRAME_SIDE, FRAMES, GAP, IN_A_ROW, POSTER_SIDE, stills

MakeVideo = Callable[..., Path]


def _grey(size: tuple[int, int], level: int) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def film(path: Path, levels: Sequence[int], *, size: tuple[int, int], rate: int = 24) -> Path:
    """A video with one key frame, in which each frame has a uniform brightness."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "1000", "crf": "1"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for level in levels:
            container.mux(stream.encode(_grey(size, level)))
        container.mux(stream.encode())
    return path


def drawn(jpeg: bytes) -> tuple[int, int, bytes, int]:
    """A picture's width, height, and its brightness by line of so many bytes."""
    with av.open(BytesIO(jpeg), "r") as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    return frame.width, frame.height, bytes(frame.planes[0]), frame.planes[0].line_size


def levels_of(sheet: bytes, *, size: tuple[int, int], count: int = FRAMES) -> list[int]:
    """The brightness at the middle of each frame of a sheet."""
    _, _, pixels, line = drawn(sheet)
    width, height = size
    middles = [
        (n % IN_A_ROW * (width + GAP) + width // 2, n // IN_A_ROW * (height + GAP) + height // 2)
        for n in range(count)
    ]
    return [pixels[y * line + x] for x, y in middles]


def test_a_sheet_has_frames_of_the_whole_film_in_their_order(tmp_path: Path) -> None:
    levels = [20 + n for n in range(200)]
    made = stills(film(tmp_path / "film.mp4", levels, size=(640, 360)))

    width, height, _, _ = drawn(made.sheet)
    size = (FRAME_SIDE, 180)
    assert (width, height) == (4 * size[0] + 3 * GAP, 2 * size[1] + GAP)
    found = levels_of(made.sheet, size=size)
    assert found == sorted(set(found))
    # Limited brightness (16 to 235) is shown at full range.
    wanted = [(levels[200 * (2 * n + 1) // 16] - 16) * 255 / 219 for n in range(FRAMES)]
    assert found == pytest.approx(wanted, abs=4)


def test_a_poster_is_of_the_films_middle_and_bounded(tmp_path: Path) -> None:
    made = stills(film(tmp_path / "film.mp4", [20] * 12 + [200] * 12 + [20] * 8, size=(1920, 960)))

    width, height, pixels, line = drawn(made.poster)
    assert (width, height) == (POSTER_SIDE, 640)
    assert pixels[320 * line + 640] > 180


@pytest.mark.parametrize(
    ("size", "fitted"), [((360, 640), (180, 320)), ((64, 48), (64, 48)), ((640, 16), (320, 8))]
)
def test_frames_keep_their_shape_and_small_ones_their_size(
    tmp_path: Path, size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    made = stills(film(tmp_path / "film.mp4", [90] * 48, size=size))

    width, height, _, _ = drawn(made.sheet)
    assert (width, height) == (4 * fitted[0] + 3 * GAP, 2 * fitted[1] + GAP)


def test_a_film_of_one_frame_has_a_sheet_of_one(tmp_path: Path) -> None:
    made = stills(film(tmp_path / "film.mp4", [120], size=(320, 180)))

    assert drawn(made.sheet)[:2] == drawn(made.poster)[:2] == (320, 180)


def test_long_films_are_sought_through_and_slow_ones_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.mp4", [20 + n for n in range(200)], size=(320, 180), rate=2)

    whole = levels_of(stills(path).sheet, size=(320, 180))
    monkeypatch.setattr(making, "_ENOUGH", -1.0)
    short = stills(path)

    assert whole == sorted(set(whole))
    assert len(whole) == FRAMES
    assert drawn(short.sheet)[:2] == (320, 180)


def test_a_long_film_with_one_key_frame_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, seen = 400, list[float]()
    path = film(tmp_path / "film.mp4", [120] * frames, size=(64, 64), rate=4)

    def counted(frame: VideoFrame, _: VideoStream) -> float:
        seen.append(frame.time or 0.0)
        return seen[-1]

    monkeypatch.setattr(making, "_second", counted)
    making.stills(path)

    assert len(seen) < 1.2 * frames


def test_webm_has_stills_too(make_video: MakeVideo) -> None:
    made = stills(make_video("stills.webm", codec="libvpx-vp9"))

    assert drawn(made.sheet)[:2] == (4 * 128 + 3 * GAP, 2 * 72 + GAP)


def test_a_file_that_is_no_video_has_no_stills(tmp_path: Path) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<html>gone</html>")

    with pytest.raises(NotAVideo):
        stills(page)
