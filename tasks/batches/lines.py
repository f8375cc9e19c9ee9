"""Reading a batch: its options and its lines, one at a time, in each of its forms."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, BinaryIO, Final, Protocol

from models.batch import MAX_LINE_BYTES
from models.failure import RequestRefused
from models.records import Json
from models.strict_json import parse_json
from tasks.batches.scanning import Broken, Scanner

#: Maximum lines of a file, with blank ones: more would keep the reader busy for nothing.
_MOST_RAW_LINES: Final = 1_000_000
#: How many of these are read between two pauses.
_BETWEEN_PAUSES: Final = 1000
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_WHOLE: Final = re.compile(rb'\{[ \t\r\n]*"(options|requests)"[ \t\r\n]*:')
#: Bytes at a file's beginning that tell its form.
_HEAD: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One element of a batch as it was read: a JSON value, or why there is none."""

    #: Its line in the file, or its position in the array, from 1.
    number: int
    value: Any = field(default=None, repr=False)
    refusal: RequestRefused | None = None
    #: Whether nothing after it can be read: then no line of the batch is accepted.
    is_end: bool = False
    #: In bytes.
    size: int = 0
    #: The job that it retries.
    retry_of: str | None = None


class Source(Protocol):
    """Where a batch comes from. `lines` may be called several times, and gives the same lines."""

    @property
    def options(self) -> Json: ...

    def lines(self) -> AsyncIterator[Line]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Requests that are in memory already."""

    requests: Sequence[Any] = field(repr=False)
    options: Json = field(default_factory=dict, repr=False)

    async def lines(self) -> AsyncIterator[Line]:
        for number, value in enumerate(self.requests, 1):
            yield Line(number=number, value=value)


class _Form(Enum):
    #: A JSON array of lines.
    ARRAY = auto()
    #: {"options": {…}, "requests": […]}, in either order.
    OBJECT = auto()
    #: A line of text for each; the first may be {"batch": {…options…}}.
    TEXT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A file with the body of a batch."""

    file: BinaryIO = field(repr=False)
    options: Json = field(repr=False)
    form: _Form
    #: Where its lines begin, in bytes.
    start: int
    #: Of an object: whether its options were read before its requests. Of text: whether its first
    #: line is the options.
    has_options: bool

    @classmethod
    async def open(cls, file: BinaryIO) -> "FileSource":
        """Read the options.

        Raises:
            RequestRefused: they can't be read, or there is nothing.
        """
        file.seek(0)
        start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        scanner = Scanner(file, at=start, most=MAX_LINE_BYTES)
        first = await scanner.peek()
        if not first:
            raise RequestRefused("the batch is empty: send at least one line", code="empty_batch")
        if first == b"[":
            begin = scanner.offset
            return cls(file=file, options={}, form=_Form.ARRAY, start=begin, has_options=False)
        file.seek(scanner.offset)
        if _WHOLE.match(file.read(_HEAD)):
            try:
                return await _open_object(file, scanner.offset)
            except Broken as error:
                raise _broken(f"the request body: {error}") from None
        options = await _first_line(file, start)
        has_options = options is not None
        return cls(
            file=file, options=options or {}, form=_Form.TEXT, start=start, has_options=has_options
        )

    async def lines(self) -> AsyncIterator[Line]:
        if self.form is _Form.TEXT:
            async for line in self._text():
                yield line
            return
        number = 0
        try:
            scanner = Scanner(self.file, at=self.start, most=MAX_LINE_BYTES)
            await scanner.expect(b"[", after="requests")
            is_empty = await scanner.accept(b"]")
            while not is_empty:
                number += 1
                yield _parsed(number, await scanner.value())
                if not await scanner.accept(b","):
                    await scanner.expect(b"]", after=f"line {number}")
                    break
            await self._tail(scanner)
        except Broken as error:
            refusal = _broken(f"line {number}: {error}")
            yield Line(number=number, refusal=refusal, is_end=True)

    async def _tail(self, scanner: Scanner) -> None:
        """Read to the end, after the array of lines; raises Broken if more is there than may be."""
        if self.form is _Form.OBJECT:
            if not self.has_options and await scanner.accept(b","):
                await scanner.value()  # "options", which was read before
                await scanner.expect(b":", after='"options"')
                await scanner.value()
            await scanner.expect(b"}", after="the last member")
        if await scanner.peek():
            raise Broken("there is something after the end of the batch")

    async def _text(self) -> AsyncIterator[Line]:
        self.file.seek(self.start)
        is_first, number = self.has_options, 0
        while raw := self.file.readline(MAX_LINE_BYTES + 2):
            number += 1
            if number > _MOST_RAW_LINES:
                refusal = RequestRefused(f"the file has more than {_MOST_RAW_LINES} lines")
                yield Line(number=number, refusal=refusal, is_end=True)
                return
            if number % _BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            is_cut = len(raw) == MAX_LINE_BYTES + 2 and not raw.endswith(b"\n")
            if is_cut:
                await self._pass_over_line()
            text = raw.strip(_SPACE)
            if not text and not is_cut:
                continue
            if is_first:
                is_first = False
                number = self.options.get("first_line") or number + 1
                number -= 1
                continue
            yield _parsed(number, None if is_cut or len(text) > MAX_LINE_BYTES else text)

    async def _pass_over_line(self) -> None:
        while True:
            rest = self.file.readline(MAX_LINE_BYTES)
            if not rest or rest.endswith(b"\n"):
                return
            await asyncio.sleep(0)


