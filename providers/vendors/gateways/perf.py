"""Perf's video API: https://docs.withperf.pro/api-reference/video."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from models.failure import Failure, Fault
from providers import answers
from providers.base import Accepted, Ask, Call, Capabilities, Flow, Phase, Provider, Update, Video
from providers.body import text_in
from providers.polling import get_each
from providers.vendors.gateways import shared as gateway
from transport.base import Response

PATH: Final = "/v1/video/generations"
#: perf-sdk 0.2.0's request timeout, in seconds.
SUBMIT_TIMEOUT: Final = 120.0

#: Every documented status; there is none for a cancelled job.
PHASES: Final[Mapping[str, Phase]] = {
    "pending": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "complete": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: Codes of perf-sdk 0.2.0 that are more specific than their status.
FAULTS: Final[Mapping[str, Fault]] = {
    "rate_limit_exceeded": Fault.RATE,
    "usage_limit_exceeded": Fault.QUOTA,
    "invalid_api_key": Fault.AUTH,
}


class Perf(Provider):
    """Text to video with four models; reports progress and the charge.

    The key is `pk_live_…` or `pk_test_…`; the documented samples download results without it.
    """

    name: ClassVar[str] = "perf"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("PERF_API_KEY",),)
    base_variable: ClassVar[str] = "PERF_BASE_URL"
    default_base: ClassVar[str] = "https://api.withperf.pro"
    capabilities: ClassVar[Capabilities] = Capabilities(
        progress=True,
        submit_timeout=SUBMIT_TIMEOUT,
        poll_floor=5.0,
        sources={
            "cancel": "docs.withperf.pro/api-reference/video has create and status only",
            "look_up": "no listing of jobs, no external id in docs.withperf.pro",
            "poll_floor": "docs.withperf.pro/api-reference/video: the samples wait 5 seconds",
            "refusals": "perf-sdk 0.2.0 and docs.withperf.pro: errors are 4xx; 5xx undocumented",
            "result_lives": "docs.withperf.pro: lifetime undocumented",
            "submit_timeout": "perf-sdk 0.2.0: 120 seconds",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/video/generations with its five fields."""
        body = {
            "prompt": ask.scene.prompt,
            "model": ask.upstream,
            "duration_seconds": ask.duration_seconds,
            "resolution": ask.resolution,
            "aspect_ratio": ask.aspect_ratio,
        }
        response = yield Call(
            method="POST", path=PATH, json=body, paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/video/generations/{id}; 404 is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def explain(self, response: Response) -> Failure:
        """`{"error": {"type", "message"}}`; SDK responses also have `code`."""
        error = gateway.error_of(response)
        code = text_in(error, "code") or text_in(error, "type") or ""
        words = text_in(error, "message")
        return gateway.explain(response, title="Perf", words=words, fault=FAULTS.get(code))


def _path(operation_id: str) -> str:
    return f"{PATH}/{answers.segment(operation_id)}"


def _update(job: object) -> Update:
    phase = answers.phase(job, "status", among=PHASES)
    percent = answers.optional_number(job, "progress_percent") if phase is Phase.RUNNING else None
    return Update(
        phase=phase,
        progress=None if percent is None else min(percent / 100, 1.0),
        videos=_videos(job) if phase is Phase.SUCCEEDED else (),
        failure=_failure(job) if phase is Phase.FAILED else None,
        cost_micros=_cost(job) if phase is Phase.SUCCEEDED else None,
    )


def _videos(job: object) -> tuple[Video, ...]:
    return (Video(url=answers.link(answers.text(job, "video_url"))),)


def _failure(job: object) -> Failure:
    return gateway.ended(answers.optional_text(job, "error_message"), title="Perf")


def _cost(job: object) -> int | None:
    """The job's cost in micros, from the `perf` object; None if not reported."""
    if answers.optional(job, "perf") is None:
        return None
    cost = answers.optional_number(answers.record(job, "perf"), "cost_usd")
    return None if cost is None else round(cost * 1_000_000)
