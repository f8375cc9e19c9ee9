"""A body that is a multipart form, read as strictly as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import Request

from api.body import MAX_BODY, off_loop, read_body
from models.failure import RequestRefused

MULTIPART: Final = "multipart/form-data"
#: Maximum fields and files together.
MAX_PARTS: Final = 64
#: Maximum characters of a name in a message.
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form; what type it says it has is not looked at."""

    content: bytes


def is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == MULTIPART


async def read_form(request: Request) -> Mapping[str, Any]:
    """The form as an object: text as strings, a file as an Upload, `a[b]` as `b` within `a`.

    Raises:
        RequestRefused: it is cut off, malformed, not UTF-8, or has a field twice.
    """
    kind = request.headers["content-type"]
    return await off_loop(request, parse_form, await read_body(request), kind)


def parse_form(content: bytes, content_type: str) -> Mapping[str, Any]:
    """See `read_form`; the content type names the boundary."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        _refuse("has no boundary: the header Content-Type must name one")
    if b"--" + boundary + b"--" not in content:  # the parser itself takes what it has
        _refuse("is cut off: its last boundary is missing")
    parts: list[Field | File] = []

    def take(part: Field | File) -> None:
        if len(parts) == MAX_PARTS:  # at once, for there may be half a million of them
            _refuse(f"has more than {MAX_PARTS} parts")
        parts.append(part)

    # All in memory: the body is, and is bounded.
    limits = {"MAX_MEMORY_FILE_SIZE": MAX_BODY + 1, "MAX_BODY_SIZE": MAX_BODY + 1}
    try:
        parser = FormParser(MULTIPART, take, take, boundary=boundary, config=limits)
        parser.write(content)
        parser.finalize()
    except FormParserError:
        _refuse("is malformed")
    return _object(parts)


def _object(parts: list[Field | File]) -> Mapping[str, Any]:
    made: dict[str, Any] = {}
    for part in parts:
        name = _text("the name of a field", part.field_name or b"")
        outer, _, rest = name.partition("[")
        within: Any = made
        key = name
        if rest.endswith("]") and outer:
            within, key = made.setdefault(outer, {}), rest[:-1]
            if isinstance(part, File):
                _refuse(f"has a file in {name[:_SHOWN]!r}, which takes text")
        if not isinstance(within, dict) or key in within:
            _refuse(f"has the field {name[:_SHOWN]!r} twice")
        within[key] = _value(name, part)
    return made


def _value(name: str, part: Field | File) -> str | Upload:
    if isinstance(part, File):
        part.file_object.seek(0)
        return Upload(part.file_object.read())
    return _text(name[:_SHOWN], part.value or b"")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        _refuse(f"is not UTF-8: invalid byte at position {error.start} of {name}")


def _refuse(what: str) -> NoReturn:
    msg = f"the form {what}"
    raise RequestRefused(msg, code="invalid_form")
