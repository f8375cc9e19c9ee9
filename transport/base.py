"""The seam between Longtake and the network: a request, a response, and what can go wrong between.

The errors, from what is surely harmless to what is not:

    TransportError
    ├── NotSent            no byte of the request can have been read: safe to send again
    │   └── Blocked        the outbound guard refused the address
    └── Unanswered         the request may have been read and acted upon
        └── BadAnswer      an answer came but is unusable (cut off, larger than allowed)
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson


class TransportError(Exception):
    """Nothing usable came back; the message holds no URL query, header or body."""


class NotSent(TransportError):
    """The connection was never made, so the far side cannot have seen the request."""


class Blocked(NotSent):
    """The guard refused to connect: the address is not public."""


class Unanswered(TransportError):
    """The request left, at least in part; its fate is unknown (time-out, dropped connection)."""


class BadAnswer(Unanswered):
    """An answer began but is cut off, malformed, or larger than the request allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a multipart form."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, whole; `url` is absolute and is sent byte for byte."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The body's bytes, already encoded; its content type is in `headers`.
    content: bytes | None = None
    #: A multipart body, encoded by the client; excludes `content`.
    form: tuple[Part, ...] = ()
    #: Seconds from the standing connection to the answer's last byte.
    timeout: float = 30.0
    #: Seconds in which the connection must stand, waiting for a free one included.
    connect_timeout: float = 10.0
    #: Seconds without a byte after which an answer that has begun is given up.
    read_timeout: float = 30.0
    #: An answer's body larger than this many bytes is a BadAnswer.
    max_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer, whole; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - the HTTP class of success

    def json(self) -> Any:
        """The decoded body.

        Raises:
            BadAnswer: the body is not JSON.
        """
        try:
            return _decoded(self.content)
        except ValueError as error:
            msg = f"HTTP {self.status} with a body that is not JSON ({len(self.content)} bytes)"
            raise BadAnswer(msg) from error


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:  # a byte order mark, half a surrogate pair, NaN: not JSON, but readable
        return json.loads(content)


class Stream(Protocol):
    """An answer whose body is read piece by piece."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises BadAnswer when it is cut off or passes `max_bytes`."""
        ...


class Client(Protocol):
    """Sends one request and gives its answer; follows no redirect and repeats no request."""

    async def send(self, request: Request) -> Response:
        """The whole answer; raises NotSent, Unanswered or their subclasses."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """The answer as it comes, for large bodies."""
        ...

    async def close(self) -> None: ...
