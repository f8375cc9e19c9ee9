"""What is sent: JSON, and the body of a batch as a file that can be sent again."""

import io
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast

#: Bytes that are kept in memory; more go to an unnamed file.
IN_MEMORY = 8 * 2**20
_PIECE = 2**18
#: Bytes in which the first character of a document is looked for.
_BEGINNING = 64


#: A batch as the API takes it: the path of a file, a binary file that is open, or bytes.
Document = Path | bytes | BinaryIO


def is_document(source: object) -> TypeGuard[Document]:
    return isinstance(source, Path | bytes) or hasattr(source, "read")


def encoded(value: Any) -> bytes:
    """JSON; times may be datetimes. TypeError or ValueError for what JSON can't have."""
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_isoformat
    )
    return text.encode()


def _isoformat(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} can't be sent as JSON")


class Body:
    """The body of a batch: a file, read from the beginning at each try."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def spool(cls, options: Mapping[str, Any]) -> "Body":
        """An empty one in memory or in a temporary file; the options are its first line."""
        body = cls(cast("BinaryIO", tempfile.SpooledTemporaryFile(IN_MEMORY)))  # noqa: SIM115 - close
        if options:
            body.add({"batch": {"first_line": 1, **options}})  # the options' line does not count
        return body

    @classmethod
    def of(cls, source: Document, options: Mapping[str, Any]) -> "Body":
        """A document as it is; where there are options, it must be JSON lines, which follow them.

        Raises:
            ValueError: there are options, and the document is an array.
            OSError: the file can't be read.
        """
        file = source.open("rb") if isinstance(source, Path) else source
        if isinstance(file, bytes):
            file = io.BytesIO(file)
        if file is not source and not options:
            return cls(file)
        body = cls.spool(options)
        try:
            body.append(file, after_options=bool(options))
        except BaseException:
            body.close()
            raise
        finally:
            if file is not source:
                file.close()
        return body

    def add(self, request: Mapping[str, Any]) -> None:
        """One line more; TypeError or ValueError for what is no object, or not JSON."""
        if not isinstance(request, Mapping):
            raise TypeError(f"a batch's request must be a mapping (it is {type(request).__name__})")
        self.size += self._file.write(encoded(dict(request)) + b"\n")

    def append(self, file: BinaryIO, *, after_options: bool) -> None:
        """All of a document; ValueError as `of`."""
        beginning = file.read(_BEGINNING)
        if after_options and beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise ValueError("options can be given with JSON lines only, and this is an array")
        # A mark at the beginning of the file would be one in the middle of the body.
        self._file.write(beginning.removeprefix(b"\xef\xbb\xbf") if after_options else beginning)
        shutil.copyfileobj(file, self._file, _PIECE)
        self.size = self._file.tell()

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    async def async_pieces(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():  # of a local file, in the time of a copy
            yield piece

    def close(self) -> None:
        self._file.close()
