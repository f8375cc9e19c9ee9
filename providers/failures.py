"""What an upstream's error means: HTTP statuses into the one tree, its words made safe to show."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from models.failure import Failure, Fault
from transport.base import Response
from transport.headers import retry_after
from transport.redact import redact

#: The stable public code of each fault.
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

#: A vendor's own words, at most so many characters of them.
_SHOWN: Final = 240
_PICTURES: Final = re.compile(r"data:\S+", re.IGNORECASE)
#: A quotation shorter than this is a word of the language, not a leak.
_TELLING: Final = 12


def by_status(status: int) -> Fault:
    """What a status means where the vendor documents nothing more particular."""
    if status >= 500:  # noqa: PLR2004 - the HTTP class of the server's own trouble
        return Fault.TRANSIENT
    return _BY_STATUS.get(status, Fault.UNKNOWN)


def from_answer(response: Response, *, title: str, words: str | None) -> Failure:
    """An error answer in words: who, which status, and what the vendor says about it."""
    fault = by_status(response.status)
    return failure(
        fault,
        f"{title} answered HTTP {response.status}",
        words=words,
        retry_after=retry_after(response.headers),
    )


def of_operation(fault: Fault, *, title: str, code: str | None, words: str | None) -> Failure:
    """Why an accepted operation made no video: who, the vendor's own code and words."""
    what = f"{title} could not make the video"
    return failure(fault, f"{what} ({shown(code)})" if code else what, words=words)


def failure(
    fault: Fault, what: str, *, words: str | None = None, retry_after: float | None = None
) -> Failure:
    """A failure of an upstream with its fault's stable code."""
    message = f"{what}: {shown(words)}" if words and words.strip() else what
    return Failure(fault=fault, code=CODES[fault], message=message, retry_after=retry_after)


def shown(words: str) -> str:
    """A vendor's words on one line, cut short, without signatures, keys and pictures."""
    line = " ".join(redact(_PICTURES.sub("…", words[: 20 * _SHOWN])).split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def words_of(response: Response, *fields: str) -> str | None:
    """The first of the fields that an error body has as text; None for any other body."""
    try:
        body = json.loads(response.content[: 2**16])
    except (ValueError, RecursionError):
        return None  # a proxy's HTML page says nothing that its status does not
    if not isinstance(body, dict):
        return None
    return next((body[field] for field in fields if isinstance(body.get(field), str)), None)


def without_echoes(failed: Failure, *, sent: object, secrets: Iterable[str]) -> Failure:
    """The failure without anything that we sent: vendors quote keys and prompts in their errors."""
    message = failed.message
    for quoted in (*secrets, *_strings(sent)):
        message = _without(message, quoted)
    return replace(failed, message=message)


def _without(message: str, quoted: str) -> str:
    """Cuts every passage of the message that repeats the beginning of what was sent."""
    opening = shown(quoted)[:_TELLING]
    if len(opening) < _TELLING:
        return message
    while (start := message.find(opening)) >= 0:
        end = start + len(opening)
        rest = shown(quoted)[len(opening) :]
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
