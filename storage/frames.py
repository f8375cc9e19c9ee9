"""The last frame of a stored video, as a picture that another clip can start from."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Final

import av
from av.video.frame import VideoFrame

from storage.base import NotAVideo
from storage.probe import opened, picture_of, translated_errors

_JPEG: Final = "mjpeg"
#: JPEG needs full-range colours.
_PIXELS = "yuvj420p"


def last_frame(path: Path) -> bytes:
    """The video's last frame as a JPEG; runs in an inspector's process only.

    Raises:
        NotAVideo: no frame can be decoded.
    """
    with translated_errors():
        return jpeg(_last(path))


def jpeg(frame: VideoFrame) -> bytes:
    """The frame as a JPEG."""
    buffer = BytesIO()
    with av.open(buffer, "w", format=_JPEG) as container:
        stream = container.add_stream(_JPEG, rate=1)
        stream.width, stream.height = frame.width, frame.height
        stream.pix_fmt = _PIXELS
        picture = frame.reformat(format=_PIXELS)
        picture.pts = 0
        picture.time_base = Fraction(1)
        for packet in (*stream.encode(picture), *stream.encode()):
            container.mux(packet)
    return buffer.getvalue()


def _last(path: Path) -> VideoFrame:
    with opened(path) as container:
        stream = picture_of(container)
        stream.codec_context.thread_count = 1
        if stream.duration is not None:  # decode only from the last key frame
            container.seek(stream.duration, stream=stream, backward=True)
        last = None
        for frame in container.decode(stream):
            last = frame
    if last is None:
        raise NotAVideo("the video has no frames")
    return last
