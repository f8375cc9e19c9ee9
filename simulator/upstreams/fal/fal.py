"""fal's queue with Pika 2.2: submitting, polling, cancelling; results separate from statuses.

Source: fal.ai/docs (inference API, errors, webhooks) and fal-client 1.0.3. As at fal, any JSON
object is queued, and invalid input fails only when it runs. How a cancelled request is reported is
undocumented: here a queued one is deleted, a running one has `client_cancelled`.
"""

import base64
import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar, Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.callbacks import CallbackPolicy
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import (
    Endpoint,
    Handler,
    Refusal,
    Upstream,
    moderated,
    origin_of,
    read_object,
    reply,
)
from simulator.video import Clip
from simulator.world import World

#: Owner and app, the only parts of the model in a request's path.
APP: Final = "fal-ai/pika"
#: An operation id is the whole path, since fal cannot look up a request id alone.
_PLACE: Final = f"{APP}/requests"
#: Default seconds of a transition between frames, and the maximum in total.
TRANSITION: Final = 5
LONGEST: Final = 25
#: Allowed number of frames in Pikaframes.
FRAMES: Final = range(2, 6)

_KEY = re.compile(r"Key [^\s:]+:\S+")
_ACCEPTED: Final = 202

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "IN_QUEUE",
    Phase.QUEUED: "IN_QUEUE",
    Phase.RUNNING: "IN_PROGRESS",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD,
    Phase.SUCCEEDED: "COMPLETED",
    Phase.FAILED: "COMPLETED",
    Phase.CANCELLED: "COMPLETED",
}

_RATIOS: Final = ("16:9", "9:16", "1:1", "4:5", "5:4", "3:2", "2:3")
_SHORT_SIDES: Final = {"720p": 720, "1080p": 1080}
_SECONDS: Final = (5, 10)

_SHARED: Final = frozenset(("prompt", "negative_prompt", "seed", "resolution"))
#: Input fields by endpoint.
_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "text-to-video": _SHARED | {"aspect_ratio", "duration"},
    "image-to-video": _SHARED | {"image_url", "duration"},
    "pikaframes": _SHARED | {"image_urls", "transitions"},
}
#: Required input fields by endpoint.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "text-to-video": ("prompt",),
    "image-to-video": ("prompt", "image_url"),
    "pikaframes": ("image_urls",),
}


