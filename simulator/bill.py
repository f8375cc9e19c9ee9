"""The bill: one row for every paid request that a simulated vendor accepted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

#: Credential headers; never recorded, since the bill may be printed anywhere.
CREDENTIALS: Final = frozenset(
    ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-goog-api-key")
)

#: Maximum characters kept of a text: whole prompts, the beginning of an image.
LONGEST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Charge:
    """One row; `at` is UTC in ISO 8601, header names are lower case."""

    provider: str
    operation_id: str
    at: str
    path: str
    headers: Mapping[str, str]
    body: object


class Bill:
    """All charges since the last reset, in order of acceptance."""

    def __init__(self) -> None:
        self._charges: list[Charge] = []

    def add(
        self,
        provider: str,
        operation_id: str,
        *,
        path: str,
        headers: Mapping[str, str],
        body: object,
    ) -> None:
        at = datetime.now(UTC).isoformat()
        named = {name.lower(): value for name, value in headers.items()}
        public = {name: value for name, value in named.items() if name not in CREDENTIALS}
        self._charges.append(Charge(provider, operation_id, at, path, public, body))

    def rows(self) -> list[dict[str, object]]:
        return [asdict(charge) for charge in self._charges]

    def reset(self) -> None:
        self._charges.clear()


def truncated(body: Mapping[str, object]) -> dict[str, object]:
    """The body with long texts truncated, so that a thousand inline images fit in memory."""
    return {key: _truncated(value) for key, value in body.items()}


def _truncated(body: object) -> object:
    match body:
        case str() if len(body) > LONGEST_TEXT:
            return f"{body[:100]}… ({len(body)} characters)"
        case dict():
            return truncated(body)
        case list():
            return [_truncated(value) for value in body]
        case _:
            return body
