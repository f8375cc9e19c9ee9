"""Shared by both generations of MiniMax's API: host, key, error codes, callbacks.

Source: platform.minimax.io/docs/api-reference (errorcode, video-generation) and the vendor's CLI,
github.com/MiniMax-AI/cli; there is no Python SDK.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import Provider, ProviderError
from providers.body import error_object, object_in, parsed_object, text_in
from transport.base import Response
from transport.headers import retry_after

HOST: Final = "https://api.minimax.io"
#: Our choice, in seconds: the vendor documents no timeout; a POST may contain images.
SUBMIT_TIMEOUT: Final = 60.0

#: The code of a successful response.
SUCCESS: Final = 0


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """The meaning of one vendor code."""

    fault: Fault
    #: The equivalent HTTP status, if the code proves that a paid POST was not accepted.
    refusal: int | None = None


#: platform.minimax.io/docs/api-reference/errorcode; where marked, src/errors/api.ts of mmx 1.0.12.
#: Sent with HTTP 200. The vendor advises retrying 1000, 1001 and similar codes, which does not
#: prove that nothing was accepted.
ERROR_CODES: Final[Mapping[int, ErrorCode]] = {
    1000: ErrorCode(Fault.TRANSIENT),  # unknown error
    1001: ErrorCode(Fault.TRANSIENT),  # timeout
    1002: ErrorCode(Fault.RATE, 429),
    1004: ErrorCode(Fault.AUTH, 401),
    1008: ErrorCode(Fault.QUOTA, 402),  # insufficient balance
    1013: ErrorCode(Fault.TRANSIENT),  # internal
    1024: ErrorCode(Fault.TRANSIENT),  # internal
    1026: ErrorCode(Fault.MODERATED, 422),  # the input
    1027: ErrorCode(Fault.MODERATED),  # the output, so one was made
    1028: ErrorCode(Fault.QUOTA, 402),  # mmx: quota exhausted
    1030: ErrorCode(Fault.QUOTA, 402),  # mmx: quota exhausted
    1033: ErrorCode(Fault.TRANSIENT),  # its database
    1039: ErrorCode(Fault.RATE, 429),  # tokens a minute
    1041: ErrorCode(Fault.RATE, 429),  # connections
    1042: ErrorCode(Fault.REFUSED, 400),  # too many invisible characters
    2013: ErrorCode(Fault.REFUSED, 400),  # wrong parameter
    2045: ErrorCode(Fault.RATE, 429),  # requests grew too fast
    2049: ErrorCode(Fault.AUTH, 401),  # wrong key
    2056: ErrorCode(Fault.QUOTA, 402),  # the plan's five-hour quota is used up
    2061: ErrorCode(Fault.QUOTA, 402),  # mmx: the plan lacks the model
}
#: mmx 1.0.12, src/errors/api.ts: error types of the newer endpoints, beside the HTTP status.
TYPES: Final[Mapping[str, Fault]] = {"insufficient_balance_error": Fault.QUOTA}
#: Marks a safety filter in codes and messages (ibidem).
SENSITIVE: Final = "sensitive"

#: The message when a callback URL failed its challenge, with code 2013; observed in both
#: generations, undocumented.
UNANSWERED_CHALLENGE: Final = "fail to check callback url"
#: Maximum challenge length, in characters; our choice, undocumented.
LONGEST_CHALLENGE: Final = 1024

#: Sources for the capabilities of both generations.
SOURCES: Final[Mapping[str, str]] = {
    "callback_challenged": (
        "platform.minimax.io/docs/api-reference/video-generation-t2v, callback_url: the challenge "
        "must be echoed within 3 seconds; docs.comfy.org confirms it for H3"
    ),
    "look_up": (
        "no external id, and the newer listing echoes no marker: only the callback, which "
        "has the task id like a poll response (ibidem)"
    ),
    "poll_floor": "github.com/MiniMax-AI/cli polls every 5 seconds, documented samples every 10",
    "refusals": (
        "platform.minimax.io/docs/api-reference/errorcode; inside HTTP 200 the codes of "
        "providers.vendors.minimax.shared.ERROR_CODES that have a refusal"
    ),
    "result_lives": "platform.minimax.io: one hour; elsewhere 9 hours: the shorter, unverified",
}


class MinimaxApi(Provider):
    """Base for both generations: key, errors and callbacks.

    A result's URL is signed and needs no key.
    """

    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("MINIMAX_API_KEY",),)
    base_variable: ClassVar[str] = "MINIMAX_BASE_URL"
    default_base: ClassVar[str] = HOST

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is a poll response: `task_id` in the older kind, a task in the newer."""
        said = parsed_object(body)
        for holder, field in ((said, "task_id"), (object_in(said, "task"), "id")):
            if holder.get(field) is not None:
                try:
                    return answers.identifier(holder, field)
                except ValueError:
                    return None
        return None

    def callback_reply(self, body: bytes) -> bytes | None:
        """The challenge, echoed."""
        challenge = text_in(parsed_object(body), "challenge")
        if challenge is None or len(challenge) > LONGEST_CHALLENGE:
            return None
        return json.dumps({"challenge": challenge}).encode()

    def explain(self, response: Response) -> Failure:
        """By vendor code, else by error type or message, else by status.

        The older endpoints return `{"base_resp": {"status_code", "status_msg"}}`, the newer ones
        `{"error": {"type", "message"}}`. A failed callback challenge is not the request's fault.
        """
        said = error_object(response)
        code, words = code_in(said), text_in(object_in(said, "base_resp"), "status_msg")
        error = object_in(said, "error")
        kind, words = text_in(error, "type"), words or text_in(error, "message")
        fault = fault_of(code, words) or TYPES.get(kind or "")
        if words and UNANSWERED_CHALLENGE in words.lower():
            fault = Fault.TRANSIENT
        shown = code or kind
        return failures.failure(
            fault or failures.by_status(response.status),
            f"MiniMax answered HTTP {response.status}" + (f" ({shown})" if shown else ""),
            words=words,
            retry_after=retry_after(response.headers),
        )

    def check(self, response: Response) -> None:
        """Raise ProviderError for an error inside a 200 response.

        Its `status` is the equivalent of the code, so that a refusal is recognised as one.
        """
        code = code_in(error_object(response))
        if code in {None, SUCCESS}:
            return
        refusal = ERROR_CODES[code].refusal if code in ERROR_CODES else None
        raise ProviderError(self.explain(response), status=refusal or response.status)


def code_in(said: Mapping[str, Any]) -> int | None:
    """The code in `base_resp`, or None."""
    code = object_in(said, "base_resp").get("status_code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def fault_of(code: int | None, words: str | None) -> Fault | None:
    """The fault for a code, or for a message about sensitive content; None otherwise."""
    if code is not None and code in ERROR_CODES:
        return ERROR_CODES[code].fault
    return Fault.MODERATED if words and SENSITIVE in words.lower() else None


def task_failure(code: int | str | None, words: str | None) -> Failure:
    """The failure of an accepted task; undocumented codes stay UNKNOWN."""
    number = int(code) if isinstance(code, str) and code.isdecimal() else code
    fault = fault_of(number if isinstance(number, int) else None, words) or Fault.UNKNOWN
    return failures.of_operation(
        fault, title="MiniMax", code=str(code) if code else None, words=words
    )
