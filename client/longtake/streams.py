"""Lines and server-sent events out of bytes as they come."""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from longtake.errors import UnreadableAnswer
from longtake.results import ServerEvent

T = TypeVar("T")

#: Bytes of the longest line that is read.
LONGEST_LINE = 16 * 2**20


def loaded(content: bytes | str) -> Any:
    """JSON of the API; raises UnreadableAnswer."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableAnswer("the API's answer is not JSON: is this its address?") from None


def answered(read: Callable[[Any], T], raw: Any) -> T:
    """A result of the API's JSON; raises UnreadableAnswer."""
    try:
        return read(raw)
    except ValueError as error:
        raise UnreadableAnswer(f"the API's answer is not what it promises: {error}") from None


class Lines:
    """Splits at line feeds alone, since text in JSON may contain every other separator."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that are complete now, each without its end; raises UnreadableAnswer."""
        *complete, rest = piece.split(b"\n")
        for line in complete:
            yield b"".join((*self._pieces, line)).removesuffix(b"\r")
            self._pieces.clear()
            self._length = 0
        self._pieces.append(rest)
        self._length += len(rest)
        if self._length > LONGEST_LINE:
            raise UnreadableAnswer(f"a line of the API's answer is over {LONGEST_LINE} bytes")

    def rest(self) -> bytes:
        """What follows the last line feed."""
        return b"".join(self._pieces)


class Events:
    """Reads an event stream (WHATWG HTML, "server-sent events"); skips comments and `retry`."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._kind = ""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that are complete now; raises UnreadableAnswer."""
        for line in self._lines.feed(piece):
            if line:
                self._take(line.decode(errors="replace"))
            else:
                yield from self._dispatched()

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value

    def _dispatched(self) -> Iterator[ServerEvent]:
        kind, data = self._kind, "\n".join(self._data)
        self._kind, self._data = "", []
        if data:
            yield ServerEvent(kind=kind or "message", id=self._id, data=_value(data))


def _value(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data