async def _open_object(file: BinaryIO, start: int) -> FileSource:
    """Find the options of {"options": {…}, "requests": […]}, before its requests or after them."""
    scanner = Scanner(file, at=start, most=MAX_LINE_BYTES)
    await scanner.expect(b"{", after="the beginning")
    options: Any = None
    requests: int | None = None
    seen: list[str] = []
    while True:
        name = _key(await scanner.value())
        if name in seen:
            raise Broken(f"the key {name!r} is there twice")
        seen.append(name)
        await scanner.expect(b":", after=f'"{name}"')
        if name == "requests":
            await scanner.peek()
            requests = scanner.offset
            if options is not None:
                break
            await _skip_array(scanner)
        else:
            options = parse_options(await scanner.value())
        if not await scanner.accept(b","):
            await scanner.expect(b"}", after=f'"{name}"')
            break
    if requests is None:
        raise RequestRefused("requests is required: an array of lines", param="requests")
    return FileSource(
        file=file,
        options=options or {},
        form=_Form.OBJECT,
        start=requests,
        has_options=seen[0] == "options",
    )


def _key(raw: bytes | None) -> str:
    name = parse_json(raw, what="a key of the request body") if raw is not None else None
    if name not in ("options", "requests"):
        raise RequestRefused(
            f"the request body has {str(name)[:64]!r} beside options and requests, which are all "
            "that it may have",
            param=str(name)[:64],
        )
    return str(name)


async def _skip_array(scanner: Scanner) -> None:
    """Pass over the lines; a mistake among them is left to be found when they are read."""
    if await scanner.peek() != b"[":
        raise RequestRefused("requests must be an array of lines", param="requests")
    await scanner.value()


def parse_options(raw: bytes | None) -> Json:
    """The options' JSON; raises RequestRefused."""
    if raw is None:
        raise RequestRefused(_too_long("options"), param="options", code="line_too_long")
    options = parse_json(raw, what="options")
    if not isinstance(options, dict):
        raise RequestRefused("options must be a JSON object", param="options")
    return options


async def _first_line(file: BinaryIO, start: int) -> Json | None:
    """The options, if the first line that is not blank has them: {"batch": {…}}."""
    found = FileSource(file=file, options={}, form=_Form.TEXT, start=start, has_options=False)
    async for line in found.lines():
        match line.value:
            case {"batch": dict(options), **others} if not others:
                return options
            case {"batch": _, **others} if not others:
                raise RequestRefused("batch must be a JSON object with options", param="batch")
            case _:
                return None
    return None


def _parsed(number: int, raw: bytes | None) -> Line:
    if raw is None:
        refusal = RequestRefused(_too_long(f"line {number}"), code="line_too_long")
        return Line(number=number, refusal=refusal)
    try:
        return Line(number=number, value=parse_json(raw, what=f"line {number}"), size=len(raw))
    except RequestRefused as refusal:
        return Line(number=number, refusal=refusal, size=len(raw))


def _too_long(what: str) -> str:
    return f"{what} exceeds the maximum of {MAX_LINE_BYTES // 2**20} MB"


def _broken(message: str) -> RequestRefused:
    return RequestRefused(message, code="invalid_json")
