"""The Luma Agents API: https://docs.agents.lumalabs.ai, as in luma-agents 0.5.0."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import Accepted, Ask, Call, Capabilities, Flow, Phase, Provider, Update, Video
from providers.polling import get_each
from transport.base import Response

#: The SDK's request timeout, in seconds; a POST may contain images.
SUBMIT_TIMEOUT: Final = 60.0
#: The only duration `start_frame` and `end_frame` support; longer clips use `keyframes`. In
#: seconds.
ANCHORED_SECONDS: Final = 5
#: Frame rate of the grid that `keyframe_indexes` refers to.
GRID_FPS: Final = 24

#: Every state of Generation in luma-agents 0.5.0.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: Every GenerationFailureCode of luma-agents 0.5.0, by the retry advice in
#: docs.agents.lumalabs.ai/guides/error-handling.
FAULTS: Final[Mapping[str, Fault]] = {
    "content_moderated": Fault.MODERATED,
    "generation_failed": Fault.TRANSIENT,
    "output_not_found": Fault.TRANSIENT,
    "budget_exhausted": Fault.QUOTA,
    "image_too_large": Fault.REFUSED,
    "unsupported_format": Fault.REFUSED,
    "corrupt_input": Fault.REFUSED,
    "invalid_request": Fault.REFUSED,
    "rate_limited": Fault.RATE,
}


class LumaAgents(Provider):
    """Text and image to video with Ray: no progress, no cancel, no seed."""

    name: ClassVar[str] = "luma_agents"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LUMA_AGENTS_API_KEY",),)
    base_variable: ClassVar[str] = "LUMA_BASE_URL"
    default_base: ClassVar[str] = "https://agents.lumalabs.ai/v1"
    capabilities: ClassVar[Capabilities] = Capabilities(
        refusals=Capabilities().refusals | {503},
        poll_floor=3.0,
        result_lives=3_600.0,
        sources={
            "cancel": "luma-agents 0.5.0 has create and get only",
            "look_up": "no listing of generations, no external id in luma-agents 0.5.0",
            "poll_floor": "estimate: the vendor's samples wait 2 to 5 seconds",
            "refusals": (
                "docs.agents.lumalabs.ai/guides/error-handling: 429 before acceptance, "
                "503 could not read an image; 502 does not prove refusal"
            ),
            "result_lives": "luma-agents 0.5.0 types: presigned for one hour",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /generations of type video."""
        body = {
            "model": ask.upstream,
            "type": "video",
            "prompt": ask.scene.prompt,
            "aspect_ratio": ask.aspect_ratio,
            "video": _video_options(ask),
        }
        response = yield Call(
            method="POST", path="/generations", json=body, paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /generations/{id}; 404 is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def explain(self, response: Response) -> Failure:
        """`{"detail": "…"}` is text; only the status is machine-readable."""
        return failures.from_answer(
            response, title="Luma", words=failures.words_of(response, "detail")
        )


def _path(operation_id: str) -> str:
    return f"/generations/{answers.segment(operation_id)}"


def _video_options(ask: Ask) -> dict[str, Any]:
    options: dict[str, Any] = {
        "duration": f"{ask.duration_seconds}s",
        "resolution": ask.resolution,
    }
    frames = {"start_frame": ask.scene.image, "end_frame": ask.scene.last_image}
    anchors = {name: _picture(uri) for name, uri in frames.items() if uri}
    if not anchors or ask.duration_seconds == ANCHORED_SECONDS:
        return options | anchors
    ends = {"start_frame": 0, "end_frame": ask.duration_seconds * GRID_FPS}
    return options | {
        "keyframes": list(anchors.values()),
        "keyframe_indexes": [ends[name] for name in anchors],
    }


def _picture(uri: str) -> dict[str, str]:
    """An ImageRef: a public URL, or the data with its media type."""
    if not uri.startswith("data:"):
        return {"url": uri}
    head, _, data = uri.removeprefix("data:").partition(",")
    return {"data": data, "media_type": head.partition(";")[0]}


def _update(generation: object) -> Update:
    phase = answers.phase(generation, "state", among=PHASES)
    return Update(
        phase=phase,
        videos=_videos(generation) if phase is Phase.SUCCEEDED else (),
        failure=_failure(generation) if phase is Phase.FAILED else None,
    )


def _videos(generation: object) -> tuple[Video, ...]:
    """The outputs of type video; an EXR export may accompany them."""
    videos = tuple(
        Video(url=answers.link(answers.text(output, "url")))
        for output in answers.items(generation, "output")
        if answers.text(output, "type") == "video"
    )
    if not videos:
        msg = "'output' has no video although the generation completed"
        raise answers.Undocumented(msg)
    return videos


def _failure(generation: object) -> Failure:
    """The failure; undocumented codes stay UNKNOWN, for the operator."""
    code = answers.optional_text(generation, "failure_code")
    fault = FAULTS.get(code, Fault.UNKNOWN) if code else Fault.UNKNOWN
    words = answers.optional_text(generation, "failure_reason")
    return failures.of_operation(fault, title="Luma", code=code, words=words)
