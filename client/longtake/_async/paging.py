"""Reads lists: page after page as they are wanted, and lines as they come."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from longtake._async.wire import AsyncWire
from longtake.calls import Call
from longtake.errors import APIError, ConnectionFailed, UnreadableAnswer
from longtake.results import LineResult
from longtake.seam import AsyncStream, async_sleep
from longtake.streams import Lines, answered, loaded

T = TypeVar("T")


async def pages(
    wire: AsyncWire, path: str, read: Callable[[Any], T], params: Mapping[str, Any]
) -> AsyncStream[T]:
    """Everything in a list, page by page."""
    after = params.get("after")
    while True:
        page = await wire.json(Call("GET", path, params={**params, "after": after}))
        for raw in listed(page):
            yield answered(read, raw)
        following = page.get("next") if page.get("has_more") else None
        if following is None:
            return
        if following == after:
            raise UnreadableAnswer(f"the page after {after} is followed by itself")
        after = following


def listed(page: Any) -> list[Any]:
    """The `data` of a list; raises UnreadableAnswer."""
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list):
        raise UnreadableAnswer("the API's answer is no list")
    return data


async def result_lines(
    wire: AsyncWire, path: str, params: Mapping[str, Any]
) -> AsyncStream[LineResult]:
    """A batch's results as they come; a broken download goes on after its last line."""
    patience = wire.patience()
    after = params.get("after")
    while True:
        call = Call("GET", path, params={**params, "after": after})
        try:
            async with wire.opened(call) as response:
                lines = Lines()
                async for piece in response.aiter_bytes():
                    for line in lines.feed(piece):
                        if line:
                            result = answered(LineResult.of, loaded(line))
                            patience.progressed()
                            after = result.line
                            yield result
                if lines.rest():
                    yield answered(LineResult.of, loaded(lines.rest()))
            return
        except (APIError, ConnectionFailed) as error:
            pause = patience.pause_after(error)
        await async_sleep(pause)
