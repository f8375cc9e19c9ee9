"""What the two clients do differently beyond keywords: each name beside its `async_` twin."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: What comes one after the other; close it (`contextlib.closing`, `aclosing`) if you leave early.
Stream = Generator[T, None, None]
AsyncStream = AsyncGenerator[T, None]
#: Requests of a batch, which may come one after the other.
Requests = Iterable[Mapping[str, Any]]
AsyncRequests = Requests | AsyncIterable[Mapping[str, Any]]


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def async_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def blocking(function: Callable[P, T], *args: P.args, **names: P.kwargs) -> T:
    """Call what reads or writes a file."""
    return function(*args, **names)


async def async_blocking(function: Callable[P, T], *args: P.args, **names: P.kwargs) -> T:
    """Call what reads or writes a file, in a thread."""
    return await asyncio.to_thread(function, *args, **names)


def each(things: Iterable[T]) -> Iterator[T]:
    return iter(things)


async def async_each(things: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
    else:
        for thing in things:
            yield thing
