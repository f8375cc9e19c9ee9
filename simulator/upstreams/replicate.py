"""Replicate's API: predictions of a few video models, with listing, cancel and callbacks.

Source: replicate.com/docs (HTTP reference, prediction lifecycle, webhooks) and replicate 1.0.7.
Deadlines (`Cancel-After`, and therefore the status `aborted`) are not simulated.
"""

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar, Final

from aiohttp import web

from simulator.callbacks import CallbackPolicy
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, origin_of, read_object, reply
from simulator.upstreams.replicate_models import MODELS, clip_of, complaints
from simulator.world import World

#: Page size of the listing.
PAGE: Final = 100
#: Seconds after which a prediction's files, input and output are deleted.
KEPT: Final = 3600.0

_TOKEN = re.compile(r"(?:Bearer|Token) r8_\w+")
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "starting",
    Phase.QUEUED: "starting",
    Phase.RUNNING: "processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "canceled",
}

#: Phases by callback event; logs and partial outputs are not simulated.
_EVENTS: Final[Mapping[str, frozenset[Phase]]] = {
    "start": frozenset((Phase.RUNNING,)),
    "output": frozenset(),
    "logs": frozenset(),
    "completed": frozenset((Phase.SUCCEEDED, Phase.FAILED)),
}


class Replicate(Upstream):
    """No concurrency limit; results are deleted after an hour."""

    name: ClassVar[str] = "replicate"
    prefix: ClassVar[str] = "/replicate"
    link_lifetime: ClassVar[timedelta] = timedelta(seconds=KEPT)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._secret = secrets.token_bytes(24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "REPLICATE_BASE_URL": origin + self.prefix,
            "REPLICATE_API_TOKEN": "r8_" + "0" * 37,
            "REPLICATE_WEBHOOK_SECRET": self._secret_text(),
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/models/{owner}/{model}/predictions", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/predictions/{id}", self.poll, Step.POLL),
            Endpoint("GET", "/v1/predictions", self.list, Step.POLL),
            Endpoint("POST", "/v1/predictions/{id}/cancel", self.cancel, Step.CANCEL),
            Endpoint("GET", "/v1/webhooks/default/secret", self.secret, None),
            self.download_endpoint(),
        )

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return str(_input(await read_object(request)).get("prompt") or "")
        except Refusal:
            return ""

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "You did not pass a valid authentication token")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        """A problem document (RFC 7807); invalid input lists its fields."""
        body: dict[str, object] = {"detail": refusal.message, "status": refusal.status}
        if refusal.status in _TITLES:
            body["title"] = _TITLES[refusal.status]
        if refusal.issues:
            body["invalid_fields"] = refusal.issues
        return reply(body, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        name = f"{request.match_info['owner']}/{request.match_info['model']}"
        if name not in MODELS:
            raise Refusal(404, "The requested resource could not be found.")
        if issues := list(complaints(_input(body), MODELS[name])):
            lines = "".join(f"- {each['field']}: {each['description']}\n" for each in issues)
            raise Refusal(422, lines, issues=issues)
        phases = _callback_phases(body)
        taken = self.accept(request, self._order(body, name))
        shown = partial(self._prediction, origin_of(request), taken)
        if url := body.get("webhook"):
            policy = CallbackPolicy(phases=phases, retries=3, sign=self._signature)
            self.world.callbacks.follow(taken, url=str(url), policy=policy, render=shown)
        return reply(shown(), status=201)

    def _order(self, body: dict[str, object], name: str) -> Order:
        given = _input(body)
        seed = given.get("seed")
        return Order(
            provider=self.name,
            operation_id="".join(secrets.choice(_ALPHABET) for _ in range(26)),
            model=name,
            prompt=str(given["prompt"]),
            seed=seed if isinstance(seed, int) else None,
            clip=clip_of(given, MODELS[name]),
            lane=name,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        prediction = self.world.operations.poll(self.name, self.operation_id(request))
        if prediction is None:
            raise Refusal(404, "The requested resource could not be found.")
        return reply(self._prediction(origin_of(request), prediction))

    async def list(self, request: web.Request) -> web.Response:
        """A page, newest first; `cursor` is the offset."""
        cursor = request.query.get("cursor", "0")
        if not cursor.isdecimal():
            raise Refusal(400, "Invalid cursor")
        known = [
            one for one in reversed(list(self.world.operations)) if one.order.provider == self.name
        ]
        begin, end = int(cursor), int(cursor) + PAGE
        origin = origin_of(request)
        url = f"{origin}{self.prefix}/v1/predictions?cursor="
        return reply(
            {
                "previous": f"{url}{max(0, begin - PAGE)}" if begin else None,
                "next": f"{url}{end}" if end < len(known) else None,
                "results": [self._prediction(origin, one) for one in known[begin:end]],
            }
        )

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel if unfinished; a finished one is unchanged."""
        prediction = self.world.operations.find(self.name, self.operation_id(request))
        if prediction is None:
            raise Refusal(404, "The requested resource could not be found.")
        self.world.operations.cancel(prediction)
        return reply(self._prediction(origin_of(request), prediction))

    async def secret(self, _request: web.Request) -> web.Response:
        return reply({"key": self._secret_text()})

    def _prediction(self, origin: str, prediction: Operation) -> dict[str, object]:
        phase = self.phase(prediction)
        now = self.world.operations.now()
        is_removed = phase.is_final and now - prediction.finishes_at > KEPT
        url = f"{origin}{self.prefix}/v1/predictions/{prediction.id}"
        shown: dict[str, object] = {
            "id": prediction.id,
            "model": prediction.order.model,
            "version": "hidden",
            "input": {} if is_removed else _input(prediction.order.body),
            "output": None,
            "logs": "",
            "error": _reason(prediction) if phase is Phase.FAILED else None,
            "status": _WORDS[phase],
            "source": "api",
            "data_removed": is_removed,
            "created_at": prediction.created_at.isoformat(),
            "started_at": None,
            "completed_at": datetime.now(UTC).isoformat() if phase.is_final else None,
            "metrics": {"predict_time": prediction.pace.run} if phase.is_final else {},
            "urls": {"get": url, "cancel": f"{url}/cancel"},
        }
        if phase is Phase.SUCCEEDED and not is_removed:
            shown["output"] = self.link_from(origin, prediction)
        return shown

    def _secret_text(self) -> str:
        return f"whsec_{base64.b64encode(self._secret).decode()}"

    def _signature(self, body: bytes) -> dict[str, str]:
        """Standard Webhooks, version 1."""
        message_id, timestamp = f"msg_{uuid.uuid4().hex}", str(int(self.world.wall_clock()))
        signed = f"{message_id}.{timestamp}.".encode() + body
        digest = hmac.digest(self._secret, signed, hashlib.sha256)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


_TITLES: Final[Mapping[int, str]] = {
    401: "Unauthenticated",
    402: "Insufficient credit",
    422: "Input validation failed",
}


def _input(body: Mapping[str, object]) -> Mapping[str, object]:
    given = body.get("input")
    return given if isinstance(given, dict) else {}


def _callback_phases(body: Mapping[str, object]) -> frozenset[Phase]:
    """The phases to report; all without a filter."""
    events = body.get("webhook_events_filter", list(_EVENTS))
    if not isinstance(events, list) or any(event not in list(_EVENTS) for event in events):
        issue = {"field": "webhook_events_filter", "description": "Unknown event"}
        raise Refusal(422, "- webhook_events_filter: Unknown event\n", issues=[issue])
    return frozenset().union(*(_EVENTS[event] for event in events))


def _reason(prediction: Operation) -> str:
    if moderated(prediction):
        return (
            "The input or output was flagged as sensitive. "
            "Please try again with different inputs. (E005)"
        )
    return "Prediction failed."
