"""Finds where JSON values begin and end in a file, with a small window of it in memory."""

import asyncio
import re
from itertools import count
from typing import BinaryIO, Final

#: Bytes of a step; between two of them other work of the event loop goes on.
_STEP: Final = 32 * 1024
#: Marks of a value between two such pauses: a file may have nothing else.
_MARKS: Final = 1000
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_MARK: Final = re.compile(rb'["{}\[\]]')
_IN_STRING: Final = re.compile(rb'["\\]')
_AFTER_SCALAR: Final = re.compile(rb"[,:\]}\[{\" \t\r\n]")


class Broken(Exception):
    """The file can't be read any further; the message says why."""


class Scanner:
    """A position in a file of JSON text; values are delimited here and parsed elsewhere."""

    def __init__(self, file: BinaryIO, *, at: int = 0, most: int) -> None:
        """Read from the byte `at`; values of more than `most` bytes are passed over."""
        file.seek(at)
        self._file = file
        self._most = most
        self._buffer = b""
        self._at = 0
        self._read = at

    @property
    def offset(self) -> int:
        """The position in the file, in bytes."""
        return self._read - len(self._buffer) + self._at

    async def peek(self) -> bytes:
        """The next byte that is no white space; empty at the end of the file."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not await self._more():
                return b""

    async def accept(self, byte: bytes) -> bool:
        """Step over the next byte if it is this one."""
        if await self.peek() != byte:
            return False
        self._at += 1
        return True

    async def expect(self, byte: bytes, *, after: str) -> None:
        """Step over the next byte; raises Broken if it is another one."""
        if not await self.accept(byte):
            found = await self.peek()
            shown = repr(found.decode(errors="replace")) if found else "the end of the file"
            raise Broken(f"{after} is followed by {shown} instead of '{byte.decode()}'")

    async def value(self) -> bytes | None:
        """The bytes of the next value, None if it has too many; raises Broken at the file's end."""
        first = await self.peek()
        match first:
            case b"":
                raise _ends()
            case b"{" | b"[":
                return await self._nested()
            case b'"':
                return await self._string(self._at + 1)
            case _:
                return await self._scalar()

    async def _nested(self) -> bytes | None:
        depth, in_string, is_long = 0, False, False
        at = self._at
        for mark in count(1):
            if mark % _MARKS == 0:
                await asyncio.sleep(0)
            found = (_IN_STRING if in_string else _MARK).search(self._buffer, at)
            if found is None:
                at, is_long = await self._further(max(at, len(self._buffer)), is_long=is_long)
                continue
            at = found.end()
            match found[0]:
                case b"\\":
                    at += 1
                case b'"':
                    in_string = not in_string
                case b"{" | b"[":
                    depth += 1
                case _:
                    depth -= 1
                    if depth == 0:
                        return self._taken(at, is_long=is_long)
        raise AssertionError  # the loop returns or raises

    async def _string(self, at: int) -> bytes | None:
        is_long = False
        for mark in count(1):
            if mark % _MARKS == 0:
                await asyncio.sleep(0)
            found = _IN_STRING.search(self._buffer, at)
            if found is None:
                at, is_long = await self._further(max(at, len(self._buffer)), is_long=is_long)
            elif found[0] == b'"':
                return self._taken(found.end(), is_long=is_long)
            else:
                at = found.end() + 1
        raise AssertionError  # the loop returns or raises

    async def _scalar(self) -> bytes | None:
        at, is_long = self._at, False
        while True:
            found = _AFTER_SCALAR.search(self._buffer, at)
            if found is None:
                at, is_long = await self._further(len(self._buffer), is_long=is_long)
            elif found.start() == self._at and not is_long:
                raise Broken(f"a value is missing before {found[0].decode()!r}")
            else:
                return self._taken(found.start(), is_long=is_long)

    def _taken(self, end: int, *, is_long: bool) -> bytes | None:
        taken = self._buffer[self._at : end]
        self._at = end
        return None if is_long or len(taken) > self._most else taken

    async def _further(self, at: int, *, is_long: bool) -> tuple[int, bool]:
        """Read on; `at` in the new window, and whether the value has too many bytes to be kept."""
        is_long = is_long or at - self._at > self._most
        if is_long:
            self._at = min(at, len(self._buffer))
        at -= self._at
        if not await self._more():
            raise _ends()
        return at, is_long

    async def _more(self) -> bool:
        """Read a step on, forgetting what lies behind; False at the end of the file."""
        await asyncio.sleep(0)
        piece = self._file.read(_STEP)
        self._read += len(piece)
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return bool(piece)


def _ends() -> Broken:
    return Broken("the file ends in the middle of it")
