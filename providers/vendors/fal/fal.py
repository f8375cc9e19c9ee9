"""fal's queue: https://fal.ai/docs/api-reference/inference-api, as in fal-client 1.0.3."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    LookUp,
    Phase,
    Provider,
    ProviderError,
    Update,
    Video,
)
from providers.body import error_object, without_none
from providers.vendors.fal import signature as fal_signature
from transport.base import Response
from transport.headers import retry_after

#: The SDK's timeout for a submission, in seconds; a POST may contain images.
SUBMIT_TIMEOUT: Final = 120.0

ALREADY_COMPLETED: Final = 400
FORBIDDEN: Final = 403
#: The lowest server-error status.
SERVER_ERROR: Final = 500

#: Pika 2.2: three endpoints of one app, selected by the request's images.
PIKA: Final = "fal-ai/pika/v2.2"

#: The only app in the shipped catalogue.
APP: Final = "fal-ai/pika"

#: An operation id is the path below the base URL: owner and app, without the model's endpoint, and
#: the request id.
_REQUEST_PATH: Final = re.compile(
    r"(?:(?:workflows|comfy)/)?[\w-][\w.-]*/[\w-][\w.-]*/requests/[\w-]+", re.ASCII
)
_REQUEST: Final = re.compile(r"[\w-]+", re.ASCII)
_PATH_SUFFIX: Final = re.compile(rf"/({_REQUEST_PATH.pattern})$", re.ASCII)

#: Every status in fal-client 1.0.3. COMPLETED means finished, successfully or not.
PHASES: Final[Mapping[str, Phase]] = {
    "IN_QUEUE": Phase.QUEUED,
    "IN_PROGRESS": Phase.RUNNING,
    "COMPLETED": Phase.SUCCEEDED,
}

#: Statuses of a result request that can report the model's failure; others are our own errors.
VERDICTS: Final = frozenset(range(400, 600)) - {401, 403, 408, 429}

#: The `error_type` of a cancelled request.
CANCELLED: Final = "client_cancelled"

#: The types of fal.ai/docs/documentation/model-apis/errors and /request-errors, by their retry
#: advice. Undocumented types are classified by HTTP status.
FAULTS: Final[Mapping[str, Fault]] = {
    "content_policy_violation": Fault.MODERATED,
    **dict.fromkeys(
        (
            *("internal_server_error", "generation_timeout", "internal_error"),
            *("downstream_service_error", "downstream_service_unavailable"),
            *("request_timeout", "startup_timeout", "client_disconnected"),
            *("runner_scheduling_failure", "runner_connection_timeout", "runner_disconnected"),
            *("runner_connection_refused", "runner_connection_error"),
            *("runner_incomplete_response", "runner_server_error"),
        ),
        Fault.TRANSIENT,
    ),
    **dict.fromkeys(
        (
            *("bad_request", "no_media_generated", "feature_not_supported", "one_of"),
            *("image_too_small", "image_too_large", "image_load_error", "face_detection_error"),
            *("file_download_error", "file_too_large", "unsupported_image_format"),
            *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
            *("multiple_of", "sequence_too_short", "sequence_too_long"),
        ),
        Fault.REFUSED,
    ),
}

#: Text in a 403 caused by a lack of credit (github.com/fal-ai/fal, issue 1112), not by the key.
OUT_OF_CREDIT: Final = "exhausted balance"


class Fal(Provider):
    """Any video model of fal's queue, including Pika; no progress; COMPLETED may mean failed."""

    name: ClassVar[str] = "fal"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("FAL_KEY",),)
    base_variable: ClassVar[str] = "FAL_BASE_URL"
    default_base: ClassVar[str] = "https://queue.fal.run"
    callback_secret: ClassVar[str | None] = "FAL_WEBHOOK_JWKS"  # noqa: S105 - a variable's name
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.CALLBACK,),
        sources={
            "cancel": "PUT /{owner}/{app}/requests/{id}/cancel; fal-client 1.0.3",
            "cancelled_costs": "unverified: the cost of cancelling a running request",
            "look_up": "the queue's API has no listing and no external id; fal-client 1.0.3",
            "poll_floor": "estimate: the SDK polls every 0.1 s, the vendor prefers webhooks",
            "refusals": "fal-client 1.0.3: 4xx are request errors; 5xx do not prove refusal",
            "result_lives": "unverified: depends on the account's retention settings",
            "reruns": (
                "fal.ai/docs, reliability: fal reruns a request up to 10 times on 503, 504 and a "
                "lost runner, under one request id, and bills no 5xx; so X-Fal-No-Retry is not "
                "sent: it would cost videos and save no money"
            ),
        },
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The key after the word Key; fal uses no Bearer scheme."""
        return {"authorization": f"Key {account.credentials['FAL_KEY']}"}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /{model's endpoint} with the model's input, which fal validates when it runs."""
        endpoint, given = _endpoint(ask), _input(ask)
        response = yield Call(
            method="POST",
            path=f"/{endpoint}",
            query={"fal_webhook": ask.callback_url} if ask.callback_url else {},
            json=without_none(given),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=_operation(response.json()))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET …/status, then the result once COMPLETED; 404 is omitted."""
        updates = {}
        for operation_id in operation_ids:
            update = yield from self._poll_one(_request_path(operation_id))
            if update is not None:
                updates[operation_id] = update
        return updates

    def cancel(self, operation_id: str) -> Flow[None]:
        """PUT …/cancel: 202; 400 if completed; 404 if unknown."""
        path = f"{_request_path(operation_id)}/cancel"
        yield Call(method="PUT", path=path, accept=frozenset({ALREADY_COMPLETED}))

    def explain(self, response: Response) -> Failure:
        """`{"detail": …}`: text from the platform, a list of typed errors from a model."""
        reported = _error_detail(response)
        what = f"fal answered HTTP {response.status}"
        return failures.failure(
            reported.fault,
            f"{what} ({failures.shown(reported.kind)})" if reported.kind else what,
            words=reported.words,
            retry_after=retry_after(response.headers),
        )

    def callback_operation(self, body: bytes) -> str | None:
        """A callback contains the request id, but not the app."""
        request_id = callbacks.identifier(body, "request_id")
        return request_id if request_id and _REQUEST.fullmatch(request_id) else None

    def operation_told(self, told: str, *, upstream: str) -> str:
        """The request's path, under the owner and app of its endpoint.

        As in fal-client 1.0.3, "workflows" and "comfy" precede the owner.
        """
        parts = upstream.split("/")
        app = "/".join(parts[: 3 if parts[0] in {"workflows", "comfy"} else 2])
        return f"{app}/requests/{told}"

    def callback_is_genuine(
        self, headers: Mapping[str, str], body: bytes, *, secret: str | None, now: float
    ) -> bool:
        """Verified with fal's public keys if configured, else by the unguessable URL."""
        return secret is None or fal_signature.is_signed(headers, body, jwks=secret, now=now)

    def _poll_one(self, place: str) -> Flow[Update | None]:
        """One request's state; None if it does not exist."""
        response = yield Call(
            method="GET",
            path=f"{place}/status",
            query={"logs": "false"},
            accept=frozenset({NOT_FOUND}),
        )
        if response.status == NOT_FOUND:
            return None
        status = response.json()
        phase = answers.phase(status, "status", among=PHASES)
        if not phase.is_final:
            return Update(phase=phase)
        words = answers.optional_text(status, "error")
        kind = answers.optional_text(status, "error_type")
        if words or kind:
            fault = FAULTS.get(kind, Fault.UNKNOWN) if kind else Fault.UNKNOWN
            return _failed_update(ErrorDetail(kind=kind, words=words, fault=fault))
        return (yield from self._result(place))

    def _result(self, place: str) -> Flow[Update | None]:
        """The model's output or its error: a completed request may have failed.

        Raises:
            ProviderError: the error is not the model's, so the result must be requested again.
        """
        response = yield Call(method="GET", path=place, accept=VERDICTS)
        if response.is_success:
            link = answers.link(answers.text(answers.record(response.json(), "video"), "url"))
            return Update(phase=Phase.SUCCEEDED, videos=(Video(url=link),))
        if response.status == NOT_FOUND:
            return None
        reported = _error_detail(response)
        if reported.kind is None and response.status >= SERVER_ERROR:
            raise ProviderError(self.explain(response), status=response.status)
        return _failed_update(reported)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """An error's type, message and classification."""

    kind: str | None
    words: str | None
    fault: Fault


