"""Downloads one video to a file: goes on where an earlier download ended, and checks its hash."""

from collections.abc import Callable
from pathlib import Path

import httpx

from longtake._async.wire import AsyncWire
from longtake.calls import Call
from longtake.errors import APIError, ConnectionFailed, UnreadableAnswer
from longtake.partial import Part, is_there
from longtake.results import Output
from longtake.seam import async_blocking, async_sleep

_PAST_THE_END = httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE


async def download(
    wire: AsyncWire,
    path: str,
    output: Output,
    target: Path,
    *,
    on_progress: Callable[[int, int | None], object] | None,
) -> None:
    """The video at `path` as the file `target`; `on_progress` gets its bytes so far, and of all.

    Raises:
        DownloadCorrupt: the bytes are not those of the output's `sha256`.
        OSError: the file can't be written.
    """
    if await async_blocking(is_there, target, output):
        return
    part = await async_blocking(Part, target)
    try:
        await _fill(wire, path, output, part, on_progress)
        if part.is_resumed and not part.holds(output):  # then what it went on from was wrong
            part.restart()
            await _fill(wire, path, output, part, on_progress)
        await async_blocking(part.finish, output)
    finally:
        part.close()


async def _fill(
    wire: AsyncWire,
    path: str,
    output: Output,
    part: Part,
    on_progress: Callable[[int, int | None], object] | None,
) -> None:
    patience = wire.patience()
    while output.bytes is None or part.size != output.bytes:
        had = part.size
        try:
            async with wire.opened(_call(path, output, part)) as response:
                _begin(response, part)
                async for piece in response.aiter_bytes():
                    await async_blocking(part.write, piece)
                    if on_progress is not None:
                        on_progress(part.size, output.bytes)
            return
        except (APIError, ConnectionFailed) as error:
            if had and isinstance(error, APIError) and error.status == _PAST_THE_END:
                part.restart()
                continue
            if part.size > had:
                patience.progressed()
            pause = patience.pause_after(error)
        await async_sleep(pause)


def _call(path: str, output: Output, part: Part) -> Call:
    """Without an encoding: the bytes that come are those that are counted and hashed."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and output.sha256:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{output.sha256}"'}
    return Call("GET", path, headers=headers)


def _begin(response: httpx.Response, part: Part) -> None:
    """A whole video replaces what was there; a part of one must go on exactly there."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        part.restart()
    elif not response.headers.get("content-range", "").startswith(f"bytes {part.size}-"):
        raise UnreadableAnswer("another range came than the one that was asked for")
