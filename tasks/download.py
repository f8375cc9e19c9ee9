"""Opens a provider's video: follows redirects, resumes partial downloads, gets fresh links."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin

from models.failure import Fault
from providers.answers import Undocumented
from providers.base import Call, NotOffered, Phase, ProviderError, Video
from storage import parts
from storage.parts import Origin, Part
from storage.receive import announced_bytes
from tasks.engine import Engine
from transport.base import Stream, TransportError

#: Timeout of one download, in seconds. The next try resumes it if the vendor supports ranges, so
#: the timeout only ends downloads that trickle without end.
DOWNLOAD_TIMEOUT = 3600.0
#: Timeout for a link's response, and then for its next bytes, in seconds.
STALLED_AFTER = 60.0
#: Statuses of an expired link, for which the provider is asked for a fresh one.
DEAD_LINK = frozenset({401, 403, 404, 410})
#: Statuses of a redirect, and how many are followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3

_OK: Final = 200
_PARTIAL: Final = 206
#: Responses to a range request: partial content, or range not satisfiable.
_RANGED = frozenset({_PARTIAL, 416})


class DeadLink(Exception):
    """The provider's link no longer works."""


class NoFreshLink(DeadLink):
    """The provider has no fresh link for the video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An open video, ready to be read."""

    chunks: AsyncIterator[bytes]
    #: Total size in bytes, if it was announced.
    announced: int | None
    #: The origin that a later response must match to resume this download; None if none can.
    origin: Origin | None = None
    #: The part that the bytes continue; None if they start at the beginning.
    part: Part | None = None


async def open_video(
    stack: AsyncExitStack, engine: Engine, account: str, video: Video, part: Part | None
) -> Opened:
    """Open the video, continuing `part` if the vendor supports it; `stack` closes the stream.

    Raises:
        DeadLink: the link no longer works, or redirects to an invalid URL.
        TransportError: it does not respond, or responds with an error.
    """
    if video.content is not None:
        return Opened(chunks=_single_chunk(video.content), announced=len(video.content))
    for resumed in (part, None) if part else (None,):
        async with AsyncExitStack() as tried:
            stream, url = await _follow_redirects(tried, engine, account, video, resumed)
            opened = _opened_from(stream, url, resumed)
            if opened is not None:
                stack.push_async_exit(tried.pop_all())
                return opened
    msg = "the provider's link returned partial content that was not requested"
    raise TransportError(msg)


def _opened_from(stream: Stream, url: str, part: Part | None) -> Opened | None:
    """The open video, or None if the response does not continue `part`: then request all of it."""
    headers = stream.headers
    if stream.status == _PARTIAL and part is not None:
        total = parts.completes(part, headers, url)
        if total is not None:
            known = replace(part.origin, total=total)
            return Opened(chunks=stream.chunks(), announced=total, origin=known, part=part)
    if stream.status in _RANGED:
        return None
    if stream.status in DEAD_LINK:
        raise DeadLink(f"the provider's link returned HTTP {stream.status}")
    if stream.status != _OK:
        raise TransportError(f"the provider's link returned HTTP {stream.status}")
    total = announced_bytes(headers)
    origin = parts.origin_of(headers, url, total=total)
    return Opened(chunks=stream.chunks(), announced=total, origin=origin)


async def _follow_redirects(
    stack: AsyncExitStack, engine: Engine, account: str, video: Video, part: Part | None
) -> tuple[Stream, str]:
    """The response and its URL after redirects. Only the provider's own host gets our API key."""
    upstream = engine.upstream(account)
    try:
        call = upstream.download(video)
    except Undocumented as error:
        raise DeadLink(str(error)) from error
    if part is not None:
        call = replace(call, headers={**call.headers, **parts.range_headers(part)})
    for _ in range(MOST_REDIRECTS + 1):
        request = replace(
            upstream.request(call),
            timeout=DOWNLOAD_TIMEOUT,
            read_timeout=STALLED_AFTER,
            max_bytes=engine.settings.max_video_bytes + 1,
        )
        async with AsyncExitStack() as hop:
            try:
                async with asyncio.timeout(STALLED_AFTER):
                    stream = await hop.enter_async_context(engine.guarded.stream(request))
            except TimeoutError:
                msg = f"the provider's link did not respond within {STALLED_AFTER:g} s"
                raise TransportError(msg) from None
            if stream.status not in REDIRECTS or "location" not in stream.headers:
                stack.push_async_exit(hop.pop_all())
                return stream, request.url
            call = _redirect(call, request.url, stream.headers["location"])
    raise DeadLink(f"the provider's link redirected more than {MOST_REDIRECTS} times")


def _redirect(call: Call, url: str, location: str) -> Call:
    """The call to a redirect's target.

    Raises:
        DeadLink: the target is not an HTTP URL.
    """
    try:
        scheme, separator, rest = urljoin(url, location).partition("://")
    except ValueError:  # such as http://[::1
        scheme, separator, rest = "", "", ""
    if scheme.lower() not in {"http", "https"}:
        msg = "the provider's link redirects to an address that is not an HTTP URL"
        raise DeadLink(msg)
    return replace(call, path=scheme.lower() + separator + rest, query={})


async def fresh_video(engine: Engine, account: str, operation_id: str, number: int) -> Video:
    """Poll the operation again for a fresh link to its video `number` (0, 1, …).

    Raises:
        NoFreshLink: the provider has none.
        ProviderError, UnknownStatus, TransportError: the poll failed; retry later.
    """
    none = "the provider's link no longer works, and the provider has no fresh one"
    try:
        updates = await engine.upstream(account).poll([operation_id])
    except NotOffered:
        raise NoFreshLink(none) from None
    except ProviderError as error:
        if error.failure.fault is Fault.GONE:
            raise NoFreshLink(none) from error
        raise
    update = updates.get(operation_id)
    if update is None or update.phase is not Phase.SUCCEEDED or len(update.videos) <= number:
        raise NoFreshLink(none)
    return update.videos[number]


async def _single_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content