def _endpoint(ask: Ask) -> str:
    """The endpoint for a request: Pika has one for each combination of images."""
    if ask.upstream != PIKA:
        return ask.upstream
    if ask.scene.image is None:
        return f"{PIKA}/text-to-video"
    return f"{PIKA}/pikaframes" if ask.scene.last_image else f"{PIKA}/image-to-video"


def _input(ask: Ask) -> dict[str, Any]:
    """The model's input; models outside the catalogue get the most common field names."""
    scene = ask.scene
    shared: dict[str, Any] = {
        "prompt": scene.prompt,
        "negative_prompt": scene.negative_prompt,
        "seed": scene.seed,
        "resolution": ask.resolution,
    }
    if ask.upstream != PIKA:
        return shared | _common(ask)
    if scene.image is None:
        return shared | {"aspect_ratio": ask.aspect_ratio, "duration": ask.duration_seconds}
    if scene.last_image is None:
        return shared | {"image_url": scene.image, "duration": ask.duration_seconds}
    return shared | {
        "image_urls": [scene.image, scene.last_image],
        "transitions": [{"duration": ask.duration_seconds}],
    }


def _common(ask: Ask) -> dict[str, Any]:
    scene = ask.scene
    return {
        "image_url": scene.image,
        "end_image_url": scene.last_image,
        "aspect_ratio": ask.aspect_ratio,
        "duration": ask.duration_seconds,
        "cfg_scale": scene.cfg_scale,
        "generate_audio": scene.audio,
    }