class Fal(Upstream):
    """Requests beyond the account's concurrency limit wait in the queue."""

    name: ClassVar[str] = "fal"
    prefix: ClassVar[str] = "/fal"
    #: "At least seven days" is what users observe; officially it depends on the account.
    link_lifetime: ClassVar[timedelta] = timedelta(days=7)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._key = Ed25519PrivateKey.generate()

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "FAL_BASE_URL": origin + self.prefix,
            "FAL_KEY": "simulator:" + "0" * 32,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        submits = (
            Endpoint("POST", f"/{APP}/v2.2/{endpoint}", self._submit(endpoint), Step.SUBMIT)
            for endpoint in _MEMBERS
        )
        place = f"/{{id:{_PLACE}/[^/]+}}"
        return (
            *submits,
            Endpoint("GET", f"{place}/status", self.status, Step.POLL),
            Endpoint("GET", place, self.result, Step.POLL),
            Endpoint("PUT", f"{place}/cancel", self.cancel, Step.CANCEL),
            Endpoint("GET", "/.well-known/jwks.json", self.keys, None, public=True),
            Endpoint("GET", "/download/{id:.+}", self.download, Step.DOWNLOAD, public=True),
        )

    def authorize(self, request: web.Request) -> None:
        if not _KEY.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Cannot access application: authentication is required.")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        headers = {"X-Fal-Request-Id": str(uuid.uuid4()), **refusal.headers}
        return reply({"detail": refusal.message}, status=refusal.status, headers=headers)

    def _submit(self, endpoint: str) -> Handler:
        async def submit(request: web.Request) -> web.Response:
            body = await read_object(request)
            taken = self.accept(request, self._order(body, endpoint))
            place = partial(self._place, origin_of(request), taken)
            if url := request.query.get("fal_webhook"):
                render = partial(self._callback, origin_of(request), taken)
                self.world.callbacks.follow(
                    taken, url=url, policy=self._callback_policy(taken), render=render
                )
            return reply({"status": "IN_QUEUE", **place(), "queue_position": 0})

        return submit

    def _order(self, body: dict[str, object], endpoint: str) -> Order:
        has_errors = next(_input_errors(body, endpoint), None) is not None
        seed = body.get("seed")
        return Order(
            provider=self.name,
            operation_id=f"{_PLACE}/{uuid.uuid4()}",
            model=endpoint,
            prompt=str(body.get("prompt") or ""),
            seed=seed if isinstance(seed, int) else None,
            clip=_clip({} if has_errors else body),
            lane="account",
            limit=self.world.options.concurrency,
            body=body,
        )

    async def status(self, request: web.Request) -> web.Response:
        """202 until COMPLETED; the SDK requires `logs`."""
        operation = self._known(request)
        phase = self.phase(operation)
        shown = {"status": _WORDS[phase], **self._place(origin_of(request), operation)}
        if phase in (Phase.HELD, Phase.QUEUED):
            shown["queue_position"] = int(phase is Phase.HELD)
        else:
            shown["logs"] = [] if request.query.get("logs") in ("1", "true") else None
        if not phase.is_final:
            return reply(shown, status=_ACCEPTED)
        return reply(
            shown | {"metrics": {"inference_time": operation.pace.run}} | _ending(operation, phase)
        )

    async def result(self, request: web.Request) -> web.Response:
        """The model's output or error, whatever the status says."""
        operation = self._known(request)
        phase = self.phase(operation)
        if not phase.is_final:
            raise Refusal(400, "Request is still in progress")
        status, body = self._outcome(origin_of(request), operation, phase)
        headers = {} if status < 400 else {"X-Fal-Retryable": str(status >= 500).lower()}  # noqa: PLR2004 - the classes of HTTP
        return reply(body, status=status, headers=headers)

    def _outcome(
        self, origin: str, operation: Operation, phase: Phase
    ) -> tuple[int, dict[str, object]]:
        wrong = list(_input_errors(operation.order.body, operation.order.model))
        if phase is Phase.CANCELLED:
            return 499, {"detail": "Request was cancelled", "error_type": "client_cancelled"}
        if wrong:
            return 422, {"detail": wrong}
        if phase is Phase.FAILED and moderated(operation):
            return 422, {"detail": [_MODERATED]}
        if phase is Phase.FAILED:
            return 500, {"detail": [_BROKEN]}
        link = self.link_from(origin, operation)
        file = {"url": link, "content_type": "video/mp4", "file_name": "output.mp4"}
        return 200, {"video": {**file, "file_size": None}}

    async def cancel(self, request: web.Request) -> web.Response:
        operation = self.world.operations.find(self.name, self.operation_id(request))
        if operation is None:
            return reply({"status": "NOT_FOUND"}, status=404)
        phase = self.phase(operation)
        if phase.is_final:
            return reply({"status": "ALREADY_COMPLETED"}, status=400)
        self.world.operations.cancel(operation)
        operation.deleted = phase in (Phase.HELD, Phase.QUEUED)
        return reply({"status": "CANCELLATION_REQUESTED"}, status=_ACCEPTED)

    async def keys(self, _request: web.Request) -> web.Response:
        """The public key for callback signatures, as a JSON Web Key Set."""
        public = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw())
        key = {"kty": "OKP", "crv": "Ed25519", "x": public.decode().rstrip("=")}
        return reply({"keys": [key]})

    def _known(self, request: web.Request) -> Operation:
        operation = self.world.operations.poll(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "Request not found")
        return operation

    def _place(self, origin: str, operation: Operation) -> dict[str, object]:
        url = f"{origin}{self.prefix}/{operation.id}"
        return {
            **_ids(operation),
            "response_url": url,
            "status_url": f"{url}/status",
            "cancel_url": f"{url}/cancel",
        }

    def _callback_policy(self, operation: Operation) -> CallbackPolicy:
        """Sent when done, signed, retried until a 2xx: at fal ten times over two hours."""
        return CallbackPolicy(
            phases=frozenset((Phase.SUCCEEDED, Phase.FAILED)),
            retries=10,
            timeout=15.0,
            sign=partial(self._signature, _ids(operation)["request_id"]),
        )

    def _callback(self, origin: str, operation: Operation) -> dict[str, object]:
        status, body = self._outcome(origin, operation, self.phase(operation))
        if status == 200:  # noqa: PLR2004 - the one status of success
            return {**_ids(operation), "status": "OK", "payload": body}
        return {
            **_ids(operation),
            "status": "ERROR",
            "error": f"Invalid status code: {status}",
            "payload": body,
        }

    def _signature(self, request_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self.world.wall_clock()))
        digest = hashlib.sha256(body).hexdigest()
        signed = f"{request_id}\nsimulator\n{timestamp}\n{digest}".encode()
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": "simulator",
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self._key.sign(signed).hex(),
        }


