"""What both generations of MiniMax's API share: one host and key, error codes, nothing to look up.

Source: platform.minimax.io/docs/api-reference (errorcode, video-generation) and the vendor's own
command line, github.com/MiniMax-AI/cli; there is no Python SDK.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import Provider, ProviderError
from transport.base import Response
from transport.headers import retry_after

HOST: Final = "https://api.minimax.io"
#: Ours: the vendor names no time-out; a POST may carry pictures. In seconds.
SUBMIT_TIMEOUT: Final = 60.0

#: The code of an answer that has what was asked for.
FINE: Final = 0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one of the vendor's codes says."""

    fault: Fault
    #: The HTTP status that says the same, where the code proves that a paid POST was not accepted.
    refusal: int | None = None


#: platform.minimax.io/docs/api-reference/errorcode; where marked, src/errors/api.ts of mmx 1.0.12.
#: They come inside HTTP 200. The vendor's advice on 1000, 1001 and their like is to try again,
#: which does not say that nothing was accepted.
MEANINGS: Final[Mapping[int, Meaning]] = {
    1000: Meaning(Fault.TRANSIENT),  # unknown error
    1001: Meaning(Fault.TRANSIENT),  # time-out
    1002: Meaning(Fault.RATE, 429),
    1004: Meaning(Fault.AUTH, 401),
    1008: Meaning(Fault.QUOTA, 402),  # insufficient balance
    1013: Meaning(Fault.TRANSIENT),  # internal
    1024: Meaning(Fault.TRANSIENT),  # internal
    1026: Meaning(Fault.MODERATED, 422),  # the input
    1027: Meaning(Fault.MODERATED),  # the output, so there was one
    1028: Meaning(Fault.QUOTA, 402),  # mmx: quota exhausted
    1030: Meaning(Fault.QUOTA, 402),  # mmx: quota exhausted
    1033: Meaning(Fault.TRANSIENT),  # its database
    1039: Meaning(Fault.RATE, 429),  # tokens a minute
    1041: Meaning(Fault.RATE, 429),  # connections
    1042: Meaning(Fault.REFUSED, 400),  # too many invisible characters
    2013: Meaning(Fault.REFUSED, 400),  # wrong parameter
    2045: Meaning(Fault.RATE, 429),  # requests grew too fast
    2049: Meaning(Fault.AUTH, 401),  # wrong key
    2056: Meaning(Fault.QUOTA, 402),  # the plan's five hours are used up
    2061: Meaning(Fault.QUOTA, 402),  # mmx: the plan does not have the model
}
#: mmx 1.0.12, src/errors/api.ts: what the newer endpoints call an error, beside its HTTP status.
TYPES: Final[Mapping[str, Fault]] = {"insufficient_balance_error": Fault.QUOTA}
#: What the vendor says, in code or in words, when a safety filter struck (ibidem).
SENSITIVE: Final = "sensitive"

#: The vendor's words when a callback address did not answer its challenge, beside code 2013; both
#: generations have been seen to say so, no document does.
UNANSWERED_CHALLENGE: Final = "fail to check callback url"
#: A challenge longer than this is none. Ours: the vendor names no length.
LONGEST_CHALLENGE: Final = 1024

#: What the capabilities of both generations rest on.
SOURCES: Final[Mapping[str, str]] = {
    "callback_challenged": (
        "platform.minimax.io/docs/api-reference/video-generation-t2v, callback_url: the challenge "
        "must be echoed within 3 seconds; docs.comfy.org says the same of H3"
    ),
    "look_up": (
        "no external id, and the newer listing echoes nothing of ours: only the callback, which "
        "has the task's id as a query's answer has it (ibidem)"
    ),
    "poll_floor": "github.com/MiniMax-AI/cli asks every 5 seconds, the documents' samples every 10",
    "refusals": (
        "platform.minimax.io/docs/api-reference/errorcode; inside HTTP 200 the codes of "
        "providers.minimax_api.MEANINGS that have a refusal"
    ),
    "result_lives": "platform.minimax.io says an hour, others 9 hours: the shorter, unverified",
}


class MinimaxApi(Provider):
    """The part of a MiniMax provider that does not depend on the generation of its endpoints.

    A result's link is signed and needs no key.
    """

    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("MINIMAX_API_KEY",),)
    base_variable: ClassVar[str] = "MINIMAX_BASE_URL"
    default_base: ClassVar[str] = HOST

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is a query's answer: the older kind has `task_id`, the newer one a task."""
        said = _object_of(body)
        for holder, field in ((said, "task_id"), (_object(said, "task"), "id")):
            if holder.get(field) is not None:
                try:
                    return answers.identifier(holder, field)
                except ValueError:
                    return None
        return None

    def callback_reply(self, body: bytes) -> bytes | None:
        """The challenge, as it came."""
        challenge = _text(_object_of(body), "challenge")
        if challenge is None or len(challenge) > LONGEST_CHALLENGE:
            return None
        return json.dumps({"challenge": challenge}).encode()

    def explain(self, response: Response) -> Failure:
        """By the vendor's own code, else by the error's type or words, else by the status.

        The older endpoints say `{"base_resp": {"status_code", "status_msg"}}`, the newer ones
        `{"error": {"type", "message"}}`. An address of ours that was not answered at is no fault of
        the request's.
        """
        said = _members(response)
        code, words = code_in(said), _text(_object(said, "base_resp"), "status_msg")
        error = _object(said, "error")
        kind, words = _text(error, "type"), words or _text(error, "message")
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
        """Raises ProviderError where an answer of status 200 holds an error.

        Its `status` is the one that says the same as the code, so that a refusal proves itself.
        """
        code = code_in(_members(response))
        if code in {None, FINE}:
            return
        refusal = MEANINGS[code].refusal if code in MEANINGS else None
        raise ProviderError(self.explain(response), status=refusal or response.status)


def code_in(said: Mapping[str, Any]) -> int | None:
    """The code in `base_resp`; None where there is none."""
    code = _object(said, "base_resp").get("status_code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def fault_of(code: int | None, words: str | None) -> Fault | None:
    """What a code, or words about sensitive content, come to; None for all others."""
    if code is not None and code in MEANINGS:
        return MEANINGS[code].fault
    return Fault.MODERATED if words and SENSITIVE in words.lower() else None


def task_failure(code: int | str | None, words: str | None) -> Failure:
    """Why an accepted task made no video; a code that no document has stays UNKNOWN."""
    number = int(code) if isinstance(code, str) and code.isdecimal() else code
    fault = fault_of(number if isinstance(number, int) else None, words) or Fault.UNKNOWN
    return failures.of_operation(
        fault, title="MiniMax", code=str(code) if code else None, words=words
    )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {field: value for field, value in values.items() if value is not None}


def _members(response: Response) -> Mapping[str, Any]:
    """An answer's members; none where it is no JSON object, such as a proxy's page."""
    return _object_of(response.content[: 2**16])


def _object_of(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _object(said: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = said.get(field)
    return value if isinstance(value, dict) else {}


def _text(said: Mapping[str, Any], field: str) -> str | None:
    value = said.get(field)
    return value if isinstance(value, str) else None
