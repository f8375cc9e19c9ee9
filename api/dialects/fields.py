"""A request body in another system's form, read leniently: unknown fields are ignored.

Each reader checks a field against the system's own document; null is a field that is not set.
"""

import re
import sys
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

from starlette.requests import Request

from api.body import read_json
from models.excerpt import excerpt
from models.failure import RequestRefused

#: The largest number that most readers of JSON know; an integer may have any length.
MAX_NUMBER: Final = sys.float_info.max
#: Maximum characters of a value in a message.
_SHOWN = 64


async def read_object(request: Request) -> Mapping[str, Any]:
    """The body as a JSON object; raises RequestRefused (code `invalid_json` or invalid_request).

    The content type is not looked at: several clients send none.
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        msg = "the request body must be a JSON object"
        raise RequestRefused(msg)
    return body


class Fields:
    """The fields of one object; `within` is its path in the body, as in `data`."""

    def __init__(self, values: Mapping[str, Any], *, within: str = "") -> None:
        self.values = values
        self._within = f"{within}." if within else ""

    def text(self, name: str) -> str | None:
        value: str | None = self._typed(name, str, "a string")
        return value

    def required_text(self, name: str) -> str:
        """A string that is not blank; "NAME is required" else."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value.strip():
            field = self._within + name
            raise RequestRefused(f"{field} is required", param=field)
        return value

    def one_of(self, name: str, allowed: Collection[str]) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, f"must be one of {', '.join(allowed)}")
        return value

    def number(self, name: str) -> float | None:
        """A number of either kind, as it is written; a larger one than a float is the largest."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            self.refuse(name, "must be a number")
        return None if value is None else max(-MAX_NUMBER, min(value, MAX_NUMBER))

    def positive(self, name: str) -> float | None:
        value = self.number(name)
        if value is not None and value <= 0:
            self.refuse(name, "must be a positive number")
        return value

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number in a range, also written as 8.0."""
        value = self.number(name)
        if value is None:
            return None
        if value != int(value) or not least <= value <= most:
            self.refuse(name, f"must be a whole number from {least} to {most}")
        return int(value)

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, "true or false")
        return value

    def objects(self, name: str) -> "tuple[Fields, ...]":
        """The objects of a list; none if the field is not set."""
        values = self._typed(name, list, "a list of objects") or ()
        if not all(isinstance(each, dict) for each in values):
            self.refuse(name, "must be a list of objects")
        within = self._within + name
        return tuple(Fields(each, within=f"{within}[{at}]") for at, each in enumerate(values))

    def inner(self, name: str) -> "Fields | None":
        """An object in this one."""
        value = self._typed(name, dict, "an object")
        return None if value is None else Fields(value, within=self._within + name)

    def refuse(self, name: str, what: str) -> NoReturn:
        """Raise RequestRefused naming the field, what is allowed, and the value."""
        field = self._within + name
        shown = excerpt(self.values.get(name), most=_SHOWN)
        raise RequestRefused(f"{field} {what} (it is {shown})", param=field)

    def _typed(self, name: str, kind: type, what: str) -> Any:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            self.refuse(name, f"must be {what}")
        return value


def in_words_of(names: Mapping[str, str], refusal: RequestRefused) -> RequestRefused:
    """The refusal of a native request in the dialect's names; `names` are its own by ours."""
    ours = re.split(r"[.\[]", refusal.param or "")[0]
    if ours not in names:
        return refusal
    return RequestRefused(
        refusal.message.replace(ours, names[ours], 1),
        type=refusal.type,
        code=refusal.code,
        param=(refusal.param or "").replace(ours, names[ours], 1),
        retry_after=refusal.retry_after,
        allowance=refusal.allowance,
    )