def _ids(operation: Operation) -> dict[str, str]:
    request_id = operation.id.rpartition("/")[2]
    return {"request_id": request_id, "gateway_request_id": request_id}


def _ending(operation: Operation, phase: Phase) -> dict[str, object]:
    """Failure fields of a COMPLETED status; the model's input errors are not among them."""
    if phase is Phase.CANCELLED:
        return {"error": "Request was cancelled", "error_type": "client_cancelled"}
    if phase is Phase.FAILED and not moderated(operation):
        return {"error": "Internal server error", "error_type": "runner_server_error"}
    return {}


def _error(kind: str, message: str, *place: str | int) -> dict[str, object]:
    url = f"https://docs.fal.ai/errors/#{kind}"
    return {"loc": ["body", *place], "msg": message, "type": kind, "url": url}


_MODERATED: Final = _error(
    "content_policy_violation",
    "The content could not be processed because a content checker flagged it.",
    "prompt",
)
_BROKEN: Final = _error("internal_server_error", "Internal server error")


def _input_errors(body: Mapping[str, object], endpoint: str) -> Iterator[dict[str, object]]:
    """Input errors, found when the model runs; unknown fields are ignored."""
    for name in _REQUIRED[endpoint]:
        if not body.get(name):
            yield _error("missing", "Field required", name)
    for name in ("prompt", "negative_prompt", "image_url"):
        if not isinstance(body.get(name, ""), str):
            yield _error("string_type", "Input should be a valid string", name)
    members = _MEMBERS[endpoint]
    for name, allowed in (
        ("aspect_ratio", _RATIOS),
        ("resolution", tuple(_SHORT_SIDES)),
        ("duration", _SECONDS),
    ):
        if name in members and body.get(name, allowed[0]) not in allowed:
            choices = ", ".join(map(str, allowed))
            yield _error("one_of", f"Input should be one of {choices}", name)
    if "image_urls" in members:
        yield from _frames(body)


def _frames(body: Mapping[str, object]) -> Iterator[dict[str, object]]:
    urls, transitions = body.get("image_urls"), body.get("transitions")
    if not isinstance(urls, list) or len(urls) not in FRAMES:
        yield _error("sequence_too_short", "Sequence should have 2 to 5 items", "image_urls")
        return
    if transitions is None:
        return
    if not isinstance(transitions, list) or len(transitions) != len(urls) - 1:
        message = "Sequence should have one item fewer than image_urls"
        yield _error("sequence_too_short", message, "transitions")
    elif not 0 < _length(transitions) <= LONGEST:
        yield _error("less_than_equal", f"At most {LONGEST} seconds in all", "transitions")


def _length(transitions: Sequence[object]) -> int:
    """Total seconds of all transitions; -1 if one has no length."""
    lengths = [
        each.get("duration", TRANSITION) if isinstance(each, dict) else None for each in transitions
    ]
    whole = [length for length in lengths if isinstance(length, int) and length > 0]
    return sum(whole) if len(whole) == len(lengths) else -1


def _clip(body: Mapping[str, object]) -> Clip:
    """The clip for a valid input; a first frame's aspect ratio is ignored."""
    seconds = body.get("duration", TRANSITION)
    urls, transitions = body.get("image_urls"), body.get("transitions")
    if isinstance(transitions, list):
        seconds = _length(transitions)
    elif isinstance(urls, list):
        seconds = TRANSITION * (len(urls) - 1)
    return Clip.shaped(
        str(body.get("aspect_ratio") or "16:9"),
        short_side=_SHORT_SIDES[str(body.get("resolution") or "720p")],
        seconds=seconds if isinstance(seconds, int) else TRANSITION,
    )
