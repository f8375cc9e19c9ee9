"""What other people's gateways have in common: they say why in words, moderation included."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from models.failure import Failure, Fault
from providers import failures
from transport.base import Response
from transport.headers import retry_after

#: Words by which a gateway passes on that a safety system said no; none has a code for it.
#: "Content policy violation" is Perf's own example, the rest is what the models' makers say.
MODERATION: Final = re.compile(
    r"\b(?:content polic(?:y|ies)|moderat(?:ed|ion)|safety|usage guidelines|prohibited content)\b",
    re.IGNORECASE,
)


def is_moderation(words: str | None) -> bool:
    return words is not None and MODERATION.search(words) is not None


def explain(
    response: Response, *, title: str, words: str | None, fault: Fault | None = None
) -> Failure:
    """What an error answer means: the vendor's own code (`fault`), its words, then the status."""
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
    """Why an accepted operation made no video; what is no moderation stays UNKNOWN."""
    fault = Fault.MODERATED if is_moderation(words) else Fault.UNKNOWN
    return failures.of_operation(fault, title=title, code=code, words=words)


def error_of(response: Response) -> Mapping[str, Any]:
    """The `error` object of an answer; an empty one where a proxy answered, or in plain words."""
    try:
        body = json.loads(response.content[: 2**16])
    except (ValueError, RecursionError):
        return {}  # a proxy's HTML page says nothing that its status does not
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def text_in(error: Mapping[str, Any], field: str) -> str | None:
    """A field of an error object that is text; None for anything else."""
    value = error.get(field)
    return value if isinstance(value, str) else None
