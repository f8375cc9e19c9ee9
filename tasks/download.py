"""How a provider's video is opened: its link with redirects, from where a cut download ended."""

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

#: Seconds in which one download must be done. What is cut off then is gone on with where the vendor
#: allows it, so the bound only ends what drips for ever.
DOWNLOAD_TIMEOUT = 3600.0
#: Seconds in which a link must answer, and then its next bytes must come.
STALLED_AFTER = 60.0
#: A link that answers so is dead: the provider is asked for a fresh one.
DEAD_LINK = frozenset({401, 403, 404, 410})
#: How a provider's link may point on, and how often.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3

_OK: Final = 200
_PARTIAL: Final = 206
#: Answers to a range: the part's rest, or that there is none.
_RANGED = frozenset({_PARTIAL, 416})


class DeadLink(Exception):
    """The provider's link no longer gives the video."""


class NoFreshLink(DeadLink):
    """The provider was asked for a fresh link, and says that it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A video whose bytes can be read."""

    chunks: AsyncIterator[bytes]
    #: The whole size in bytes, where it was told.
    announced: int | None
    #: What a later download must be of to go on from this one; None where nothing would prove it.
    origin: Origin | None = None
    #: What the bytes go on from; None: they are the whole video's.
    part: Part | None = None


async def open_video(
    stack: AsyncExitStack, engine: Engine, account: str, video: Video, part: Part | None
) -> Opened:
    """The video's bytes, from where `part` ends if the vendor can; `stack` closes what is open.

    Raises:
        DeadLink: the link is dead, or leads nowhere.
        TransportError: it does not answer, or has trouble.
    """
    if video.content is not None:
        return Opened(chunks=_one(video.content), announced=len(video.content))
    for resumed in (part, None) if part else (None,):
        async with AsyncExitStack() as tried:
            stream, url = await _followed(tried, engine, account, video, resumed)
            opened = _opened(stream, url, resumed)
            if opened is not None:
                stack.push_async_exit(tried.pop_all())
                return opened
    msg = "the provider's link answers with a part that nobody asked for"
    raise TransportError(msg)


def _opened(stream: Stream, url: str, part: Part | None) -> Opened | None:
    """What an answer gives; None when it is no use with `part`, and all must be asked for anew."""
    headers = stream.headers
    if stream.status == _PARTIAL and part is not None:
        total = parts.goes_on(part, headers, url)
        if total is not None:
            known = replace(part.origin, total=total)
            return Opened(chunks=stream.chunks(), announced=total, origin=known, part=part)
    if stream.status in _RANGED:
        return None
    if stream.status in DEAD_LINK:
        raise DeadLink(f"the provider's link answers HTTP {stream.status}")
    if stream.status != _OK:
        raise TransportError(f"the provider's link answers HTTP {stream.status}")
    total = announced_bytes(headers)
    origin = parts.origin_of(headers, url, total=total)
    return Opened(chunks=stream.chunks(), announced=total, origin=origin)


async def _followed(
    stack: AsyncExitStack, engine: Engine, account: str, video: Video, part: Part | None
) -> tuple[Stream, str]:
    """The answer at the end of a few redirects, and whose it is; our key goes to its own host."""
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
                msg = f"the provider's link does not answer within {STALLED_AFTER:g} s"
                raise TransportError(msg) from None
            if stream.status not in REDIRECTS or "location" not in stream.headers:
                stack.push_async_exit(hop.pop_all())
                return stream, request.url
            call = _redirected(call, request.url, stream.headers["location"])
    raise DeadLink(f"the provider's link redirects more than {MOST_REDIRECTS} times")


def _redirected(call: Call, url: str, location: str) -> Call:
    """The call that a redirect asks for.

    Raises:
        DeadLink: it points to what is no web address.
    """
    try:
        scheme, separator, rest = urljoin(url, location).partition("://")
    except ValueError:  # such as http://[::1
        scheme, separator, rest = "", "", ""
    if scheme.lower() not in {"http", "https"}:
        msg = "the provider's link redirects to what is no web address"
        raise DeadLink(msg)
    return replace(call, path=scheme.lower() + separator + rest, query={})


async def fresh_video(engine: Engine, account: str, operation_id: str, number: int) -> Video:
    """The operation's video `number` (0, 1, …), by asking the provider anew.

    Raises:
        NoFreshLink: the provider has none.
        ProviderError, UnknownStatus, TransportError: it can't be told now.
    """
    none = "the provider's link is dead, and it gives no fresh one"
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


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
