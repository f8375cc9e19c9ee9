"""What both generations of Kling's API share: one host, envelope, error codes, signed callbacks.

Source: kling.ai/document-api (get-started: authentication, error codes, callbacks); no SDK exists.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import Provider, ProviderError
from transport.base import Response
from transport.headers import retry_after

HOST: Final = "https://api-singapore.klingai.com"
#: Ours: the vendor names no time-out; a POST may carry pictures. In seconds.
SUBMIT_TIMEOUT: Final = 60.0

#: The code of an answer that has what was asked for.
FINE: Final = 0
#: "The requested resource does not exist"; a 404 without it may come from any proxy.
NO_SUCH_RESOURCE: Final = 1203

#: kling.ai/document-api/api/get-started/error-codes. Five of the codes that come as HTTP 429 will
#: not pass with time, so that the status alone must not decide.
FAULTS: Final[Mapping[int, Fault]] = {
    1000: Fault.AUTH,  # authentication failed
    1001: Fault.AUTH,  # no authorization
    1002: Fault.AUTH,  # invalid authorization
    1003: Fault.AUTH,  # authorization not yet valid: our clock
    1004: Fault.AUTH,  # authorization expired: our clock, since tokens are made for each request
    1100: Fault.QUOTA,  # 429: the account has a problem
    1101: Fault.QUOTA,  # 429: the account is in arrears
    1102: Fault.QUOTA,  # 429: the resource pack is used up or has expired
    1103: Fault.AUTH,  # no right to the resource
    1200: Fault.REFUSED,  # wrong parameter
    1201: Fault.REFUSED,  # wrong value
    1202: Fault.REFUSED,  # wrong method
    1203: Fault.GONE,  # no such resource, such as a model
    1300: Fault.MODERATED,  # platform policy
    1301: Fault.MODERATED,  # content safety
    1302: Fault.RATE,  # 429: too many requests
    1303: Fault.RATE,  # 429: more parallel tasks than the resource pack allows
    1304: Fault.AUTH,  # 429: this address is not on the account's white list
    5000: Fault.TRANSIENT,
    5001: Fault.TRANSIENT,  # maintenance
    5002: Fault.TRANSIENT,  # time-out inside
}

#: Tasks fail with words only; the vendor's documents name one cause: "content risk control".
MODERATION_WORDS: Final = "risk control"

#: What the capabilities of both generations rest on.
SOURCES: Final[Mapping[str, str]] = {
    "cancel": "kling.ai/document-api has no verb that cancels",
    "look_up": "external_task_id is unique per account and can be queried; kling.ai/document-api",
    "look_up_delay": "estimate: the vendor names no delay",
    "poll_floor": "estimate: the vendor names no pace, others ask every 10 seconds",
    "refusals": (
        "kling.ai/document-api/api/get-started/error-codes: the 5xx codes say nothing of acceptance"
    ),
    "result_lives": "kling.ai/document-api: results are cleared after 30 days",
}


class KlingApi(Provider):
    """The part of a Kling provider that does not depend on the generation of its endpoints.

    A result's link is protected by itself and needs no key.
    """

    base_variable: ClassVar[str] = "KLING_BASE_URL"
    default_base: ClassVar[str] = HOST
    callback_secret: ClassVar[str | None] = "KLING_WEBHOOK_SECRET"  # noqa: S105 - a variable's name

    def explain(self, response: Response) -> Failure:
        """`{"code", "message", "request_id"}`: the code decides; without one, the status."""
        code = code_of(response)
        known = FAULTS.get(code) if code is not None else None
        return failures.failure(
            known or failures.by_status(response.status),
            f"Kling answered HTTP {response.status}" + (f" ({code})" if code is not None else ""),
            words=failures.words_of(response, "message"),
            retry_after=retry_after(response.headers),
        )

    def callback_is_genuine(
        self, headers: Mapping[str, str], body: bytes, *, secret: str | None, now: float
    ) -> bool:
        """By signature once a secret is set; until then the vendor signs nothing."""
        return secret is None or callbacks.is_signed(headers, body, secret=secret, now=now)

    def check_absence(self, response: Response) -> None:
        """Raises ProviderError unless a 404 is the vendor's own "no such resource"."""
        if code_of(response) != NO_SUCH_RESOURCE:
            raise ProviderError(self.explain(response), status=response.status)


def answer_of(response: Response) -> object:
    """The whole answer, `data` and all.

    Raises:
        Undocumented: its code is not 0, which the vendor documents for error statuses only.
    """
    body: object = response.json()
    code = answers.optional(body, "code")
    if code != FINE or isinstance(code, bool):
        msg = "its 'code' is not 0 although the status is 2xx"
        raise answers.Undocumented(msg)
    return body


def code_of(response: Response) -> int | None:
    """The vendor's own code in an error answer; None where there is none."""
    try:
        body = json.loads(response.content[: 2**16])
    except (ValueError, RecursionError):
        return None  # a proxy's page says nothing that its status does not
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def task_failure(words: str | None) -> Failure:
    """Why an accepted task made no video."""
    fault = Fault.MODERATED if words and MODERATION_WORDS in words.lower() else Fault.UNKNOWN
    return failures.of_operation(fault, title="Kling", code=None, words=words)


def picture(uri: str) -> str:
    """An address, or the bare base64 of a data URI: the vendor takes no `data:` prefix."""
    return uri.partition(",")[2] if uri.startswith("data:") else uri


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {field: value for field, value in values.items() if value is not None}
