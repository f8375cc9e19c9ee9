"""Reads the answers of one HTTP/1.1 connection, one after another, within limits.

What a byte means is decided by httptools (Node's parser, llhttp), which refuses what could be read
in two ways, such as two lengths; this module holds the limits and puts the pieces together.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import httptools

#: Bytes of an answer's head, with all its interim answers and trailers, and how many fields it has.
MOST_HEAD, MOST_FIELDS = 64 * 2**10, 128
#: Interim answers (1xx) before the answer.
MOST_INTERIM = 8
#: Bytes on the wire for each byte of a body: a chunk of one byte takes six.
WIRE_FACTOR = 8

#: RFC 9112, section 7.2, and RFC 9110, section 8.4.1; of zlib, what each is unpacked with.
_PACKED: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_FIRST_FINAL_STATUS: Final = 200


class Malformed(Exception):
    """The bytes are no HTTP/1.1, or their head is larger than any."""


class Oversized(Exception):
    """The body is larger than the request allows."""


class Corrupt(Exception):
    """The body can't be unpacked."""


class Fields(Mapping[str, str]):
    """An answer's header fields, decoded when somebody looks: after most polls nobody does.

    Names are lower case and repeated fields joined; values are UTF-8 or else Latin-1.
    """

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._read: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    @property
    def were_read(self) -> bool:
        """Whether any header field was read."""
        return self._read is not None

    def _decoded(self) -> dict[str, str]:
        if self._read is None:
            read: dict[str, str] = {}
            for raw, value in self._raw:
                name, text = raw.decode("latin-1").lower(), _text(value)
                read[name] = f"{read[name]}, {text}" if name in read else text
            self._read = read
        return self._read


class Answer:
    """The answer that is coming in; `begin` makes room for the next one."""

    __slots__ = (
        "_body",
        "_fields",
        "_fields_seen",
        "_head_size",
        "_interim",
        "_is_until_close",
        "_most",
        "_packing",
        "_parser",
        "_problem",
        "_size",
        "_wire_size",
        "has_head",
        "is_complete",
        "is_last",
        "status",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin(0)

    def begin(self, most: int) -> None:
        """Expect an answer with a body of at most `most` bytes."""
        self._most = most
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._problem: Exception | None = None
        self._packing: bytes | None = None
        self._is_until_close = True
        self._size = self._wire_size = self._head_size = 0
        self._fields_seen = self._interim = 0
        self.status = 0
        #: Whether its final head is here, all of it is, and the connection ends with it.
        self.has_head = self.is_complete = self.is_last = False

    @property
    def has_begun(self) -> bool:
        """Whether any byte of it is here."""
        return self._wire_size > 0

    def feed(self, data: bytes) -> None:
        """Read what has come.

        Raises:
            Malformed: it is no HTTP.
            Oversized: its body is larger than `begin` allowed.
        """
        self._wire_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.is_complete:
                raise (self._problem or Malformed()) from None
            self.is_last = True  # what follows a whole answer belongs to no request
        if self.is_complete:
            return
        if not self.has_head and self._wire_size > MOST_HEAD:
            raise Malformed
        if self._wire_size > MOST_HEAD + WIRE_FACTOR * self._most:
            raise Oversized

    def close(self) -> bool:
        """The connection has ended; return whether that completes the answer."""
        self.is_complete = self.is_complete or (self.has_head and self._is_until_close)
        return self.is_complete

    def fields(self) -> Mapping[str, str]:
        return Fields(self._fields)

    def body(self) -> bytes:
        """The whole body, unpacked.

        Raises:
            Oversized: it is larger than allowed when unpacked.
            Corrupt: it can't be unpacked.
        """
        body = bytes(self._body)
        packing = self._packing
        if not packing or packing == b"identity":
            return body
        return _unpacked(body, packing=packing, most=self._most)

    # What follows is called by the parser.

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._fail(Malformed())

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        self._fields_seen += 1
        if self._head_size > MOST_HEAD or self._fields_seen > MOST_FIELDS:
            self._fail(Malformed())
        if self.has_head:  # a trailer is no header field (RFC 9110, section 6.5.1)
            return
        self._fields.append((name, value))
        match len(name):
            case 14 if name.lower() == b"content-length":
                self._is_until_close = False
                if value.isdigit() and int(value) > self._most:
                    self._fail(Oversized())
            case 16 if name.lower() == b"content-encoding":
                self._packing = value.strip().lower()
            case 17 if name.lower() == b"transfer-encoding":
                self._is_until_close = self._is_until_close and b"chunked" not in value.lower()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < _FIRST_FINAL_STATUS:
            return
        self.has_head = True
        self.is_last = not self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            self._fail(Oversized())
        if not self._body:
            self._body = piece
        else:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += piece

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True
            return
        self._interim += 1
        self._fields.clear()
        self._packing, self._is_until_close = None, True
        if self._interim > MOST_INTERIM:
            self._fail(Malformed())

    def _fail(self, problem: Exception) -> None:
        """Stop the parser, which raises an error of its own."""
        self._problem = problem
        raise problem


def _unpacked(body: bytes, *, packing: bytes, most: int) -> bytes:
    """What a server packs although it was asked not to."""
    if packing not in _PACKED:
        raise Corrupt
    unpacker = zlib.decompressobj(_PACKED[packing])
    try:
        content = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise Corrupt from None
    if len(content) > most:
        raise Oversized
    if not unpacker.eof or unpacker.unused_data:
        raise Corrupt
    return content


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
