"""The finished videos: downloaded over HTTP, decoded and measured."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from cli.api import Api, Json
from cli.demo.shots import Shot
from cli.errors import CommandError

#: Tolerance of a video's length, in seconds: one frame, rounded up.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One downloaded video and its defect, if any."""

    path: Path
    frames: int
    seconds: float
    defect: str | None


async def bring(api: Api, shots: Sequence[Shot], jobs: Sequence[Json], to: Path) -> list[Film]:
    """Download and measure every complete job's video, a few at a time."""
    slots = asyncio.Semaphore(4)

    async def one(shot: Shot, job: Json) -> Film:
        async with slots:
            return await asyncio.to_thread(_bring, api, job, to / shot.file)

    pairs = zip(shots, jobs, strict=True)
    return await asyncio.gather(
        *(one(shot, job) for shot, job in pairs if job["status"] == "complete")
    )


def _bring(api: Api, job: Json, path: Path) -> Film:
    try:
        api.download(job["video_url"], path)
    except (CommandError, OSError) as error:
        return _broken(path, error)
    return inspect(job, path)


def inspect(job: Json, path: Path) -> Film:
    """Decode and measure a file, which must be the video of a complete job."""
    try:
        frames, seconds, size = _measure(path)
        defect = _defect(job, path, frames=frames, seconds=seconds, size=size)
    except (av.FFmpegError, OSError, LookupError) as error:
        return _broken(path, error)
    return Film(path=path, frames=frames, seconds=seconds, defect=defect)


def _broken(path: Path, error: Exception) -> Film:
    return Film(path=path, frames=0, seconds=0, defect=f"{path.name}: {error}")


def _measure(path: Path) -> tuple[int, float, str]:
    """Number of decoded frames, length in seconds, and "WIDTHxHEIGHT"."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        return frames, float(frames / rate) if rate else 0.0, f"{stream.width}x{stream.height}"


def _defect(job: Json, path: Path, *, frames: int, seconds: float, size: str) -> str | None:
    expected = job["outputs"][0]
    content = path.read_bytes()
    if abs(seconds - job["duration_seconds"]) > TOLERANCE:
        return f"{path.name} lasts {seconds:.2f} s, not {job['duration_seconds']} s"
    if size != job["size"]:
        return f"{path.name} is {size}, not {job['size']}"
    if (
        hashlib.sha256(content).hexdigest() != expected["sha256"]
        or len(content) != expected["bytes"]
    ):
        return f"{path.name} differs from the job's sha256 or size"
    return None if frames else f"{path.name} has no frames"
