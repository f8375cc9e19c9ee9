"""Gemini Omni through the Gemini API's Interactions, as in google-genai 3.4.0.

https://ai.google.dev/gemini-api/docs/omni and …/webhooks
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    LookUp,
    Phase,
    ProviderError,
    Update,
    Video,
)
from providers.body import without_none
from providers.vendors.google import shared as google
from transport.base import Response

VERSION: Final = "v1"

#: In seconds and bytes: a video may be inline although a URL was requested.
POLL_TIMEOUT: Final = 180.0
POLL_BYTES: Final = 128 * 2**20

NOT_VALID: Final = 400
#: The API's message for a missing interaction, with HTTP 400.
NO_SUCH_INTERACTION: Final = "invalid interaction name"

#: Every InteractionStatus in google-genai 3.4.0. We answer no tool calls and continue no decoding,
#: so statuses waiting for that are failures.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "incomplete": Phase.FAILED,
    "budget_exceeded": Phase.FAILED,
    "requires_action": Phase.FAILED,
    "requires_continuation": Phase.FAILED,
}

#: The default fault for each failed status.
FAULTS: Final[Mapping[str, Fault]] = {
    "failed": Fault.UNKNOWN,
    "incomplete": Fault.UNKNOWN,
    "budget_exceeded": Fault.QUOTA,
    "requires_action": Fault.UNKNOWN,
    "requires_continuation": Fault.UNKNOWN,
}


class Gemini(google.GeminiApi):
    """Text and images to video with sound; supports cancel, reports no progress."""

    name: ClassVar[str] = "gemini"
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.CALLBACK,),
        inline_pictures=True,
        poll_floor=5.0,
        result_lives=172_800.0,
        result_needs_key=True,
        sources={
            "cancel": "POST /v1/interactions/{id}/cancel; google-genai 3.4.0",
            "cancelled_costs": "unverified: the cost of a cancelled interaction is undocumented",
            "inline_pictures": "google-genai 3.4.0 types: data, or the uri of a file of the API",
            "look_up": "no listing in google-genai 3.4.0; webhook events name the interaction",
            "poll_floor": "estimate: the vendor's samples wait 5 to 10 seconds",
            "refusals": "google.rpc: 429 RESOURCE_EXHAUSTED; 5xx do not prove refusal",
            "result_lives": "ai.google.dev/gemini-api/docs/files: files are kept for 48 hours",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/interactions in the background, or the call would stay open until done."""
        response = yield Call(
            method="POST",
            path=f"/{VERSION}/interactions",
            json=_body(ask),
            paid=True,
            timeout=google.SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/interactions/{id}; unknown ones are omitted."""
        updates = {}
        for operation_id in operation_ids:
            response = yield Call(
                method="GET",
                path=_path(operation_id),
                query={"stream": "false"},
                accept=frozenset({NOT_FOUND, NOT_VALID}),
                timeout=POLL_TIMEOUT,
                max_bytes=POLL_BYTES,
            )
            if response.status == NOT_VALID:
                self._check_absence(response)
            elif response.status != NOT_FOUND:
                updates[operation_id] = _update(response.json())
        return updates

    def cancel(self, operation_id: str) -> Flow[None]:
        """POST /v1/interactions/{id}/cancel; works for background interactions only."""
        path = f"{_path(operation_id)}/cancel"
        yield Call(method="POST", path=path)

    def callback_operation(self, body: bytes) -> str | None:
        """`{"type", "version", "timestamp", "data": {"id"}}`: the event names its interaction."""
        try:
            return answers.identifier(answers.record(json.loads(body), "data"), "id")
        except (ValueError, RecursionError):
            return None

    def _check_absence(self, response: Response) -> None:
        """Raise ProviderError unless a 400 means that the interaction does not exist."""
        failed = self.explain(response)
        if NO_SUCH_INTERACTION not in failed.message.lower():
            raise ProviderError(failed, status=response.status)


def _path(operation_id: str) -> str:
    return f"/{VERSION}/interactions/{answers.segment(operation_id)}"


def _body(ask: Ask) -> dict[str, Any]:
    body = {
        "model": ask.upstream,
        "background": True,
        "input": _input(ask),
        "response_format": {
            "type": "video",
            "delivery": "uri",
            "aspect_ratio": ask.aspect_ratio,
            "resolution": ask.resolution,
            "duration": f"{ask.duration_seconds}s",
        },
        "generation_config": _task(ask),
        "webhook_config": {"uris": [ask.callback_url]} if ask.callback_url else None,
    }
    return without_none(body)


def _input(ask: Ask) -> str | list[dict[str, Any]]:
    """The prompt alone, or one user step with the images before the prompt."""
    scene = ask.scene
    pictures = [uri for uri in (scene.image, *(one.image for one in scene.reference_images)) if uri]
    if not pictures:
        return scene.prompt
    content = [*map(_picture, pictures), {"type": "text", "text": scene.prompt}]
    return [{"type": "user_input", "content": content}]


def _picture(uri: str) -> dict[str, str]:
    mime_type, data = google.inline(uri)
    return {"type": "image", "data": data, "mime_type": mime_type}


def _task(ask: Ask) -> dict[str, Any] | None:
    """The task the images are for; None without images."""
    if ask.scene.reference_images:
        return {"video_config": {"task": "reference_to_video"}}
    return {"video_config": {"task": "image_to_video"}} if ask.scene.image else None


def _update(interaction: object) -> Update:
    """One interaction; a safety refusal is "completed" with text only."""
    phase = answers.phase(interaction, "status", among=PHASES)
    if phase is Phase.SUCCEEDED:
        contents = list(_contents(interaction))
        videos = tuple(_video(one) for one in contents if answers.text(one, "type") == "video")
        if videos:
            return Update(phase=phase, videos=videos)
        return Update(phase=Phase.FAILED, failure=_no_video(interaction, contents))
    return Update(phase=phase, failure=_failure(interaction, phase))


def _contents(interaction: object) -> Iterator[object]:
    """All model outputs, step by step; other kinds of steps are skipped."""
    for step in _outputs(interaction):
        if answers.optional(step, "content") is not None:
            yield from answers.items(step, "content")


def _outputs(interaction: object) -> Iterator[object]:
    for step in answers.items(interaction, "steps"):
        if answers.text(step, "type") == "model_output":
            yield step


def _video(content: object) -> Video:
    """A file of the API, or the bytes; polling again returns it again."""
    if (uri := answers.optional_text(content, "uri")) is not None:
        return Video(url=answers.link(uri))
    return Video(content=google.content(content, "data"))


def _no_video(interaction: object, contents: Sequence[object]) -> Failure:
    """The step's error, or the model's text explaining why it made no video.

    Raises:
        Undocumented: there is neither.
    """
    if (failed := _step_failure(interaction)) is not None:
        return failed
    said = [one for one in contents if answers.text(one, "type") == "text"]
    if not said:
        msg = "'steps' has no video although the interaction completed"
        raise answers.Undocumented(msg)
    words = " ".join(answers.optional_text(one, "text") or "" for one in said)
    return failures.failure(
        Fault.MODERATED, "Gemini answered with text instead of a video", words=words
    )


def _failure(interaction: object, phase: Phase) -> Failure | None:
    if phase is Phase.CANCELLED:
        return failures.failure(Fault.GONE, "the interaction was cancelled at Gemini")
    if phase is not Phase.FAILED:
        return None
    if (failed := _step_failure(interaction)) is not None:
        return failed
    status = answers.text(interaction, "status")
    words = _first_error(interaction)
    fault = Fault.MODERATED if google.is_moderation(words) else FAULTS[status]
    return failures.of_operation(fault, title="Gemini", code=status, words=words)


def _step_failure(interaction: object) -> Failure | None:
    if answers.optional(interaction, "steps") is None:
        return None
    for step in _outputs(interaction):
        if answers.optional(step, "error") is not None:
            return google.operation_failure(answers.record(step, "error"), title="Gemini")
    return None


def _first_error(interaction: object) -> str | None:
    if answers.optional(interaction, "errors") is None:
        return None
    errors = answers.items(interaction, "errors")
    words = (answers.optional_text(error, "message") for error in errors)
    return next((each for each in words if each), None)
