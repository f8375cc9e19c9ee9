"""Perf's video API: jobs of four models, with progress and cost.

Source: docs.withperf.pro/api-reference/video; error codes from perf-sdk 0.2.0.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.checks import is_whole
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, read_object, reply
from simulator.video import Clip

_TOKEN = re.compile(r"Bearer pk_(?:live|test)_\w+")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "pending",
    Phase.QUEUED: "pending",
    Phase.RUNNING: "processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "complete",
    Phase.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Model:
    """Maximum seconds, and the price per second in cents."""

    longest: int
    cents: float


MODELS: Final[Mapping[str, Model]] = {
    "veo-3": Model(60, 35.0),
    "runway-gen3": Model(16, 10.0),
    "luma-dream-machine": Model(10, 6.0),
    "pika": Model(4, 6.7),
}
_SHORT_SIDES: Final = {"720p": 720, "1080p": 1080}
_RATIOS: Final = ("16:9", "9:16", "1:1", "4:3")
_DEFAULTS: Final[Mapping[str, object]] = {
    "model": "runway-gen3",
    "duration_seconds": 4,
    "resolution": "1080p",
    "aspect_ratio": "16:9",
}

_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    401: ("authentication_error", "invalid_api_key"),
    404: ("not_found", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal_error"),
    502: ("server_error", "provider_error"),
    503: ("server_error", "service_unavailable"),
}


class Perf(Upstream):
    """Jobs beyond the account's tier are refused with 429."""

    name: ClassVar[str] = "perf"
    prefix: ClassVar[str] = "/perf"
    #: Undocumented.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "PERF_BASE_URL": origin + self.prefix,
            "PERF_API_KEY": "pk_test_simulator",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/video/generations", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/video/generations/{id}", self.poll, Step.POLL),
            self.download_endpoint(),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Invalid API key")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        kind, code = _TYPES.get(refusal.status, ("invalid_request", "invalid_request"))
        error = {"type": kind, "code": code, "message": refusal.message}
        return reply({"error": error}, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        given = await read_object(request)
        body = {**_DEFAULTS, **given}
        if complaint := next(_complaints(body), None):
            raise Refusal(400, complaint)
        self.check_cap(self.name, Refusal(429, "Concurrent job limit reached", retry_after=2))
        job = self.accept(request, self._order(body, given))
        shown = self._job(job) | {"estimated_cost_usd": _cost(job)}
        return reply(shown | {"perf": _perf(job) | {"latency_ms": 234}}, status=202)

    def _order(self, body: Mapping[str, object], given: dict[str, object]) -> Order:
        return Order(
            provider=self.name,
            operation_id=f"job_vid_{secrets.token_hex(6)}",
            model=str(body["model"]),
            prompt=str(body["prompt"]),
            clip=Clip.shaped(
                str(body["aspect_ratio"]),
                short_side=_SHORT_SIDES[str(body["resolution"])],
                seconds=int(str(body["duration_seconds"])),
            ),
            # One tier for the whole account.
            lane=self.name,
            body=given,
        )

    async def poll(self, request: web.Request) -> web.Response:
        job = self.world.operations.poll(self.name, self.operation_id(request))
        if job is None:
            raise Refusal(404, "Video generation job not found")
        shown = self._job(job)
        now = self.world.operations.now()
        match self.phase(job):
            case Phase.RUNNING:
                shown["progress_percent"] = int(job.progress(now) * 100)
                shown["estimated_remaining_seconds"] = int(min(job.finishes_at - now, 86_400))
            case Phase.SUCCEEDED:
                took = {"generation_time_ms": int(job.pace.run * 1000), "cost_usd": _cost(job)}
                shown |= {"video_url": self.link(request, job), "perf": _perf(job) | took}
            case Phase.FAILED:
                shown |= {"error_message": _reason(job), "perf": _perf(job)}
        return reply(shown)

    def _job(self, job: Operation) -> dict[str, object]:
        body = {**_DEFAULTS, **job.order.body}
        names = ("model", "prompt", "duration_seconds", "resolution", "aspect_ratio")
        echo = {name: body[name] for name in names}
        return {"id": job.id, "status": _WORDS[self.phase(job)], **echo}


def _perf(job: Operation) -> dict[str, object]:
    request_id = "req_vid_" + job.id.removeprefix("job_vid_")
    return {"request_id": request_id, "model_used": job.order.model}


def _cost(job: Operation) -> float:
    return round(MODELS[job.order.model].cents * job.order.clip.seconds / 100, 6)


def _reason(job: Operation) -> str:
    if moderated(job):
        return "Content policy violation: prompt contains prohibited content"
    return "Video generation failed"


def _complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        yield "prompt is required"
    model = MODELS.get(str(body["model"]))
    if model is None:
        yield f"model must be one of {', '.join(MODELS)}"
        return
    seconds = body["duration_seconds"]
    if not is_whole(seconds) or seconds < 1:
        yield "duration_seconds must be a positive number"
    elif seconds > model.longest:
        yield f"duration_seconds exceeds maximum of {model.longest} for {body['model']} model"
    for name, allowed in (("resolution", tuple(_SHORT_SIDES)), ("aspect_ratio", _RATIOS)):
        if body[name] not in allowed:
            yield f"{name} must be one of {', '.join(allowed)}"
