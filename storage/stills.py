"""Stills of a stored video: a poster, and a sheet of frames from its start to its end."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.base import NotAVideo
from storage.facts import Stills
from storage.frames import jpeg
from storage.probe import opened, picture_of, translated_errors

#: Frames of a sheet, and of each row. The poster is the middle frame.
FRAMES, IN_A_ROW = 8, 4
#: Longest sides of a poster and of a sheet's frame, and the gap between frames, in pixels.
POSTER_SIDE, FRAME_SIDE, GAP = 1280, 320, 4
#: CPU seconds after which only the frames found so far are used: less than an inspector's limit.
_ENOUGH: Final = 10.0
#: Gaps up to so many seconds are decoded instead of skipped by a seek.
_SKIPPED: Final = 5.0
_LEAST_SIDE: Final = 2
_PIXELS: Final = "rgb24"
_BYTES_OF_A_PIXEL: Final = 3
_BACKGROUND: Final = b"\x16\x18\x1d"


def stills(path: Path) -> Stills:
    """The poster and the sheet of a video, as JPEGs; runs in an inspector's process only.

    Raises:
        NotAVideo: no frame can be decoded.
    """
    with translated_errors():
        frames = _frames(path)
        middle = frames[len(frames) // 2]
        return Stills(
            poster=jpeg(middle),
            sheet=jpeg(_sheet([_fitted(each, FRAME_SIDE) for each in frames])),
        )


def _frames(path: Path) -> list[VideoFrame]:
    """Frames in order: FRAMES of them, or fewer if the video is short or slow to decode."""
    with opened(path) as container:
        stream = picture_of(container)
        stream.codec_context.thread_count = 1
        # Scaled one by one: eight of the largest frames would take all of an inspector's memory.
        found = [_fitted(each, POSTER_SIDE) for each in _found(container, stream)]
    if not found:
        msg = "the video has no frames"
        raise NotAVideo(msg)
    return found


def _found(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The first frame at or after the middle of each equal part of the video."""
    began = time.process_time()
    seconds = _seconds(container, stream)
    wanted = [seconds * (2 * number + 1) / (2 * FRAMES) for number in range(FRAMES)]
    decoded, last, at = container.decode(stream), None, 0.0
    may_seek = stream.time_base is not None
    for moment in wanted:
        before, skips = at, may_seek and moment - at > _SKIPPED
        if skips and stream.time_base is not None:
            offset = (stream.start_time or 0) + int(moment / stream.time_base)
            container.seek(offset, stream=stream, backward=True)
            decoded = container.decode(stream)
        for frame in decoded:
            last, at = frame, _second(frame, stream)
            if skips and at < before:
                may_seek = False  # with few key frames each seek would lead back
            if at >= moment or time.process_time() - began > _ENOUGH:
                break
        else:
            break  # the header promised more
        yield last
        if time.process_time() - began > _ENOUGH:
            return
    if last is not None and at < wanted[0]:
        yield last


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    """The video's length according to its header, or 0 if that is missing."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000


def _second(frame: VideoFrame, stream: VideoStream) -> float:
    """When a frame is shown, in seconds from the start."""
    if frame.pts is None or stream.time_base is None:
        return 0.0
    return float((frame.pts - (stream.start_time or 0)) * stream.time_base)


def _fitted(frame: VideoFrame, side: int) -> VideoFrame:
    """The frame scaled so that its longer side is at most `side`; both sides are even."""
    scale = min(1.0, side / max(frame.width, frame.height))
    width, height = (
        max(_LEAST_SIDE, round(each * scale / 2) * 2) for each in (frame.width, frame.height)
    )
    return frame.reformat(width=width, height=height, format=_PIXELS)


def _sheet(frames: Sequence[VideoFrame]) -> VideoFrame:
    """The frames in rows, all in the size of the first."""
    width, height = frames[0].width, frames[0].height
    columns = min(IN_A_ROW, len(frames))
    rows = -(-len(frames) // columns)
    whole = VideoFrame(
        columns * width + (columns - 1) * GAP, rows * height + (rows - 1) * GAP, _PIXELS
    )
    plane = whole.planes[0]
    canvas = bytearray(_BACKGROUND * (plane.buffer_size // _BYTES_OF_A_PIXEL + 1))
    for number, frame in enumerate(frames):
        left = number % columns * (width + GAP) * _BYTES_OF_A_PIXEL
        top = number // columns * (height + GAP)
        for line, pixels in enumerate(_lines(frame, width=width, height=height)):
            start = (top + line) * plane.line_size + left
            canvas[start : start + len(pixels)] = pixels
    plane.update(bytes(canvas[: plane.buffer_size]))
    return whole


def _lines(frame: VideoFrame, *, width: int, height: int) -> Iterator[bytes]:
    """A frame's pixels by line, scaled if the video changes its size midway."""
    if (frame.width, frame.height) != (width, height):
        frame = frame.reformat(width=width, height=height)
    plane = frame.planes[0]
    content = bytes(plane)
    for line in range(height):
        start = line * plane.line_size
        yield content[start : start + width * _BYTES_OF_A_PIXEL]
