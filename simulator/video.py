"""Generates playable MP4 clips of any size and length, cheaply, unique to each prompt."""

import asyncio
import io
import math
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import av

#: Backgrounds and paths of the moving square; their product limits the clips encoded per size, and
#: so the cache, however many prompts there are.
HUES = 12
PATHS = 4
VARIANTS = HUES * PATHS

#: Maximum cached clips. A 5 s 720p clip is about 15 kB, so the cache is a few MB.
CACHED_CLIPS = 128

#: Size of every clip in tiny mode, in bytes, as the benchmarks assume.
TINY_BYTES = 200_000

_BACKGROUND_LUMA = 96
_SQUARE_LUMA = 224


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's format: pixels, seconds, frames per second."""

    width: int
    height: int
    seconds: int
    fps: int = 24

    @classmethod
    def shaped(cls, ratio: str, *, short_side: int, seconds: int, fps: int = 24) -> Self:
        """A clip of aspect `ratio` (such as "16:9") with a short side of `short_side` pixels."""
        across, down = (int(part) for part in ratio.split(":"))
        unit = short_side / min(across, down)
        return cls(_even(across * unit), _even(down * unit), seconds, fps)

    @property
    def frames(self) -> int:
        return self.seconds * self.fps


#: The only clip in tiny mode.
TINY = Clip(width=320, height=180, seconds=1)


class Studio:
    """Encodes clips on a few threads, each distinct clip once."""

    def __init__(self, *, tiny: bool = False) -> None:
        self._tiny = tiny
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="studio")
        self._films: OrderedDict[tuple[Clip, int], asyncio.Future[bytes]] = OrderedDict()

    async def film(self, clip: Clip, fingerprint: bytes) -> bytes:
        """The clip for this fingerprint: deterministic, and unique to it."""
        if self._tiny:
            return stamped(await self._encoded(TINY, 0), fingerprint, size=TINY_BYTES)
        return stamped(await self._encoded(clip, variant_of(fingerprint)), fingerprint)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _encoded(self, clip: Clip, variant: int) -> bytes:
        film = self._films.get((clip, variant))
        if film is None or _failed(film):
            loop = asyncio.get_running_loop()
            film = loop.run_in_executor(self._threads, encode, clip, variant)
            self._films[clip, variant] = film
            while len(self._films) > CACHED_CLIPS:
                self._films.popitem(last=False)
        self._films.move_to_end((clip, variant))
        # Shielded: one client that disconnects must not cancel an encoding others wait for.
        return await asyncio.shield(film)


def _failed(film: asyncio.Future[bytes]) -> bool:
    return film.done() and (film.cancelled() or film.exception() is not None)


def variant_of(fingerprint: bytes) -> int:
    return int.from_bytes(fingerprint[:4]) % VARIANTS


def encode(clip: Clip, variant: int) -> bytes:
    """H.264 in MP4: a bright square crossing a coloured background; deterministic."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=clip.fps, options={"preset": "ultrafast", "crf": "30"}
        )
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        # One thread, so that the bytes do not depend on the machine; the studio has its own
        # threads.
        stream.codec_context.thread_count = 1
        for frame in _frames(clip, variant):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def stamped(film: bytes, fingerprint: bytes, *, size: int | None = None) -> bytes:
    """The clip followed by an MP4 `free` box with the fingerprint, padded to `size` bytes if given.

    Players skip a `free` box (ISO/IEC 14496-12, 8.1.2), so clips differ without re-encoding.
    """
    padding = b"" if size is None else bytes(max(0, size - len(film) - 8 - len(fingerprint)))
    content = fingerprint + padding
    return b"".join((film, (8 + len(content)).to_bytes(4), b"free", content))


def _frames(clip: Clip, variant: int) -> Iterator[av.VideoFrame]:
    """One frame, redrawn in place: the encoder copies it before asking for the next."""
    hue, path = divmod(variant, PATHS)
    frame = av.VideoFrame(clip.width, clip.height, "yuv420p")
    _paint(frame, hue)
    luma = memoryview(frame.planes[0])
    stride = frame.planes[0].line_size
    side = min(clip.width, clip.height) // 5
    for number in range(clip.frames):
        x, y = _position(clip, path, number / clip.frames, side=side)
        rows = range(y * stride + x, (y + side) * stride + x, stride)
        _fill(luma, rows, bytes([_SQUARE_LUMA]) * side)
        frame.pts = number
        yield frame
        _fill(luma, rows, bytes([_BACKGROUND_LUMA]) * side)


def _paint(frame: av.VideoFrame, hue: int) -> None:
    angle = 2 * math.pi * hue / HUES
    chroma = (128 + round(90 * math.cos(angle)), 128 + round(90 * math.sin(angle)))
    for plane, level in zip(frame.planes, (_BACKGROUND_LUMA, *chroma), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)


def _position(clip: Clip, path: int, moment: float, *, side: int) -> tuple[int, int]:
    """The square's corner at `moment` (0..1): moving across, down, diagonally or in a circle."""
    along_x, along_y = (
        (moment, 0.5),
        (0.5, moment),
        (moment, moment),
        (0.5 + 0.45 * math.cos(2 * math.pi * moment), 0.5 + 0.45 * math.sin(2 * math.pi * moment)),
    )[path]
    return int(along_x * (clip.width - side)), int(along_y * (clip.height - side))


def _fill(luma: memoryview, rows: range, pixels: bytes) -> None:
    for start in rows:
        luma[start : start + len(pixels)] = pixels


def _even(pixels: float) -> int:
    """The nearest even number: 4:2:0 video subsamples colour by two."""
    return max(2, 2 * round(pixels / 2))
