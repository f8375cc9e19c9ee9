"""The HTTP interface: request, response, client protocol, and the error tree.

The errors, from certainly harmless to possibly not:

    TransportError
    ├── NotSent            the server cannot have read any of the request: safe to retry
    │   ├── Blocked        the outbound guard refused the address
    │   └── Unresolved     its name has no address, or our resolver found none
    └── Unanswered         the server may have read the request and acted on it
        └── BadAnswer      a response began but is unusable (cut off, malformed)
            └── TooLarge   it is larger than the request allows
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from transport.deadline import Deadline


class TransportError(Exception):
    """No usable response; the message contains no URL query, header or body."""


class NotSent(TransportError):
    """No connection was made, so the server cannot have seen the request."""


class Blocked(NotSent):
    """The guard refused the connection: the address is not public."""


class Unresolved(NotSent):
    """The host's name has no address, or no name server said so in time."""


class Unanswered(TransportError):
    """Part or all of the request was sent; its outcome is unknown (timeout, dropped connection)."""


class BadAnswer(Unanswered):
    """A response began but is cut off, malformed, or larger than the request allows."""


class TooLarge(BadAnswer):
    """A response is larger than the request allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a multipart form."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A complete HTTP request; `url` is absolute and sent byte for byte."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The encoded body; its content type is in `headers`.
    content: bytes | None = None
    #: A multipart body, encoded by the client; mutually exclusive with `content`.
    form: tuple[Part, ...] = ()
    #: Seconds from connection established to the last byte of the response.
    timeout: float = 30.0
    #: Seconds to establish the connection, including waiting for a free one.
    connect_timeout: float = 10.0
    #: When its first byte must be on its way; later it is NotSent, although it is connected.
    begin_by: Deadline | None = None
    #: Seconds without data before a response in progress is abandoned.
    read_timeout: float = 30.0
    #: A response body larger than this many bytes raises TooLarge.
    max_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete HTTP response; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP success class

    def json(self) -> Any:
        """The decoded body.

        Raises:
            BadAnswer: the body is not JSON.
        """
        try:
            return _decoded(self.content)
        except ValueError as error:
            msg = f"HTTP {self.status} with a non-JSON body of {len(self.content)} bytes"
            raise BadAnswer(msg) from error


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:  # BOM, lone surrogates and NaN are not JSON, but json reads them
        return json.loads(content)


class Stream(Protocol):
    """A response whose body is read in chunks."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises BadAnswer if it is cut off, TooLarge if it exceeds `max_bytes`."""
        ...


class Sender(Protocol):
    """Sends one request and returns its response; no redirects."""

    async def send(self, request: Request) -> Response:
        """The complete response; raises NotSent, Unanswered or a subclass."""
        ...

    async def close(self) -> None: ...


class Client(Sender, Protocol):
    """A sender that sends nothing twice, and can stream."""

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """The response as a stream, for large bodies."""
        ...
