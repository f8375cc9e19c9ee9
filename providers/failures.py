"""Classifies upstream errors, and makes vendors' messages safe to show."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from models.failure import Failure, Fault
from providers.body import error_object
from transport.base import Response
from transport.headers import retry_after
from transport.redact import redact

#: The public error code of each fault.
CODES: Final[Mapping[Fault, str]] = {
    Fault.REFUSED: "provider_refused",
    Fault.MODERATED: "content_policy",
    Fault.QUOTA: "provider_quota",
    Fault.RATE: "provider_rate_limited",
    Fault.TRANSIENT: "provider_unavailable",
    Fault.AUTH: "provider_auth",
    Fault.GONE: "provider_gone",
    Fault.UNKNOWN: "provider_unknown",
}

_BY_STATUS: Final[Mapping[int, Fault]] = {
    400: Fault.REFUSED,
    401: Fault.AUTH,
    402: Fault.QUOTA,
    403: Fault.AUTH,
    404: Fault.GONE,
    405: Fault.REFUSED,
    408: Fault.TRANSIENT,
    409: Fault.REFUSED,
    410: Fault.GONE,
    413: Fault.REFUSED,
    415: Fault.REFUSED,
    422: Fault.REFUSED,
    425: Fault.TRANSIENT,
    429: Fault.RATE,
}

#: Maximum characters of a vendor's message shown.
_MAX_LENGTH: Final = 240
_DATA_URI: Final = re.compile(r"data:\S+", re.IGNORECASE)
#: Minimum length of a quotation to redact; shorter matches are ordinary words.
_MIN_QUOTE: Final = 12


def by_status(status: int) -> Fault:
    """The fault for a status, unless the vendor documents a more specific one."""
    if status >= 500:  # noqa: PLR2004 - HTTP server errors
        return Fault.TRANSIENT
    return _BY_STATUS.get(status, Fault.UNKNOWN)


def from_answer(response: Response, *, title: str, words: str | None) -> Failure:
    """A failure from an error response: vendor, status and the vendor's message."""
    fault = by_status(response.status)
    return failure(
        fault,
        f"{title} answered HTTP {response.status}",
        words=words,
        retry_after=retry_after(response.headers),
    )


def of_operation(fault: Fault, *, title: str, code: str | None, words: str | None) -> Failure:
    """A failure of an accepted operation: the vendor's code and message."""
    what = f"{title} could not make the video"
    return failure(fault, f"{what} ({shown(code)})" if code else what, words=words)


def failure(
    fault: Fault, what: str, *, words: str | None = None, retry_after: float | None = None
) -> Failure:
    """An upstream failure with the fault's public code."""
    message = f"{what}: {shown(words)}" if words and words.strip() else what
    return Failure(fault=fault, code=CODES[fault], message=message, retry_after=retry_after)


def shown(words: str) -> str:
    """A vendor's message on one line, truncated, with signatures, keys and images removed."""
    line = " ".join(redact(_DATA_URI.sub("…", words[: 20 * _MAX_LENGTH])).split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…"


def words_of(response: Response, *fields: str) -> str | None:
    """The first of the fields that is text in an error body; None if there is none."""
    body = error_object(response)
    return next((body[field] for field in fields if isinstance(body.get(field), str)), None)


def without_echoes(failed: Failure, *, sent: object, secrets: Iterable[str]) -> Failure:
    """The failure with everything we sent removed: vendors quote keys and prompts."""
    message = failed.message
    for quoted in (*secrets, *_strings(sent)):
        message = _without(message, quoted)
    return replace(failed, message=message)


def _without(message: str, quoted: str) -> str:
    """Remove every passage that repeats the beginning of `quoted`."""
    line = shown(quoted)
    opening, rest = line[:_MIN_QUOTE], line[_MIN_QUOTE:]
    if len(opening) < _MIN_QUOTE:
        return message
    while (start := message.find(opening)) >= 0:
        end = start + len(opening)
        for ours, theirs in zip(rest, message[end:], strict=False):
            if ours != theirs:
                break
            end += 1
        message = f"{message[:start]}…{message[end:]}"
    return message


def _strings(sent: object) -> Iterator[str]:
    if isinstance(sent, str):
        yield sent
    elif isinstance(sent, Mapping):
        for value in sent.values():
            yield from _strings(value)
    elif isinstance(sent, list | tuple):
        for value in sent:
            yield from _strings(value)
