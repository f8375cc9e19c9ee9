"""Shared by gateways: reading errors, which are text only, including moderation."""

import re
from collections.abc import Mapping
from typing import Any, Final

from models.failure import Failure, Fault
from providers import failures
from providers.body import error_object, object_in
from transport.base import Response
from transport.headers import retry_after

#: Phrases that indicate a safety refusal; no gateway has a code for it. "Content policy violation"
#: is Perf's example, the others are the model vendors'.
MODERATION: Final = re.compile(
    r"\b(?:content polic(?:y|ies)|moderat(?:ed|ion)|safety|usage guidelines|prohibited content)\b",
    re.IGNORECASE,
)


def is_moderation(words: str | None) -> bool:
    return words is not None and MODERATION.search(words) is not None


def explain(
    response: Response, *, title: str, words: str | None, fault: Fault | None = None
) -> Failure:
    """Classify an error response: by vendor code (`fault`), message, then status."""
    fault = fault or failures.by_status(response.status)
    if fault is Fault.REFUSED and is_moderation(words):
        fault = Fault.MODERATED
    return failures.failure(
        fault,
        f"{title} answered HTTP {response.status}",
        words=words,
        retry_after=retry_after(response.headers),
    )


def ended(words: str | None, *, title: str, code: str | None = None) -> Failure:
    """The failure of an accepted operation; UNKNOWN unless moderation."""
    fault = Fault.MODERATED if is_moderation(words) else Fault.UNKNOWN
    return failures.of_operation(fault, title=title, code=code, words=words)


def error_of(response: Response) -> Mapping[str, Any]:
    """The `error` object of a response; empty if there is none, as from a proxy."""
    return object_in(error_object(response), "error")
