"""What can go wrong, as one tree; errors are made here of answers and of httpx's own.

LongtakeError
├── APIError             the API refused: `status`, `type`, `code`, `param`, `request_id`
│   ├── InvalidRequest   400, 413, 422; `errors` are the invalid lines of a batch
│   ├── Unauthorized     401, 403
│   ├── PaymentRequired  402
│   ├── NotFound         404
│   ├── Conflict         409
│   ├── RateLimited      429; `retry_after`
│   └── Unavailable      502, 503, 504; `retry_after`
├── ConnectionFailed     no answer, or only a part of one
│   ├── ConnectTimeout   no connection within `connect_timeout`
│   └── ReadTimeout      nothing more came within `read_timeout`
├── UnreadableAnswer     an answer that is not what the API promises
├── WaitTimeout          not final within `timeout`; `last` is what was seen last
├── JobFailed            raised by `generate`; `job`
├── JobCancelled         raised by `generate`; `job`
├── NoVideo              the job has no stored video to download
├── DownloadCorrupt      the bytes are not those of the output's `sha256`
└── WebhookVerificationError
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from longtake.results import LineError

if TYPE_CHECKING:
    from longtake.results import Batch, Job


class LongtakeError(Exception):
    """Everything that this package raises for what it met at run time."""

    #: The job that `generate` had submitted when it raised this.
    job_id: str | None = None

    def __reduce__(self) -> Any:
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(
    kind: type[LongtakeError], args: tuple[Any, ...], attributes: Mapping[str, Any]
) -> LongtakeError:
    """An error as it was in another process, whatever its class takes to be made."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class APIError(LongtakeError):
    """The API answered with an error; the attributes are those of its `error` object."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        detail: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`detail` is the `error` object; `retry_after` is in seconds."""
        super().__init__(message)
        detail = detail or {}
        self.message = message
        self.status = status
        self.type = _text(detail.get("type"))
        self.code = _text(detail.get("code"))
        self.param = _text(detail.get("param"))
        self.request_id = _text(detail.get("request_id"))
        #: The invalid lines of a batch, at most 1000 of `error_count`.
        self.errors = _lines(detail.get("errors"))
        count = detail.get("error_count")
        self.error_count = count if isinstance(count, int) else len(self.errors)
        self.retry_after = retry_after

    def __str__(self) -> str:
        about = [str(self.status), self.code or self.type, self.request_id]
        return f"{self.message} ({', '.join(each for each in about if each)})"


class InvalidRequest(APIError):
    pass


class Unauthorized(APIError):
    pass


class PaymentRequired(APIError):
    pass


class NotFound(APIError):
    pass


class Conflict(APIError):
    pass


class RateLimited(APIError):
    pass


class Unavailable(APIError):
    pass


class ConnectionFailed(LongtakeError):
    """No answer came, or only a part of one."""


class ConnectTimeout(ConnectionFailed):
    pass


class ReadTimeout(ConnectionFailed):
    pass


class UnreadableAnswer(LongtakeError):
    """The answer is not what the API promises: another server may listen at the address."""


class WaitTimeout(LongtakeError):
    """The job or batch was not final in time; it goes on, and `last` is what was seen last."""

    def __init__(self, message: str, *, last: "Job | Batch | None") -> None:
        super().__init__(message)
        self.last = last


class JobFailed(LongtakeError):
    """The job ended without a video."""

    def __init__(self, job: "Job") -> None:
        reason = job.error
        told = f": {reason.message} ({reason.code})" if reason else ""
        super().__init__(f"job {job.id} failed{told}")
        self.job = job


class JobCancelled(LongtakeError):
    """The job was cancelled."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"job {job.id} was cancelled")
        self.job = job


class NoVideo(LongtakeError):
    """The job has no stored video, or none at the index that was asked for."""


class DownloadCorrupt(LongtakeError):
    """What was downloaded has another SHA-256 than the output; nothing was left in its place."""


class WebhookVerificationError(LongtakeError):
    """The request is not a webhook of ours, or not a fresh one; the message never has a secret."""


_BY_STATUS: Mapping[int, type[APIError]] = {
    HTTPStatus.BAD_REQUEST: InvalidRequest,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidRequest,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.PAYMENT_REQUIRED: PaymentRequired,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
    HTTPStatus.BAD_GATEWAY: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: Unavailable,
}


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> APIError:
    """The error that an answer tells; a proxy's page has no `type` and no `code`."""
    detail = _detail(content)
    message = _text(detail.get("message")) or f"the server answered with status {status}"
    if HTTPStatus(300) <= status < HTTPStatus.BAD_REQUEST:
        message = f"the server answered with a redirect ({status}): check base_url"
    kind = _BY_STATUS.get(status, APIError)
    wait = _seconds(headers.get("retry-after"))
    return kind(message, status=status, detail=detail, retry_after=wait)


def _detail(content: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    detail = answer.get("error") if isinstance(answer, dict) else None
    return detail if isinstance(detail, dict) else {}


def _lines(errors: object) -> tuple[LineError, ...]:
    listed = errors if isinstance(errors, list) else []
    return tuple(LineError.of(each) for each in listed if isinstance(each, dict))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After, which is a number of seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


@contextmanager
def translated() -> Iterator[None]:
    """Raise httpx's errors as ours; their messages never have a header's value."""
    try:
        yield
    except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ConnectTimeout("no connection to the API in time") from error
    except httpx.TimeoutException as error:
        raise ReadTimeout("the API did not go on in time") from error
    except httpx.LocalProtocolError:  # which quotes the header, and is the same at every try
        raise LongtakeError("the request has a header or a length that HTTP can't carry") from None
    except httpx.TransportError as error:
        raise ConnectionFailed(f"no answer from the API: {error}") from error
    except httpx.DecodingError as error:
        raise UnreadableAnswer(f"the API's answer can't be decoded: {error}") from error


@contextmanager
def submitted(job: "Job") -> Iterator[None]:
    """Tell by what is raised which job there is: without its id it would be lost."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"The job {job.id} was submitted.")
        if isinstance(error, LongtakeError):
            error.job_id = job.id
        raise
