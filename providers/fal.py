"""fal's queue: https://fal.ai/docs/api-reference/inference-api, as fal-client 1.0.3 speaks it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from models.failure import Failure, Fault
from providers import answers, callbacks, failures, fal_signature
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
from transport.base import Response
from transport.headers import retry_after

#: What the SDK allows a submission, in seconds; a POST may carry pictures.
SUBMIT_TIMEOUT: Final = 120.0

ALREADY_COMPLETED: Final = 400
FORBIDDEN: Final = 403
#: The first status that is the server's own trouble.
SERVER_TROUBLE: Final = 500

#: Pika 2.2: three endpoints of one app, told apart by the pictures of the request.
PIKA: Final = "fal-ai/pika/v2.2"

#: The one app of the shipped catalogue.
APP: Final = "fal-ai/pika"

#: An operation's id is where it lives below the base address: owner and app, without the model's
#: own endpoint, and the request's id.
_PLACE: Final = re.compile(
    r"(?:(?:workflows|comfy)/)?[\w-][\w.-]*/[\w-][\w.-]*/requests/[\w-]+", re.ASCII
)
_REQUEST: Final = re.compile(r"[\w-]+", re.ASCII)
_PLACE_AT_END: Final = re.compile(rf"/({_PLACE.pattern})$", re.ASCII)

#: Every status that fal-client 1.0.3 knows. COMPLETED means finished, whether well or badly.
PHASES: Final[Mapping[str, Phase]] = {
    "IN_QUEUE": Phase.QUEUED,
    "IN_PROGRESS": Phase.RUNNING,
    "COMPLETED": Phase.SUCCEEDED,
}

#: Answers to a request for a result that may be the model's verdict; the rest concern us alone.
VERDICTS: Final = frozenset(range(400, 600)) - {401, 403, 408, 429}

#: The `error_type` of a request that somebody cancelled.
CANCELLED: Final = "client_cancelled"

#: The types of fal.ai/docs/documentation/model-apis/errors and /request-errors, by what is said of
#: trying again. A type that they don't have is judged by its HTTP status.
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

#: What a 403 says that money cures (github.com/fal-ai/fal, issue 1112); others concern the key.
NO_MONEY: Final = "exhausted balance"


class Fal(Provider):
    """Any video model of fal's queue, Pika among them: no progress, finished is not succeeded."""

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
            "cancelled_costs": "unverified: no document says what cancelling a running one costs",
            "look_up": "the queue's API has no listing and no external id; fal-client 1.0.3",
            "poll_floor": "estimate: the SDK asks every 0.1 s, the vendor prefers webhooks",
            "refusals": "fal-client 1.0.3: 4xx are errors of the request; 5xx say nothing",
            "result_lives": "unverified: depends on the account's retention settings",
            "reruns": (
                "fal.ai/docs, reliability: fal reruns a request up to 10 times on 503, 504 and a "
                "lost runner, under one request id, and bills no 5xx; so X-Fal-No-Retry is not "
                "sent: it would cost videos and save no money"
            ),
        },
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The key, after the word Key: fal takes no bearer."""
        return {"authorization": f"Key {account.credentials['FAL_KEY']}"}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /{model's endpoint} with the model's input as it is; checked only when it runs."""
        endpoint, given = _endpoint(ask), _input(ask)
        response = yield Call(
            method="POST",
            path=f"/{endpoint}",
            query={"fal_webhook": ask.callback_url} if ask.callback_url else {},
            json={field: value for field, value in given.items() if value is not None},
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=_operation(response.json()))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET …/status, and the result itself once it is COMPLETED; 404 is missing."""
        updates = {}
        for operation_id in operation_ids:
            update = yield from self._look(_place(operation_id))
            if update is not None:
                updates[operation_id] = update
        return updates

    def cancel(self, operation_id: str) -> Flow[None]:
        """PUT …/cancel: 202, 400 for a request that is completed, 404 for an unknown one."""
        path = f"{_place(operation_id)}/cancel"
        yield Call(method="PUT", path=path, accept=frozenset({ALREADY_COMPLETED, NOT_FOUND}))

    def explain(self, response: Response) -> Failure:
        """`{"detail": …}`, in words from the platform, as a list of typed errors from a model."""
        complaint = _complaint(response)
        what = f"fal answered HTTP {response.status}"
        return failures.failure(
            complaint.fault,
            f"{what} ({failures.shown(complaint.kind)})" if complaint.kind else what,
            words=complaint.words,
            retry_after=retry_after(response.headers),
        )

    def callback_operation(self, body: bytes) -> str | None:
        """A callback has the request's id, and not the app that it is of."""
        told = callbacks.identifier(body, "request_id")
        return told if told and _REQUEST.fullmatch(told) else None

    def operation_told(self, told: str, *, upstream: str) -> str:
        """Where the request lives: below the owner and the app that its endpoint begins with.

        As fal-client 1.0.3 reads an endpoint: "workflows" and "comfy" stand before the owner.
        """
        parts = upstream.split("/")
        app = "/".join(parts[: 3 if parts[0] in {"workflows", "comfy"} else 2])
        return f"{app}/requests/{told}"

    def callback_is_genuine(
        self, headers: Mapping[str, str], body: bytes, *, secret: str | None, now: float
    ) -> bool:
        """By fal's public keys where the operator gives them, else by the unguessable address."""
        return secret is None or fal_signature.is_signed(headers, body, jwks=secret, now=now)

    def _look(self, place: str) -> Flow[Update | None]:
        """One request's state; None where there is no such request."""
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
            return _ended_badly(Complaint(kind=kind, words=words, fault=fault))
        return (yield from self._result(place))

    def _result(self, place: str) -> Flow[Update | None]:
        """The model's output, or its own error: what looks finished may have failed.

        Raises:
            ProviderError: the answer is nobody's verdict, so the result has to be asked for again.
        """
        response = yield Call(method="GET", path=place, accept=VERDICTS)
        if response.is_success:
            link = answers.link(answers.text(answers.record(response.json(), "video"), "url"))
            return Update(phase=Phase.SUCCEEDED, videos=(Video(url=link),))
        if response.status == NOT_FOUND:
            return None
        complaint = _complaint(response)
        if complaint.kind is None and response.status >= SERVER_TROUBLE:
            raise ProviderError(self.explain(response), status=response.status)
        return _ended_badly(complaint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What an error says: its type where it has one, its words, and what that means to us."""

    kind: str | None
    words: str | None
    fault: Fault


def _endpoint(ask: Ask) -> str:
    """The endpoint that makes it: Pika has one for each kind of beginning."""
    if ask.upstream != PIKA:
        return ask.upstream
    if ask.image is None:
        return f"{PIKA}/text-to-video"
    return f"{PIKA}/pikaframes" if ask.last_image else f"{PIKA}/image-to-video"


def _input(ask: Ask) -> dict[str, Any]:
    """The model's input; a model that the catalogue doesn't ship gets the names that most share."""
    shared: dict[str, Any] = {
        "prompt": ask.prompt,
        "negative_prompt": ask.negative_prompt,
        "seed": ask.seed,
        "resolution": ask.resolution,
    }
    if ask.upstream != PIKA:
        return shared | _common(ask)
    if ask.image is None:
        return shared | {"aspect_ratio": ask.aspect_ratio, "duration": ask.duration_seconds}
    if ask.last_image is None:
        return shared | {"image_url": ask.image, "duration": ask.duration_seconds}
    return shared | {
        "image_urls": [ask.image, ask.last_image],
        "transitions": [{"duration": ask.duration_seconds}],
    }


def _common(ask: Ask) -> dict[str, Any]:
    return {
        "image_url": ask.image,
        "end_image_url": ask.last_image,
        "aspect_ratio": ask.aspect_ratio,
        "duration": ask.duration_seconds,
        "cfg_scale": ask.cfg_scale,
        "generate_audio": ask.audio,
    }


def _operation(answer: object) -> str:
    """Where the request lives, out of the address that fal gives, as its documents ask.

    Raises:
        Undocumented: the address is not that of the request's id.
    """
    request_id = answers.identifier(answer, "request_id")
    path = urlsplit(answers.link(answers.text(answer, "response_url"))).path
    place = _PLACE_AT_END.search(path)
    if place is None or not path.endswith(f"/{request_id}"):
        msg = "its 'response_url' is not the place of its request id"
        raise answers.Undocumented(msg)
    return place[1]


def _place(operation_id: str) -> str:
    """The path of a request; an id that is not one of ours can't reach another resource."""
    if _PLACE.fullmatch(operation_id):
        return f"/{operation_id}"
    return f"/{APP}/requests/{answers.segment(operation_id)}"


def _ended_badly(complaint: Complaint) -> Update:
    if complaint.kind == CANCELLED:
        failure = failures.failure(Fault.GONE, "the request was cancelled at fal")
        return Update(phase=Phase.CANCELLED, failure=failure)
    failure = failures.of_operation(
        complaint.fault, title="fal", code=complaint.kind, words=complaint.words
    )
    return Update(phase=Phase.FAILED, failure=failure)


def _complaint(response: Response) -> Complaint:
    """An error answer: a model's list of typed errors, or the platform's text and `error_type`."""
    body = _body(response)
    detail = body.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else {}
    error = first if isinstance(first, dict) else {}
    kind = _text(error.get("type")) or _text(body.get("error_type"))
    kind = kind or response.headers.get("x-fal-error-type")
    words = _text(error.get("msg")) or _text(detail)
    return Complaint(kind=kind, words=words, fault=_fault(response, kind=kind, words=words))


def _fault(response: Response, *, kind: str | None, words: str | None) -> Fault:
    fault = FAULTS.get(kind) if kind else None
    fault = fault or failures.by_status(response.status)
    if response.status == FORBIDDEN and words and NO_MONEY in words.lower():
        return Fault.QUOTA
    if fault is Fault.TRANSIENT and response.headers.get("x-fal-retryable") == "false":
        return Fault.REFUSED  # fal says that the same request would fail again
    return fault


def _body(response: Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content[: 2**16])
    except (ValueError, RecursionError):
        return {}  # a proxy's page says nothing that its status does not
    return body if isinstance(body, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