def _operation(answer: object) -> str:
    """The request's path, from the URL fal returns, as its documentation advises.

    Raises:
        Undocumented: the URL does not contain the request id.
    """
    request_id = answers.identifier(answer, "request_id")
    path = urlsplit(answers.link(answers.text(answer, "response_url"))).path
    place = _PATH_SUFFIX.search(path)
    if place is None or not path.endswith(f"/{request_id}"):
        msg = "'response_url' does not match 'request_id'"
        raise answers.Undocumented(msg)
    return place[1]


def _request_path(operation_id: str) -> str:
    """The path of a request; an id in another format cannot address another resource."""
    if _REQUEST_PATH.fullmatch(operation_id):
        return f"/{operation_id}"
    return f"/{APP}/requests/{answers.segment(operation_id)}"


def _failed_update(reported: ErrorDetail) -> Update:
    if reported.kind == CANCELLED:
        failure = failures.failure(Fault.GONE, "the request was cancelled at fal")
        return Update(phase=Phase.CANCELLED, failure=failure)
    failure = failures.of_operation(
        reported.fault, title="fal", code=reported.kind, words=reported.words
    )
    return Update(phase=Phase.FAILED, failure=failure)


def _error_detail(response: Response) -> ErrorDetail:
    """An error response: a model's list of typed errors, or the platform's text and type."""
    body = error_object(response)
    detail = body.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else {}
    error = first if isinstance(first, dict) else {}
    kind = _text(error.get("type")) or _text(body.get("error_type"))
    kind = kind or response.headers.get("x-fal-error-type")
    words = _text(error.get("msg")) or _text(detail)
    return ErrorDetail(kind=kind, words=words, fault=_fault(response, kind=kind, words=words))


def _fault(response: Response, *, kind: str | None, words: str | None) -> Fault:
    fault = FAULTS.get(kind) if kind else None
    fault = fault or failures.by_status(response.status)
    if response.status == FORBIDDEN and words and OUT_OF_CREDIT in words.lower():
        return Fault.QUOTA
    if fault is Fault.TRANSIENT and response.headers.get("x-fal-retryable") == "false":
        return Fault.REFUSED  # per fal, an identical request would fail again
    return fault


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
