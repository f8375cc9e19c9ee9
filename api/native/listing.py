"""Lists: strict query parameters, and one paginated response shape."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from models.failure import RequestRefused
from models.records import Json

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
#: Maximum length of a filter value, in characters.
_LONGEST = 255


class HasId(Protocol):
    """A row that a page may end with."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The requested page and filters of a list."""

    filters: Mapping[str, str]
    after: str | None
    limit: int

    @property
    def reach(self) -> int:
        """Rows to read: one more than shown, to know whether there are more."""
        return self.limit + 1

    def answer(
        self, rows: Sequence[T], render: Callable[[T], Any], *, walked_to: str | None = None
    ) -> Json:
        """`{"data","has_more","next"}` from up to `reach` rows.

        With `walked_to` others may follow that row although the page is not full.
        """
        shown = rows[: self.limit]
        following = shown[-1].id if len(rows) > len(shown) else walked_to
        return {
            "data": [render(row) for row in shown],
            "has_more": following is not None,
            "next": following,
        }


def read_page(request: Request, *filters: str) -> Page:
    """Parse the page from a query string.

    Raises:
        RequestRefused: a parameter is unknown, repeated, empty or out of range.
    """
    return parse_page(request.query_params.multi_items(), *filters)


def parse_page(parameters: Iterable[tuple[str, str]], *filters: str) -> Page:
    """As `read_page`, from names and values."""
    known = (*filters, "after", "limit")
    values: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            message = f"{name[:64]} is not a known parameter; known: {', '.join(known)}"
            raise RequestRefused(message, param=name[:64])
        if name in values:
            raise RequestRefused(f"{name} is given more than once", param=name)
        values[name] = checked_text(name, value)
    return Page(
        limit=_limit(values.pop("limit", None)), after=values.pop("after", None), filters=values
    )


def read_limit(request: Request) -> int:
    """The `limit` of a list that has one page. Raises RequestRefused as `read_page`."""
    for name in request.query_params:
        if name != "limit":
            message = f"{name[:64]} is not a known parameter; known: limit"
            raise RequestRefused(message, param=name[:64])
    return read_page(request).limit


def read_time(name: str, value: str | None) -> datetime | None:
    """A date or a time of a parameter; raises RequestRefused if it is none."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message = (
            f"{name} must be a date or a time as in 2026-01-31 or 2026-01-31T12:00:00Z "
            f"(it is {value[:64]})"
        )
        raise RequestRefused(message, param=name) from None


def take_no_parameters(request: Request) -> None:
    """Raise RequestRefused for any query parameter, of a list that has none."""
    for name in request.query_params:
        raise RequestRefused(
            f"{name[:64]} is not a known parameter; there are none", param=name[:64]
        )


def checked_text(name: str, value: str) -> str:
    """A header or parameter value of 1 to 255 printable characters; raises RequestRefused."""
    if not value:
        message = f"{name} must not be empty: leave it out, or give 1 to {_LONGEST} characters"
        raise RequestRefused(message, param=name)
    if not 1 <= len(value) <= _LONGEST or not value.isprintable():
        raise RequestRefused(
            f"{name} must be 1 to {_LONGEST} printable characters (it has {len(value)})",
            param=name,
        )
    return value


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= MAX_LIMIT):
        message = f"limit must be a whole number from 1 to {MAX_LIMIT} (it is {value[:64]})"
        raise RequestRefused(message, param="limit")
    return int(value)
