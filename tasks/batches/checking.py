"""Checks the lines of a batch as single requests are checked, and notes what is wrong with them."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from models.batch import MAX_CUSTOM_ID, MAX_ERRORS, MAX_LINES
from models.failure import RequestRefused
from models.records import Json
from models.request import VideoRequest
from tasks.batches.lines import Line

#: Makes a native request of the body of a line for another system's API, and of the defaults.
Adapt = Callable[[Json, Json], Awaitable[VideoRequest]]

#: The address of OpenAI's own requests for videos, and of ours.
OPENAI_URL: Final = "/v1/videos"
NATIVE_URL: Final = "/v1/video/generations"
#: Maximum characters of an error's message, of which an answer has up to a thousand.
_MOST_OF_MESSAGE: Final = 500
_ENVELOPE: Final = frozenset({"custom_id", "method", "url", "body"})
#: A field that takes the place of others.
_INSTEAD: Final = {
    "size": ("resolution", "aspect_ratio"),
    "resolution": ("size",),
    "aspect_ratio": ("size",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A line whose request is valid by itself."""

    line: int
    custom_id: str | None
    request: VideoRequest = field(repr=False)
    size: int
    retry_of: str | None


class InvalidLines(RequestRefused):
    """Lines of a batch are invalid; `errors` has the first of them and `error_count` all."""

    def __init__(self, errors: list[Json], count: int) -> None:
        first = errors[0]
        more = f", and {count - 1} more" if count > 1 else ""
        super().__init__(f"invalid lines: {first['message']}{more}", code="invalid_lines")
        self.errors = errors
        self.error_count = count


@dataclass(slots=True)
class Errors:
    """What is wrong with the lines of a batch."""

    first: list[Json] = field(default_factory=list)
    count: int = 0
    #: Whether the file can't be read to its end.
    is_broken: bool = False

    def add(self, line: int, custom_id: str | None, refusal: RequestRefused) -> None:
        self.count += 1
        if len(self.first) < MAX_ERRORS:
            start = f"line {line}"
            told = refusal.message[:_MOST_OF_MESSAGE]
            self.first.append(
                {
                    "line": line,
                    "custom_id": custom_id,
                    "param": refusal.param,
                    "code": refusal.code,
                    "message": told if told.startswith(start) else f"{start}: {told}",
                }
            )

    def in_order(self) -> list[Json]:
        """The first ones, in the order of their lines."""
        return sorted(self.first, key=lambda error: error["line"])

    def refusal(self) -> InvalidLines:
        return InvalidLines(self.in_order(), self.count)


class Checker:
    """Reads lines one after the other; remembers the names that were used."""

    def __init__(self, defaults: Json, *, adapt: Adapt | None, tells_values: bool) -> None:
        self.errors = Errors()
        self._defaults = defaults
        self._adapt = adapt
        self._tells_values = tells_values
        self._names: set[bytes] = set()
        self._seen = 0

    async def read(self, line: Line) -> Wanted | None:
        """The line's request, or None if it is invalid."""
        self._seen += 1
        if line.is_end or self._seen > MAX_LINES:
            self.errors.is_broken = True
            self.errors.add(line.number, None, line.refusal or _too_many())
            return None
        custom_id: str | None = None
        try:
            if line.refusal:
                raise line.refusal
            fields = self._object(line.value)
            custom_id = self._custom_id(fields)
            request = await self._request(fields)
        except RequestRefused as refusal:
            self.errors.add(line.number, custom_id, refusal)
            return None
        if custom_id is not None:  # the name of an invalid line stays free
            self._names.add(_digest(custom_id))
        return Wanted(
            line=line.number,
            custom_id=custom_id,
            request=request,
            size=line.size,
            retry_of=line.retry_of,
        )

    def _object(self, value: Any) -> Json:
        if not isinstance(value, dict):
            raise RequestRefused("a line must be a JSON object with the fields of a request")
        return value

    def _custom_id(self, fields: Json) -> str | None:
        given = fields.get("custom_id")
        if given is None:
            return None
        is_text = isinstance(given, str) and 1 <= len(given) <= MAX_CUSTOM_ID
        if not is_text or not given.isprintable():
            msg = f"custom_id must be text of 1 to {MAX_CUSTOM_ID} printable characters"
            raise RequestRefused(msg, param="custom_id")
        if _digest(given) in self._names:
            shown = f" (it is {given[:64]!r})" if self._tells_values else ""
            msg = f"custom_id must be unique within its batch{shown}"
            raise RequestRefused(msg, param="custom_id", code="duplicate_custom_id")
        return str(given)

    async def _request(self, fields: Json) -> VideoRequest:
        if "url" in fields or "body" in fields:
            return await self._openai(fields)
        own = {name: value for name, value in fields.items() if name != "custom_id"}
        if "request" in own:
            _only(own, {"request"}, beside="request")
            own = _inner(own["request"], "request")
        return self._native(own)

    async def _openai(self, fields: Json) -> VideoRequest:
        _only(fields, _ENVELOPE, beside="url and body")
        if fields.get("method", "POST") != "POST":
            raise RequestRefused("method must be POST", param="method")
        body = _inner(fields.get("body"), "body")
        match fields.get("url"):
            case str(url) if url == NATIVE_URL:
                return self._native(body)
            case str(url) if url == OPENAI_URL and self._adapt:
                return await self._adapt(body, self._defaults)
            case url:
                msg = f"url must be {NATIVE_URL} or {OPENAI_URL} (it is {str(url)[:64]!r})"
                raise RequestRefused(msg, param="url")

    def _native(self, own: Json) -> VideoRequest:
        return VideoRequest.from_json(merged(self._defaults, own), tells_values=self._tells_values)


def _digest(custom_id: str) -> bytes:
    return blake2b(custom_id.encode(), digest_size=16).digest()


def merged(defaults: Json, own: Json) -> Json:
    """A line's fields over the defaults; null counts as unset."""
    if not defaults:
        return own
    given = {name: value for name, value in own.items() if value is not None}
    replaced = {other for name in given for other in _INSTEAD.get(name, ())}
    kept = {name: value for name, value in defaults.items() if name not in replaced}
    return {**own, **kept, **given}  # an unknown field stays, even if it is null


def _only(fields: Json, known: Collection[str], *, beside: str) -> None:
    if extra := [name for name in fields if name not in known]:
        msg = f"{extra[0][:64]} is not a known field beside {beside}"
        raise RequestRefused(msg, param=extra[0][:64])


def _inner(value: Any, name: str) -> Json:
    if not isinstance(value, dict):
        raise RequestRefused(f"{name} must be a JSON object", param=name)
    return value


def _too_many() -> RequestRefused:
    return RequestRefused(
        f"a batch has at most {MAX_LINES} lines, and this one has more", code="too_many_lines"
    )
