"""Shared by both generations of Kling's API: host, envelope, error codes, signed callbacks.

Source: kling.ai/document-api (get-started: authentication, error codes, callbacks); no SDK exists.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import Provider, ProviderError
from providers.body import error_object
from transport.base import Response
from transport.headers import retry_after

HOST: Final = "https://api-singapore.klingai.com"
#: Our choice, in seconds: the vendor documents no timeout; a POST may contain images.
SUBMIT_TIMEOUT: Final = 60.0

#: The code of a successful response.
SUCCESS: Final = 0
#: "The requested resource does not exist"; a 404 without it may come from a proxy.
NO_SUCH_RESOURCE: Final = 1203

#: kling.ai/document-api/api/get-started/error-codes. Five codes sent with HTTP 429 do not pass with
#: time, so the status alone must not decide.
FAULTS: Final[Mapping[int, Fault]] = {
    1000: Fault.AUTH,  # authentication failed
    1001: Fault.AUTH,  # no authorization
    1002: Fault.AUTH,  # invalid authorization
    1003: Fault.AUTH,  # authorization not yet valid: our clock
    1004: Fault.AUTH,  # authorization expired: our clock, since tokens are per request
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
    1304: Fault.AUTH,  # 429: our IP address is not on the account's allowlist
    5000: Fault.TRANSIENT,
    5001: Fault.TRANSIENT,  # maintenance
    5002: Fault.TRANSIENT,  # internal timeout
}

#: Tasks fail with text only; the one documented cause is "content risk control".
MODERATION_WORDS: Final = "risk control"

#: Sources for the capabilities of both generations.
SOURCES: Final[Mapping[str, str]] = {
    "cancel": "kling.ai/document-api has no cancel",
    "look_up": "external_task_id is unique per account and can be queried; kling.ai/document-api",
    "look_up_delay": "estimate: undocumented",
    "poll_floor": "estimate: undocumented; other clients poll every 10 seconds",
    "refusals": (
        "kling.ai/document-api/api/get-started/error-codes: 5xx codes do not prove refusal"
    ),
    "result_lives": "kling.ai/document-api: results are cleared after 30 days",
}


class KlingApi(Provider):
    """Base for both generations: host, errors and callback verification.

    A result's URL needs no key.
    """

    base_variable: ClassVar[str] = "KLING_BASE_URL"
    default_base: ClassVar[str] = HOST
    callback_secret: ClassVar[str | None] = "KLING_WEBHOOK_SECRET"  # noqa: S105 - a variable's name

    def explain(self, response: Response) -> Failure:
        """`{"code", "message", "request_id"}`: by code, else by status."""
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
        """Verified by signature if a secret is set; otherwise the vendor does not sign."""
        return secret is None or callbacks.is_signed(headers, body, secret=secret, now=now)

    def check_absence(self, response: Response) -> None:
        """Raise ProviderError unless a 404 is the vendor's own "no such resource"."""
        if code_of(response) != NO_SUCH_RESOURCE:
            raise ProviderError(self.explain(response), status=response.status)


def answer_of(response: Response) -> object:
    """The complete JSON body, including `data`.

    Raises:
        Undocumented: the code is not 0, which is documented for error statuses only.
    """
    body: object = response.json()
    code = answers.optional(body, "code")
    if code != SUCCESS or isinstance(code, bool):
        msg = "'code' is not 0 although the status is 2xx"
        raise answers.Undocumented(msg)
    return body


def code_of(response: Response) -> int | None:
    """The vendor's error code; None if absent."""
    code = error_object(response).get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def task_failure(words: str | None) -> Failure:
    """The failure of an accepted task."""
    fault = Fault.MODERATED if words and MODERATION_WORDS in words.lower() else Fault.UNKNOWN
    return failures.of_operation(fault, title="Kling", code=None, words=words)


def picture(uri: str) -> str:
    """A URL, or the bare base64 of a data URI: the vendor takes no `data:` prefix."""
    return uri.partition(",")[2] if uri.startswith("data:") else uri
