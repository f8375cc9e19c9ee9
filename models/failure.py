"""Failures as values: why an attempt or a job failed, and why a request was refused."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """The kinds of failure to which every provider's errors are mapped."""

    #: The request is invalid: the same input will fail again.
    REFUSED = "refused"
    #: A safety system rejected the input or the output.
    MODERATED = "moderated"
    #: The account is out of balance, plan or daily quota; an operator must act.
    QUOTA = "quota"
    #: Too many requests or parallel jobs; a retry may succeed.
    RATE = "rate"
    #: The provider is unavailable or failing; a retry may succeed.
    TRANSIENT = "transient"
    #: Credentials are invalid or lack a permission; an operator must act.
    AUTH = "auth"
    #: The requested thing does not exist, or no longer does.
    GONE = "gone"
    #: The response is unreadable or undocumented.
    UNKNOWN = "unknown"

    @property
    def may_be_tried_again(self) -> bool:
        return self in {Fault.RATE, Fault.TRANSIENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure, described for callers: without secrets, signed URLs and full prompts."""

    fault: Fault
    #: Stable and machine-readable: `content_policy`, `submit_unknown`, `deadline_exceeded`, …
    code: str
    message: str
    #: The provider's Retry-After in seconds, if it sent one.
    retry_after: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Failure":
        """The inverse of `as_json`; ignores unknown fields and maps unknown faults to UNKNOWN."""
        fault = values.get("fault")
        return cls(
            fault=Fault(fault) if fault in list(Fault) else Fault.UNKNOWN,
            code=values.get("code") or "internal_error",
            message=values.get("message") or "",
            retry_after=values.get("retry_after"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a limit of submissions still allows."""

    limit: int
    remaining: int
    #: When more will be allowed; of a limit of unfinished jobs, when to ask again.
    resets_at: datetime


class RequestRefused(Exception):
    """A request was refused, and nothing was written.

    `type` is one of the public error types (`invalid_request`, `authentication_error`,
    `insufficient_balance`, `not_found`, `conflict`, `payload_too_large`, `idempotency_mismatch`,
    `rate_limited`, `model_unavailable`); the API maps it to an HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "invalid_request",  # noqa: A002 - the public field's own name
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.code = code or type
        self.param = param
        self.retry_after = retry_after
        #: The limit that refused it, of a `rate_limited`.
        self.allowance = allowance


def not_found(what: str = "Video generation job") -> RequestRefused:
    """The refusal for an unknown id, and for another tenant's: callers can't tell them apart."""
    return RequestRefused(f"{what} not found", type="not_found")


def job_deleted(job: str, at: datetime) -> RequestRefused:
    """The refusal for a job of the caller's own that was deleted."""
    msg = f"job {job} was deleted on {at:%Y-%m-%d}: nothing of its content is shown any longer"
    return RequestRefused(msg, type="not_found", code="job_deleted")
