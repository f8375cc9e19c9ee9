"""Result URLs: signed, short-lived, and served with byte ranges like a CDN."""

import asyncio
import base64
import hashlib
import hmac
import math
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qs, quote

from aiohttp import web

from simulator.operations import Operation, Script

_SIGNATURE = "&signature="
#: Seconds between two pieces of a video that is sent slowly.
DRIP_EVERY = 0.5


class DeadLink(Exception):
    """The URL was not issued here, was altered, or has expired."""


@dataclass(frozen=True, slots=True)
class Link:
    """When a URL was issued and expires, in Unix seconds."""

    issued: float
    expires: float


class Links:
    """Issues and checks URLs. The signature covers path and query byte for byte.

    A client that re-encodes a signed URL therefore gets 403, as from a CDN.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def mint(self, url: str, *, origin: str, lifetime: timedelta) -> str:
        """`origin` + the path `url`, valid for `lifetime` from now."""
        issued = self._clock()
        expires = issued + lifetime.total_seconds()
        signed = f"{url}?issued={issued:.6f}&expires={expires:.6f}"
        return f"{origin}{signed}{_SIGNATURE}{self._signature(signed)}"

    def check(self, raw_path: str) -> Link:
        """Verify the requested URL; raises DeadLink."""
        signed, _, signature = raw_path.rpartition(_SIGNATURE)
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise DeadLink("SignatureDoesNotMatch")
        query = parse_qs(signed.partition("?")[2])
        link = Link(issued=float(query["issued"][0]), expires=float(query["expires"][0]))
        if self._clock() >= link.expires:
            raise DeadLink("RequestExpired")
        return link

    def spend(self, raw_path: str, operation: Operation) -> None:
        """Use the URL; raises DeadLink, also for the first under `[sim:expired]`."""
        link = self.check(raw_path)
        if Script.EXPIRED not in operation.scripts:
            return
        if operation.links_dead_until is None:
            operation.links_dead_until = self._clock()
        if link.issued <= operation.links_dead_until:
            raise DeadLink("RequestExpired")

    def _signature(self, signed: str) -> str:
        digest = hmac.digest(self._key, signed.encode(), hashlib.sha256)
        return quote(base64.b64encode(digest), safe="")


def refused(error: DeadLink) -> web.Response:
    """403 in the format of object stores."""
    text = f"<Error><Code>AccessDenied</Code><Message>{error}</Message></Error>"
    return web.Response(status=403, text=text, content_type="application/xml")


def video(request: web.Request, film: bytes, *, seconds: float = 0.0) -> web.Response:
    """The video, or the part selected by the Range header (RFC 9110, section 14).

    Sending the whole video takes `seconds`; a part takes its share.
    """
    answer = _answer(request, film)
    if seconds and isinstance(answer.body, bytes) and answer.body:
        part = answer.body
        answer.body = _trickle(part, bytes_per_second=len(film) / seconds)
        answer.headers["Content-Length"] = str(len(part))
    return answer


async def _trickle(content: bytes, *, bytes_per_second: float) -> AsyncIterator[bytes]:
    """The content at a pace that does not depend on how long each write takes."""
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    while sent < len(content):
        due = math.ceil((loop.time() - began + DRIP_EVERY) * bytes_per_second)
        yield content[sent:due]
        sent = min(due, len(content))
        await asyncio.sleep(max(0.0, began + sent / bytes_per_second - loop.time()))


def _answer(request: web.Request, film: bytes) -> web.Response:
    headers = {"Accept-Ranges": "bytes", "Content-Type": "video/mp4"}
    try:
        asked = request.http_range
    except ValueError:
        return web.Response(body=film, headers=headers)
    if asked.start is None and asked.stop is None:
        return web.Response(body=film, headers=headers)
    start, stop, _ = asked.indices(len(film))
    if start >= stop:
        headers["Content-Range"] = f"bytes */{len(film)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(film)}"
    return web.Response(status=206, body=film[start:stop], headers=headers)
