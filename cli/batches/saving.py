"""Brings a batch's results and videos home: a second run goes on where the first one ended."""

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import IO, Any, Final, TextIO

from cli.api import Json
from cli.errors import Refused
from longtake import APIError, Client, DownloadCorrupt, Job, LineResult, NoVideo, Output

#: Jobs whose videos are downloaded at a time.
PARALLEL: Final = 4
MANIFEST: Final = "manifest.jsonl"
#: Maximum bytes of a line's own name in the name of a file.
_LONGEST: Final = 100


@dataclass(slots=True)
class Saved:
    """What a run brought home."""

    videos: int = 0
    #: Of these, the ones that were there before.
    there: int = 0
    errors: list[str] = field(default_factory=list)


def save_results(client: Client, batch_id: str, *, to: str | None, status: str | None) -> IO[str]:
    """Write the results as JSON Lines in input order; returns them as a file at its beginning.

    `to` is a path, `-` for standard output, or None. A file gets its name when it is complete.
    """
    kept = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    try:
        with _written(to) as file:
            for line in client.batches.results(batch_id, status=status):
                text = json.dumps(line.raw, ensure_ascii=False, separators=(",", ":")) + "\n"
                kept.write(text)
                if file is not None:
                    file.write(text)
    except BaseException:
        kept.close()
        raise
    kept.seek(0)
    return kept


@contextmanager
def _written(to: str | None) -> Iterator[TextIO | None]:
    if to is None or to == "-":
        yield None if to is None else sys.stdout
        return
    target = Path(to)
    partial = target.with_name(f"{target.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise Refused(f"cannot write {to}: {error.strerror}") from error


def save_videos(client: Client, lines: IO[str], folder: Path) -> Saved:
    """Download the stored videos of results into a folder, and a manifest beside them.

    What is there already and has the right hash is kept, and a part of a video is gone on with. A
    video that can't be had is told in the manifest and in `errors`.

    Raises:
        Refused: the folder can't be written to.
        LongtakeError: the API was unavailable; the next run goes on.
    """
    saved, stop = Saved(), Event()
    waiting: deque[tuple[LineResult, Future[list[Json]]]] = deque()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _written(str(folder / MANIFEST)) as manifest, ThreadPoolExecutor(PARALLEL) as pool:
            assert manifest is not None  # noqa: S101 - a path was given
            try:
                for text in lines:
                    line = LineResult.of(json.loads(text))
                    future = pool.submit(_save_line, client, line, folder, stop)
                    waiting.append((line, future))
                    if len(waiting) > 2 * PARALLEL:
                        _note(*waiting.popleft(), manifest, saved)
                while waiting:
                    _note(*waiting.popleft(), manifest, saved)
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror}") from error
    return saved


class _Stopped(Exception):
    """The run ends; what was downloaded so far stays in its `.part` file."""


def _save_line(client: Client, line: LineResult, folder: Path, stop: Event) -> list[Json]:
    """The manifest's entries of a line's videos."""
    if line.job is None:
        return []
    return [
        _save_video(client, line.job, output, folder / file_name(line, line.job, output), stop)
        for output in line.job.videos
    ]


def _save_video(client: Client, job: Job, output: Output, target: Path, stop: Event) -> Json:
    came = 0

    def go_on(size: int, _: int | None) -> None:
        nonlocal came
        came = size
        if stop.is_set():
            raise _Stopped

    entry: Json = {"file": target.name, "sha256": output.sha256, "bytes": output.bytes}
    try:
        client.download(job, target, index=output.index, on_progress=go_on)
    except (NoVideo, DownloadCorrupt) as error:
        return {"error": str(error)}
    except APIError as error:
        if error.status >= 500 or error.status in {401, 403, 429}:  # noqa: PLR2004 - not about it
            raise
        return {"error": str(error)}
    return entry | {"was_there": not came}


def _note(line: LineResult, future: Future[list[Json]], manifest: TextIO, saved: Saved) -> None:
    """Write one line of the manifest when its videos are there."""
    videos: list[Any] = []
    for entry in future.result():
        if "error" in entry:
            saved.errors.append(f"line {line.line}: {entry['error']}")
        else:
            saved.videos += 1
            saved.there += entry.pop("was_there")
        videos.append(entry)
    told = {
        "line": line.line,
        "custom_id": line.custom_id,
        "status": line.status,
        "job_id": line.job.id if line.job else None,
        "videos": videos,
    }
    manifest.write(json.dumps(told, ensure_ascii=False) + "\n")


def file_name(line: LineResult, job: Job, output: Output) -> str:
    """Such as `000007-fox.mp4`, or `000007-fox-1.mp4` of a job with several videos."""
    own = "".join(
        letter if letter.isalnum() or letter in "-_." else "_"
        for letter in line.custom_id or job.id
    )
    short = os.fsencode(own)[:_LONGEST].decode(errors="ignore")
    number = f"-{output.index}" if len(job.outputs) > 1 else ""
    ending = "webm" if output.content_type == "video/webm" else "mp4"
    return f"{line.line:06}-{short}{number}.{ending}"
