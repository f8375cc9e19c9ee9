"""What can go wrong, as values: why an attempt or a job failed, and why a request is refused."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """The one tree into which every vendor's errors are mapped."""

    #: The request is wrong; the same input will fail again.
    REFUSED = "refused"
    #: A safety system rejected the input or the output.
    MODERATED = "moderated"
    #: The account has no money, plan or daily quota left; an operator must act.
    QUOTA = "quota"
    #: Too many requests or parallel jobs for the moment; later is fine.
    RATE = "rate"
    #: The provider has trouble; later is fine.
    TRANSIENT = "transient"
    #: Credentials are wrong or lack a right; an operator must act.
    AUTH = "auth"
    #: The thing asked for is not there (any more).
    GONE = "gone"
    #: The answer can't be read, or says something nobody documented.
    UNKNOWN = "unknown"

    @property
    def may_be_tried_again(self) -> bool:
        return self in {Fault.RATE, Fault.TRANSIENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure in words for a caller: no secret, no signed URL, no full prompt."""

    fault: Fault
    #: Stable and machine-readable: `content_policy`, `submit_unknown`, `deadline_exceeded`, …
    code: str
    message: str
    #: Seconds the provider asked us to wait, if it did.
    retry_after: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Failure":
        """The failure again; a newer version's fields are passed over, and its faults unknown."""
        fault = values.get("fault")
        return cls(
            fault=Fault(fault) if fault in list(Fault) else Fault.UNKNOWN,
            code=values.get("code") or "internal_error",
            message=values.get("message") or "",
            retry_after=values.get("retry_after"),
        )


class RequestRefused(Exception):
    """A caller's request can't be accepted, and no row was written.

    `type` is one of the public error types (`invalid_request`, `authentication_error`,
    `insufficient_balance`, `not_found`, `conflict`, `payload_too_large`, `idempotency_mismatch`,
    `rate_limited`, `model_unavailable`); the HTTP edge maps it to a status.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "invalid_request",  # noqa: A002 - the public field's own name
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.code = code or type
        self.param = param
        self.retry_after = retry_after


def not_found(what: str = "Video generation job") -> RequestRefused:
    """Not found, or another tenant's: callers cannot distinguish them."""
    return RequestRefused(f"{what} not found", type="not_found")
