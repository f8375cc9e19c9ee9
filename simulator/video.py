"""Encodes playable MP4 clips of any size and length, cheaply, unique to each prompt."""

import asyncio
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import av

from simulator import slate as slates
from simulator.slate import HUES, Slate

#: Maximum cached clips. A 5 s 720p clip is about 70 kB, so the cache is about 10 MB.
CACHED_CLIPS = 128

#: Size of every clip in tiny mode, in bytes, as the benchmarks assume.
TINY_BYTES = 200_000


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
_TINY_SLATE = Slate(prompt="tiny", model="", provider="simulator")


class Studio:
    """Encodes clips on a few threads, each distinct clip once."""

    def __init__(self, *, tiny: bool = False) -> None:
        self._tiny = tiny
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="studio")
        self._films: OrderedDict[tuple[Clip, Slate, int], asyncio.Future[bytes]] = OrderedDict()

    async def film(self, clip: Clip, fingerprint: bytes, slate: Slate) -> bytes:
        """The clip for this fingerprint: deterministic, and unique to it."""
        if self._tiny:
            film = await self._encoded(TINY, _TINY_SLATE, 0)
            return stamped(film, fingerprint, size=TINY_BYTES)
        return stamped(await self._encoded(clip, slate, hue_of(fingerprint)), fingerprint)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _encoded(self, clip: Clip, slate: Slate, hue: int) -> bytes:
        film = self._films.get((clip, slate, hue))
        if film is None or _failed(film):
            loop = asyncio.get_running_loop()
            film = loop.run_in_executor(self._threads, encode, clip, slate, hue)
            self._films[clip, slate, hue] = film
            while len(self._films) > CACHED_CLIPS:
                self._films.popitem(last=False)
        self._films.move_to_end((clip, slate, hue))
        # Shielded: one client that disconnects must not cancel an encoding others wait for.
        return await asyncio.shield(film)


def _failed(film: asyncio.Future[bytes]) -> bool:
    return film.done() and (film.cancelled() or film.exception() is not None)


def hue_of(fingerprint: bytes) -> int:
    return int.from_bytes(fingerprint[:4]) % HUES


def encode(clip: Clip, slate: Slate, hue: int) -> bytes:
    """H.264 in MP4: a slate with a running time; deterministic."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=clip.fps, options={"preset": "ultrafast", "crf": "30"}
        )
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        # One thread, so that the bytes do not depend on the machine; the studio has its own
        # threads.
        stream.codec_context.thread_count = 1
        for frame in slates.frames(
            slate,
            width=clip.width,
            height=clip.height,
            seconds=clip.seconds,
            fps=clip.fps,
            hue=hue,
        ):
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


def _even(pixels: float) -> int:
    """The nearest even number: 4:2:0 video subsamples colour by two."""
    return max(2, 2 * round(pixels / 2))
