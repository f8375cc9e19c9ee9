"""Result links: signed, short-lived, and served with byte ranges as a CDN would."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qs, quote

from aiohttp import web

from simulator.operations import Operation, Script

_SIGNATURE = "&signature="


class DeadLink(Exception):
    """The link was not made here, was altered on its way, or has expired."""


@dataclass(frozen=True, slots=True)
class Link:
    """When a link was issued and when it ends, in Unix seconds."""

    issued: float
    expires: float


class Links:
    """Mints and checks links. The signature covers path and query exactly as they are written.

    A client that decodes and re-encodes a signed URL therefore gets a 403, as from a CDN.
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
        """Read the link that was requested. Raises DeadLink."""
        signed, _, signature = raw_path.rpartition(_SIGNATURE)
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise DeadLink("SignatureDoesNotMatch")
        query = parse_qs(signed.partition("?")[2])
        link = Link(issued=float(query["issued"][0]), expires=float(query["expires"][0]))
        if self._clock() >= link.expires:
            raise DeadLink("RequestExpired")
        return link

    def spend(self, raw_path: str, operation: Operation) -> None:
        """Use the link once more. Raises DeadLink, also for the first of `[sim:expired]`."""
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
    """403 in the shape that object stores use."""
    text = f"<Error><Code>AccessDenied</Code><Message>{error}</Message></Error>"
    return web.Response(status=403, text=text, content_type="application/xml")


def video(request: web.Request, film: bytes) -> web.Response:
    """The film, or the part of it that the Range header asks for (RFC 9110, section 14)."""
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
