# Generated from longtake/_async/paging.py by client/make_sync.py; change that, and run it.
"""Reads lists: page after page as they are wanted, and lines as they come."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from longtake._sync.wire import Wire
from longtake.calls import Call
from longtake.errors import APIError, ConnectionFailed, UnreadableAnswer
from longtake.results import LineResult
from longtake.seam import Stream, sleep
from longtake.streams import Lines, answered, loaded

T = TypeVar("T")


def pages(
    wire: Wire, path: str, read: Callable[[Any], T], params: Mapping[str, Any]
) -> Stream[T]:
    """Everything in a list, page by page."""
    after = params.get("after")
    while True:
        page = wire.json(Call("GET", path, params={**params, "after": after}))
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


def result_lines(
    wire: Wire, path: str, params: Mapping[str, Any]
) -> Stream[LineResult]:
    """A batch's results as they come; a broken download goes on after its last line."""
    patience = wire.patience()
    after = params.get("after")
    while True:
        call = Call("GET", path, params={**params, "after": after})
        try:
            with wire.opened(call) as response:
                lines = Lines()
                for piece in response.iter_bytes():
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
        sleep(pause)
