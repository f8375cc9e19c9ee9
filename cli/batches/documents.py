"""Makes a batch's document of a file: JSON Lines as they are, CSV and plain text line by line."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final, cast

from cli.api import Json
from cli.batches.cells import Columns, known_columns
from cli.errors import Refused
from models.batch import MAX_BATCH_BYTES, MAX_LINE_BYTES

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
#: Lines at a file's beginning in which its first one that is not blank is looked for.
_BLANK_LINES: Final = 1000
_DELIMITERS: Final = ",;\t"
_FORMS: Final = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}
#: How JSON begins; a prompt may begin with a bracket too.
_JSON: Final = re.compile(rb'[\[{][ \t]*(["{\[\]}]|$)')
#: Columns that tell a table without a name ending in .csv.
_TELLING: Final = frozenset({"prompt", "custom_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A batch's lines; line n of what `file` has from here on is line `first_line` + n of FILE."""

    file: BinaryIO = field(repr=False)
    #: The batch's options for the API: the file's own, and above them those that were given.
    options: Json


@contextmanager
def document(path: str, given: Json) -> Iterator[Document]:
    """The document of a file, or of standard input for `-`, with options beside its own.

    Raises:
        Refused: the file can't be read, a table has an unknown column or a crooked row, or options
            were given for an array or an object.
    """
    with ExitStack() as stack:
        file = _opened(path, stack)
        first = _first_line(file)
        match _form(path, first):
            case "json":
                yield _of_json(file, first, given)
            case "csv":
                yield Document(file=_spooled(_records(file), stack), options=given)
            case _:
                yield Document(file=_spooled(_prompts(file), stack), options=given)


def _opened(path: str, stack: ExitStack) -> BinaryIO:
    """The file, or a copy of standard input, which is sent again after a lost connection."""
    try:
        if path != "-":
            return stack.enter_context(Path(path).open("rb"))
        copy = cast("BinaryIO", stack.enter_context(TemporaryFile()))  # noqa: SIM115 - by the stack
        while piece := sys.stdin.buffer.read(2**18):
            if copy.tell() + len(piece) > MAX_BATCH_BYTES:
                raise _too_large()
            copy.write(piece)
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error
    copy.seek(0)
    return copy


@dataclass(frozen=True, slots=True)
class _First:
    """The first line that is not blank: without spaces around it, its number, and where it ends."""

    text: bytes
    number: int
    end: int


def _first_line(file: BinaryIO) -> _First:
    """Leaves the file at its beginning, behind a byte order mark."""
    start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(start)
    first = _First(b"", 1, start)
    for number in range(1, _BLANK_LINES + 1):
        raw = file.readline(MAX_LINE_BYTES)
        if text := raw.strip(_SPACE):
            first = _First(text, number, file.tell())
        if text or not raw:
            break
    file.seek(start)
    return first


def _form(path: str, first: _First) -> str:
    """`json`, `csv` or `text`, by the name's ending, then by the first line."""
    if found := _FORMS.get(Path(path).suffix.lower()):
        return found
    if _JSON.match(first.text):
        return "json"
    header = first.text.decode(errors="replace")
    names = {name.strip(' "') for name in header.split(_delimiter(header))}
    return "csv" if names & _TELLING and (len(names) > 1 or names <= known_columns()) else "text"


def _of_json(file: BinaryIO, first: _First, given: Json) -> Document:
    """JSON Lines behind their options, or an array or object as it is."""
    own = _own_options(first)
    if own is None:
        if given and (first.text[:1] == b"[" or _is_whole(first.text)):
            raise Refused(
                "options and --dry-run go with JSON Lines, CSV or prompts; in an array or object "
                'they are written as {"options": {"dry_run": true, …}, "requests": […]}'
            )
        return Document(file=file, options=given)
    file.seek(first.end)
    defaults = {**(own.get("defaults") or {}), **given.get("defaults", {})}
    merged = {**own, **given} | ({"defaults": defaults} if defaults else {})
    return Document(file=file, options={"first_line": first.number + 1, **merged})


def _own_options(first: _First) -> Json | None:
    """The options of a first line {"batch": {…}}; the API says what is wrong with others."""
    try:
        line = json.loads(first.text)
    except (ValueError, RecursionError):
        return None
    options = line.get("batch") if isinstance(line, dict) and len(line) == 1 else None
    is_usual = isinstance(options, dict) and isinstance(options.get("defaults", {}), dict)
    return options if is_usual else None


def _is_whole(text: bytes) -> bool:
    """Whether it begins {"options": …} or {"requests": …}."""
    return text[1:].lstrip(_SPACE).startswith((b'"options"', b'"requests"')) or text == b"{"


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of text with their ends; raises Refused for one that is none or too long."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raise Refused(f"line {number} exceeds the maximum of {MAX_LINE_BYTES // 2**20} MB")
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            msg = f"line {number}: invalid UTF-8 at byte {error.start + 1}"
            raise Refused(msg) from None


def _prompts(file: BinaryIO) -> Iterator[tuple[int, Json]]:
    """One request for each line that is not blank, by its number."""
    for number, line in enumerate(_lines(file), 1):
        if prompt := line.strip():
            yield number, {"prompt": prompt}


def _records(file: BinaryIO) -> Iterator[tuple[int, Json]]:
    """One request for each row of a table, by the number of the line on which it begins."""
    head = file.tell()
    delimiter = _delimiter(next((line for line in _lines(file) if line.strip()), ""))
    file.seek(head)
    csv.field_size_limit(MAX_LINE_BYTES)
    rows = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    columns: Columns | None = None
    begins = 1
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                if columns is None:
                    columns = Columns.of(row, line=begins)
                else:
                    yield begins, columns.request(row, line=begins)
            begins = rows.line_num + 1
    except csv.Error as error:
        raise Refused(f"line {begins}: {error}") from None


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _spooled(requests: Iterator[tuple[int, Json]], stack: ExitStack) -> BinaryIO:
    """JSON Lines in a temporary file: each request on its own line's number, others are blank."""
    file = cast("BinaryIO", stack.enter_context(TemporaryFile()))  # noqa: SIM115 - by the stack
    at = 1
    for number, request in requests:
        text = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
        file.write(b"\n" * (number - at) + text.encode() + b"\n")
        at = number + 1
        if file.tell() > MAX_BATCH_BYTES:
            raise _too_large()
    file.seek(0)
    return file


def _too_large() -> Refused:
    return Refused(f"the batch exceeds the maximum of {MAX_BATCH_BYTES // 2**20} MB")
