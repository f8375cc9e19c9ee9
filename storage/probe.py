"""What a downloaded file really is: a whole video and its measures, or words that say why not.

Nothing here decodes more than one frame: a cut shows in the boxes, in the packets or in the clock
(tried with PyAV 18.1). Only a fragmented MP4 that ends exactly between two fragments looks whole;
there the announced size is what tells, see `storage.receive`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from storage.base import NotAVideo, Truncated

#: Frames larger than this are refused before a decoder makes room for one, in pixels.
MOST_PIXELS = 8192 * 8192
#: Top-level boxes of an MP4; a fragmented one has two for each fragment.
MOST_BOXES = 100_000

# A "video" may be a playlist that names other files or hosts: only these readers may look at it,
# and only at the file itself. Edit lists hide frames that the header counts.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
    "ignore_editlist": "1",
}
#: By how much a whole file's last packet may end before the header says, in seconds or as a share.
_SLACK_SECONDS = 0.5
_SLACK_SHARE = 0.05
_HEAD = 4096
_EBML = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A video's measures, read from its own bytes."""

    content_type: str
    duration_seconds: float
    #: Pixels, as coded.
    width: int
    height: int
    fps: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packets:
    """What reading a file to its end showed."""

    frames: int
    #: Seconds from the earliest start to the latest end, over all streams and of the video alone.
    span: float
    video_span: float


def probe(path: Path) -> Probe:
    """Measure the video in `path`; it blocks for as long as reading the file takes.

    Raises:
        NotAVideo: it is something else, has no picture, or its first frame can't be decoded.
        Truncated: it is cut off.
    """
    content_type = _sniff(path)
    if content_type in {"video/mp4", "video/quicktime"}:
        _check_boxes(path)
    with _in_words(), av.open(str(path), options=dict(_OPTIONS)) as container:
        stream = _picture(container)
        packets = _read_to_the_end(container, stream)
        _check_whole(container, stream, packets)
        _decode_one(container, stream)
        return _measure(content_type, container, stream, packets)


def _sniff(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        msg = "the file is empty, not a video"
        raise NotAVideo(msg)
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head.startswith(_EBML):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    msg = f"{_what_else(head)} came instead of an MP4, QuickTime, WebM or Matroska video"
    raise NotAVideo(msg)


def _what_else(head: bytes) -> str:
    # In the sender's own words it might hold a signed link or a key, so only its kind is told.
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if start.startswith(b"<"):
        return "an XML document"
    if start.startswith((b"{", b"[")):
        return "JSON"
    return "text" if head.isascii() else "something"


def _check_boxes(path: Path) -> None:
    """Walk the top-level boxes (ISO/IEC 14496-12, 4.2): each must end inside the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        kinds = list(_boxes(file, size))
    if b"moov" not in kinds:
        msg = "the video is cut off: its index (moov) is missing"
        raise Truncated(msg)


def _boxes(file: BinaryIO, size: int) -> Iterator[bytes]:
    start = 0
    for _ in range(MOST_BOXES):
        if start == size:
            return
        file.seek(start)
        header = file.read(16)
        kind = header[4:8]
        length = int.from_bytes(header[:4])
        smallest = 8
        if length == 1:
            length, smallest = int.from_bytes(header[8:]), 16
        elif length == 0:
            length = size - start
        if len(header) < smallest or start + length > size:
            msg = f"the video is cut off after {size:,} bytes, inside a part that is longer"
            raise Truncated(msg)
        if length < smallest:
            msg = "the video is damaged: a part of it has an impossible length"
            raise NotAVideo(msg)
        yield kind
        start += length
    msg = f"the video has more than {MOST_BOXES:,} parts"
    raise NotAVideo(msg)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError:
        # Our own disk's trouble is not the video's fault.
        raise
    except FFmpegError as error:
        msg = f"the video can't be read: {error.strerror}"
        raise NotAVideo(msg) from error


def _picture(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        msg = "the file has no picture, only sound or data"
        raise NotAVideo(msg)
    stream = container.streams.video[0]
    if not 0 < stream.width * stream.height <= MOST_PIXELS:
        msg = f"a picture of {stream.width}x{stream.height} pixels is no video"
        raise NotAVideo(msg)
    return stream


def _read_to_the_end(container: InputContainer, stream: VideoStream) -> _Packets:
    frames = 0
    whole, picture = _Clock(), _Clock()
    for packet in container.demux():
        if packet.is_corrupt:
            msg = f"the video is cut off after {frames} frames"
            raise Truncated(msg)
        if packet.pts is None or packet.time_base is None:
            continue
        begin = packet.pts * packet.time_base
        end = begin + (packet.duration or 0) * packet.time_base
        whole.saw(begin, end)
        if packet.stream.index == stream.index:
            frames += 1
            picture.saw(begin, end)
    return _Packets(frames=frames, span=whole.span, video_span=picture.span)


class _Clock:
    """The time that packets cover, whatever order they come in."""

    def __init__(self) -> None:
        self._begin: Fraction | None = None
        self._end = Fraction(0)

    def saw(self, begin: Fraction, end: Fraction) -> None:
        self._begin = begin if self._begin is None else min(self._begin, begin)
        self._end = max(self._end, end)

    @property
    def span(self) -> float:
        return 0.0 if self._begin is None else float(self._end - self._begin)


def _check_whole(container: InputContainer, stream: VideoStream, packets: _Packets) -> None:
    """Compare what was read with what the header promised, where it promised anything."""
    if packets.frames < stream.frames:
        msg = f"the video is cut off: {packets.frames} of {stream.frames} frames are there"
        raise Truncated(msg)
    if packets.frames == 0:
        msg = "the video has no frame"
        raise NotAVideo(msg)
    promised = (container.duration or 0) / av.time_base
    slack = max(_SLACK_SECONDS, _SLACK_SHARE * promised)
    if packets.span < promised - slack:
        msg = f"the video is cut off: {packets.span:.1f} of {promised:.1f} seconds are there"
        raise Truncated(msg)


def _decode_one(container: InputContainer, stream: VideoStream) -> None:
    container.seek(0)
    for _ in container.decode(stream):
        return
    msg = "the video's first frame can't be decoded"
    raise NotAVideo(msg)


def _measure(
    content_type: str, container: InputContainer, stream: VideoStream, packets: _Packets
) -> Probe:
    seconds = _duration(container, stream) or packets.video_span
    rate = stream.average_rate
    return Probe(
        content_type=content_type,
        duration_seconds=round(seconds, 3),
        width=stream.width,
        height=stream.height,
        fps=round(float(rate) if rate else packets.frames / seconds, 3),
        frames=packets.frames,
    )


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """What the header says: the picture's own length, unless an edit list shortens the whole."""
    if stream.duration is None or stream.time_base is None:
        return None
    own = float(stream.duration * stream.time_base)
    return min(own, container.duration / av.time_base) if container.duration else own
