"""Shared by Google's video APIs: inline images, error responses, the API key."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import Account, Provider
from providers.body import error_json
from transport.base import Response
from transport.headers import LONGEST_WAIT, retry_after

#: Our choice, in seconds: google-genai 3.4.0 sets no timeout; a POST may contain images.
SUBMIT_TIMEOUT: Final = 60.0

#: Every google.rpc.Code (googleapis: google/rpc/code.proto), by number and name. An unmet
#: precondition is for the operator: ai.google.dev/gemini-api/docs/troubleshooting names disabled
#: billing.
RPC_CODES: Final[Mapping[int, tuple[str, Fault]]] = {
    1: ("CANCELLED", Fault.GONE),
    2: ("UNKNOWN", Fault.UNKNOWN),
    3: ("INVALID_ARGUMENT", Fault.REFUSED),
    4: ("DEADLINE_EXCEEDED", Fault.TRANSIENT),
    5: ("NOT_FOUND", Fault.GONE),
    6: ("ALREADY_EXISTS", Fault.REFUSED),
    7: ("PERMISSION_DENIED", Fault.AUTH),
    8: ("RESOURCE_EXHAUSTED", Fault.RATE),
    9: ("FAILED_PRECONDITION", Fault.QUOTA),
    10: ("ABORTED", Fault.TRANSIENT),
    11: ("OUT_OF_RANGE", Fault.REFUSED),
    12: ("UNIMPLEMENTED", Fault.REFUSED),
    13: ("INTERNAL", Fault.TRANSIENT),
    14: ("UNAVAILABLE", Fault.TRANSIENT),
    15: ("DATA_LOSS", Fault.TRANSIENT),
    16: ("UNAUTHENTICATED", Fault.AUTH),
}
_FAULTS_BY_NAME: Final = dict(RPC_CODES.values())

#: A wrong key returns HTTP 400 INVALID_ARGUMENT; only this reason in `details` identifies it.
WRONG_KEY: Final = "API_KEY_INVALID"

#: Phrases of a safety filter, which has no code of its own. Quoted from docs.cloud.google.com, Veo:
#: "Responsible AI and usage guidelines". Gaps are bounded, so that long words take linear time.
MODERATION: Final = re.compile(
    r"usage guidelines|support codes?\b|prompt (?:could not|couldn't) be submitted"
    r"|violates? (?:our|the|google's)\b.{0,60} polic|blocked\b[^.]{0,60}\b(?:safety|polic)",
    re.IGNORECASE,
)


class GeminiApi(Provider):
    """Base for providers on the Gemini API: its key, its files, its errors.

    A video is a file of the API: downloading needs the key and may redirect.
    """

    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("GEMINI_API_KEY",),)
    base_variable: ClassVar[str] = "GOOGLE_GEMINI_BASE_URL"
    default_base: ClassVar[str] = "https://generativelanguage.googleapis.com"

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The key, in Google's own header."""
        return {"x-goog-api-key": account.credentials["GEMINI_API_KEY"]}

    def explain(self, response: Response) -> Failure:
        """`{"error": {"code", "message", "status", "details"}}`."""
        return explain(response, title="Gemini")


def inline(uri: str) -> tuple[str, str]:
    """Media type and base64 of a data URI.

    Raises:
        ValueError: a URL; `Capabilities.inline_pictures` prevents this.
    """
    head, comma, data = uri.partition(",")
    if not comma or not head.startswith("data:"):
        msg = "Google takes images as data URIs only"
        raise ValueError(msg)
    return head.removeprefix("data:").partition(";")[0], data


def content(answer: object, field: str) -> bytes:
    """A base64 field's bytes, as for inline videos."""
    try:
        return b64decode(answers.text(answer, field), validate=True)
    except ValueError as error:
        msg = f"{field!r} is not base64"
        raise answers.Undocumented(msg) from error


def explain(response: Response, *, title: str) -> Failure:
    """Classify an error response: by Google's message, its status name, then the HTTP status."""
    error = _error_of(response)
    words = error.get("message")
    words = words if isinstance(words, str) else None
    waits = [retry_after(response.headers), _retry_delay(error)]
    return failures.failure(
        _fault(error, words, status=response.status),
        f"{title} answered HTTP {response.status}",
        words=words,
        retry_after=max((wait for wait in waits if wait is not None), default=None),
    )


def operation_failure(error: object, *, title: str) -> Failure:
    """The failure in an operation's google.rpc.Status; undocumented codes are UNKNOWN."""
    code = answers.optional_number(error, "code")
    words = answers.optional_text(error, "message")
    name, fault = RPC_CODES.get(int(code or 0), (None, Fault.UNKNOWN))
    if is_moderation(words):
        fault = Fault.MODERATED
    return failures.of_operation(fault, title=title, code=name, words=words)


def is_moderation(words: str | None) -> bool:
    return words is not None and MODERATION.search(words) is not None


def _error_of(response: Response) -> Mapping[str, Any]:
    """The `error` object of a response; empty if there is none, as from a proxy or gateway."""
    body = error_json(response)
    if isinstance(body, list) and body:
        body = body[0]  # as Google's front end returns for some APIs
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _fault(error: Mapping[str, Any], words: str | None, *, status: int) -> Fault:
    if is_moderation(words):
        return Fault.MODERATED
    if any(detail.get("reason") == WRONG_KEY for detail in _details(error)):
        return Fault.AUTH
    name = error.get("status")
    known = _FAULTS_BY_NAME.get(name) if isinstance(name, str) else None
    return known or failures.by_status(status)


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    """Seconds from a google.rpc.RetryInfo in `details`, such as "17s"; None without one."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?s", delay):
            return min(float(delay[:-1]), LONGEST_WAIT)
    return None


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    return (detail for detail in details or () if isinstance(detail, dict))
