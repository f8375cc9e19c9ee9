"""Follows a job or a batch to its final state: by its events, and by polls where there are none."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, TypeVar

import httpx

from longtake._async.wire import MOST_STREAMS, AsyncWire
from longtake.calls import Call, Deadline, Patience
from longtake.errors import (
    APIError,
    ConnectionFailed,
    LongtakeError,
    RateLimited,
    Unavailable,
    UnreadableAnswer,
    WaitTimeout,
)
from longtake.results import Batch, Job, ServerEvent
from longtake.seam import AsyncStream, async_sleep
from longtake.streams import Events, answered

#: Seconds of silence after which a stream counts as broken; a ping comes every 15 s.
SILENCE = 45.0
#: A stream is read while more than this is left, in seconds: it may be silent for so long.
STREAMS_ABOVE = 20.0
#: Seconds in which a server that is away is waited for, where nobody gave a time.
LONGEST_OUTAGE = 300.0
#: Seconds between polls: the first pause, how it grows, and the longest.
FIRST_POLL, GROWTH, SLOWEST_POLL = 1.0, 1.5, 10.0

Followed = TypeVar("Followed", Job, Batch)
#: What does not end a wait: the job goes on meanwhile.
_MAY_PASS = (ConnectionFailed, RateLimited, Unavailable)


async def until_final(
    wire: AsyncWire,
    path: str,
    read: Callable[[Any], Followed],
    *,
    timeout: float | None,
    on_progress: Callable[[Followed], object] | None,
) -> Followed:
    """The final job or batch at `path`; raises WaitTimeout after `timeout` seconds."""
    deadline = Deadline(timeout)
    last: Followed | None = None
    try:
        async with aclosing(views(wire, path, read, deadline)) as seen:
            async for last in seen:
                if on_progress is not None:
                    on_progress(last)
    except _MAY_PASS as error:
        if deadline.left > 0:
            raise
        raise WaitTimeout(f"no answer about {path} within {timeout} s", last=last) from error
    if last is None or not last.is_final:
        raise WaitTimeout(f"{path} is not final after {timeout} s; it goes on", last=last)
    return last


async def views(
    wire: AsyncWire, path: str, read: Callable[[Any], Followed], deadline: Deadline
) -> AsyncStream[Followed]:
    """What is to be seen at `path` as it changes: until it is final, or the deadline has come."""
    latest = await _look(wire, path, read, deadline)
    yield latest
    if latest.is_final:
        return
    try:
        # Rather poll than wait long for a stream.
        patience = Patience(most=2, longest=SLOWEST_POLL)
        stream = events(wire, f"{path}/events", deadline=deadline, patience=patience)
        async with aclosing(stream):
            async for event in stream:
                if event.is_final:
                    break
                if isinstance(event.data, dict) and "status" in event.data:
                    latest = answered(read, {**latest.raw, **event.data})
                    yield latest
        latest = await _look(wire, path, read, deadline)
        yield latest
    except (APIError, ConnectionFailed, UnreadableAnswer):
        pass  # a server without events, or a proxy that holds them back: the polls tell
    pause = FIRST_POLL
    while not latest.is_final and deadline.left > 0:
        await async_sleep(min(pause, deadline.left))
        pause = min(SLOWEST_POLL, pause * GROWTH)
        latest = await _look(wire, path, read, deadline)
        yield latest


async def _look(
    wire: AsyncWire, path: str, read: Callable[[Any], Followed], deadline: Deadline
) -> Followed:
    """What is at `path` now; a server that is away is asked again until the deadline."""
    outage = deadline if deadline.is_set else Deadline(LONGEST_OUTAGE)
    while True:
        try:
            return answered(read, await wire.json(Call("GET", path, deadline=deadline)))
        except _MAY_PASS:
            if not outage.left:
                raise
        await async_sleep(min(SLOWEST_POLL, outage.left))


async def events(
    wire: AsyncWire,
    path: str,
    *,
    last_event_id: str | None = None,
    deadline: Deadline | None = None,
    patience: Patience | None = None,
) -> AsyncStream[ServerEvent]:
    """The events of a stream up to the final one; a broken stream goes on after its last event.

    It ends before the deadline, since a stream may be silent for a while.

    Raises:
        APIError: the API refuses the stream.
        ConnectionFailed: the stream broke again and again without an event, or too many are open.
    """
    if not wire.streams.acquire(blocking=False):
        raise ConnectionFailed(f"this client has {MOST_STREAMS} streams of events open")
    try:
        stream = _events(
            wire, path, last_event_id, deadline or Deadline(), patience or wire.patience()
        )
        async with aclosing(stream):
            async for event in stream:
                yield event
    finally:
        wire.streams.release()


async def _events(
    wire: AsyncWire,
    path: str,
    last_event_id: str | None,
    deadline: Deadline,
    patience: Patience,
) -> AsyncStream[ServerEvent]:
    while deadline.left > STREAMS_ABOVE:
        broken: LongtakeError = ConnectionFailed("the stream of events ended before the last one")
        try:
            async with wire.opened(_call(path, last_event_id, deadline)) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                _check(response)
                reader = Events()
                async for piece in response.aiter_bytes():
                    for event in reader.feed(piece):
                        # A proxy may cut each stream after a while, in which nothing changed.
                        patience.progressed()
                        last_event_id = last_event_id if event.id is None else event.id
                        yield event
                        if event.is_final:
                            return
                    if deadline.left <= STREAMS_ABOVE:
                        return
        except (APIError, ConnectionFailed) as error:
            broken = error
        await async_sleep(patience.pause_after(broken))


def _call(path: str, last_event_id: str | None, deadline: Deadline) -> Call:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    return Call("GET", path, headers=headers, read_timeout=SILENCE, deadline=deadline)


def _check(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise UnreadableAnswer(f"events were asked for, and {kind[:64] or 'nothing'} came")
