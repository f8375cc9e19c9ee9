"""Checks that a downloaded file is a complete video, and measures it.

Only one frame is decoded: truncation shows in the boxes, the packets or the timestamps (verified
with PyAV 18.1). The exception is a fragmented MP4 that ends exactly between two fragments; there
only the announced size reveals it (`storage.receive`). A hostile file may crash FFmpeg, so this
runs in an inspector's process only: see `storage.inspectors`.
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
from storage.facts import Probe

#: Largest frame, in pixels; larger ones are rejected before a decoder allocates memory.
MOST_PIXELS = 8192 * 8192
#: Maximum number of top-level boxes of an MP4; a fragmented one has two per fragment.
MOST_BOXES = 100_000
#: Maximum number of packets, of sound and picture together; four hours have about a million.
MOST_PACKETS = 2_000_000

# A "video" may be a playlist that refers to other files or hosts: allow only these demuxers, and
# only the file itself. Edit lists hide frames that the header counts.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
    "ignore_editlist": "1",
    # Opening a file decodes frames that the header describes badly.
    "max_pixels": str(MOST_PIXELS),
}
#: How much earlier than the header's duration a complete file may end: seconds, and a share.
_SLACK_SECONDS = 0.5
_SLACK_SHARE = 0.05
_HEAD = 4096
_EBML = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packets:
    """Totals over all packets of a file."""

    frames: int
    #: Seconds from the first start to the last end: of all streams, and of the video stream.
    span: float
    video_span: float


def probe(path: Path) -> Probe:
    """Measure the video in `path`; blocks while reading the whole file.

    Raises:
        NotAVideo: it is not a video, has no video stream, or its first frame can't be decoded.
        Truncated: it is cut off.
    """
    content_type = _sniff(path)
    if content_type in {"video/mp4", "video/quicktime"}:
        _check_boxes(path)
    with translated_errors(), opened(path) as container:
        stream = picture_of(container)
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
    msg = f"received {_what_else(head)} instead of an MP4, QuickTime, WebM or Matroska video"
    raise NotAVideo(msg)


def _what_else(head: bytes) -> str:
    # The content may include a signed link or a key, so the message names only its kind.
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if start.startswith(b"<"):
        return "an XML document"
    if start.startswith((b"{", b"[")):
        return "JSON"
    return "text" if head.isascii() else "unknown binary data"


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
            msg = f"the video is cut off after {size:,} bytes, in the middle of a box"
            raise Truncated(msg)
        if length < smallest:
            msg = "the video is damaged: a box has an invalid length"
            raise NotAVideo(msg)
        yield kind
        start += length
    msg = f"the video has more than {MOST_BOXES:,} boxes"
    raise NotAVideo(msg)


def opened(path: Path) -> InputContainer:
    """The file, readable as one of the allowed kinds; tags in another encoding do no harm."""
    return av.open(str(path), options=dict(_OPTIONS), metadata_errors="replace")


@contextmanager
def translated_errors() -> Iterator[None]:
    """FFmpeg's errors as NotAVideo."""
    try:
        yield
    except (OSError, MemoryError):
        # A disk error is not the video's fault; whether memory is, the limits tell.
        raise
    except FFmpegError as error:
        msg = f"the video can't be read: {error.strerror}"
        raise NotAVideo(msg) from error


def picture_of(container: InputContainer) -> VideoStream:
    """The video stream; raises NotAVideo if there is none, or its frames are too large."""
    if not container.streams.video:
        msg = "the file has no video stream, only sound or data"
        raise NotAVideo(msg)
    stream = container.streams.video[0]
    if stream.width * stream.height == 0:  # FFmpeg found none, or one above `max_pixels`
        msg = f"the video has no frame size, or one above {MOST_PIXELS:,} pixels"
        raise NotAVideo(msg)
    if stream.width * stream.height > MOST_PIXELS:
        msg = f"the frame size {stream.width}x{stream.height} is not allowed"
        raise NotAVideo(msg)
    return stream


def _read_to_the_end(container: InputContainer, stream: VideoStream) -> _Packets:
    frames = 0
    whole, picture = _Clock(), _Clock()
    for number, packet in enumerate(container.demux()):
        if number >= MOST_PACKETS:
            msg = f"the video has more than {MOST_PACKETS:,} packets"
            raise NotAVideo(msg)
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
    """The time span of packets, which may come in any order."""

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
    """Compare the packets with the header's frame count and duration, where it has them."""
    if packets.frames < stream.frames:
        msg = f"the video is cut off: it has {packets.frames} of {stream.frames} frames"
        raise Truncated(msg)
    if packets.frames == 0:
        msg = "the video has no frames"
        raise NotAVideo(msg)
    promised = (container.duration or 0) / av.time_base
    slack = max(_SLACK_SECONDS, _SLACK_SHARE * promised)
    if packets.span < promised - slack:
        msg = f"the video is cut off: it has {packets.span:.1f} of {promised:.1f} seconds"
        raise Truncated(msg)


def _decode_one(container: InputContainer, stream: VideoStream) -> None:
    container.seek(0)
    stream.codec_context.thread_count = 1  # several would take more memory, for one frame
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
    """The duration in the header: the video stream's, unless an edit list shortens the file."""
    if stream.duration is None or stream.time_base is None:
        return None
    own = float(stream.duration * stream.time_base)
    return min(own, container.duration / av.time_base) if container.duration else own
