"""Gemini Omni through the Interactions API: background start, polls, cancel.

Source: the types of google-genai 3.4.0, ai.google.dev/gemini-api/docs/omni and …/webhooks. Recorded
by a public client of the API: a refusal is "completed" with text only, and an unknown interaction
is 400.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final

from aiohttp import web

from simulator.callbacks import CallbackPolicy
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, moderated, origin_of, read_object, reply
from simulator.upstreams.google.shared import STATUSES, GeminiUpstream, new_id, refuse_first
from simulator.video import Clip

MODELS: Final = ("gemini-omni-1.1-flash",)
SECONDS: Final = range(3, 11)
SHORT_SIDES: Final = {"360p": 360, "720p": 720, "1080p": 1080, "4k": 2160}
#: Default duration in seconds; invented.
USUAL_SECONDS: Final = 8
#: Tokens per second of 720p.
TOKENS_PER_SECOND: Final = 5792

#: "Thin" events, sent when an interaction ends.
CALLBACK_POLICY: Final = CallbackPolicy(
    phases=frozenset((Phase.SUCCEEDED, Phase.FAILED)), retries=3
)

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "in_progress",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}

FORBIDDEN: Final = 403
_CODES: Final = {"invalid_argument": "invalid_request"}

_MEMBERS: Final = frozenset(
    (
        *("model", "input", "background", "stream", "store", "response_format"),
        *("generation_config", "webhook_config", "labels", "service_tier", "safety_settings"),
    )
)
_FORMAT: Final[Mapping[str, tuple[str, ...]]] = {
    "type": ("video",),
    "delivery": ("inline", "uri"),
    "aspect_ratio": ("16:9", "9:16"),
    "resolution": tuple(SHORT_SIDES),
    "duration": tuple(f"{seconds}s" for seconds in SECONDS),
}
_TASKS: Final = ("text_to_video", "image_to_video", "reference_to_video")


class Gemini(GeminiUpstream):
    """Interactions are queued, then run; a cancelled one keeps its id."""

    name: ClassVar[str] = "gemini"
    prefix: ClassVar[str] = "/gemini"
    version: ClassVar[str] = "/v1"

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/interactions", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/interactions/{id}", self.poll, Step.POLL),
            Endpoint("POST", "/v1/interactions/{id}/cancel", self.cancel, Step.CANCEL),
            *self.file_endpoints(),
        )

    def error(self, request: web.Request, refusal: Refusal) -> web.Response:
        """`{"error": {code, message}}` with a text code, except for authentication errors.

        "invalid_request" is documented; the others derive from google.rpc's names.
        """
        is_auth_error = refusal.status == FORBIDDEN or refusal.issues
        if is_auth_error or "/interactions" not in request.path:
            return super().error(request, refusal)
        word = STATUSES.get(refusal.status, "UNKNOWN").lower()
        error = {"code": _CODES.get(word, word), "message": refusal.message}
        return reply({"error": error}, status=refusal.status, headers=refusal.headers)

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return _prompt_in(await read_object(request))
        except Refusal:
            return ""

    def operation_id(self, request: web.Request) -> str:
        place = request.match_info
        return place["id"] if "id" in place else place["file"]

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        refuse_first(_complaints(body))
        model = str(body["model"])
        self.check_room(model)
        interaction = self.accept(request, self._order(body))
        for url in _uris(body):
            self.world.callbacks.follow(
                interaction,
                url=url,
                policy=CALLBACK_POLICY,
                render=partial(self._event, interaction),
            )
        return reply(self._shown(request, interaction))

    def _order(self, body: dict[str, Any]) -> Order:
        wanted = body.get("response_format") or {}
        return Order(
            provider=self.name,
            operation_id=new_id(),
            model=str(body["model"]),
            prompt=_prompt_in(body),
            clip=Clip.shaped(
                wanted.get("aspect_ratio", "16:9"),
                short_side=SHORT_SIDES[wanted.get("resolution", "720p")],
                seconds=int(wanted.get("duration", f"{USUAL_SECONDS}s")[:-1]),
            ),
            lane=str(body["model"]),
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        interaction = self.world.operations.poll(self.name, self.operation_id(request))
        if interaction is None:
            raise _unknown(request)
        return reply(self._shown(request, interaction))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel the interaction; 400 if it has ended."""
        interaction = self.world.operations.find(self.name, self.operation_id(request))
        if interaction is None:
            raise _unknown(request)
        if self.phase(interaction).is_final:
            raise Refusal(400, "The interaction is not in progress.")
        self.world.operations.cancel(interaction)
        return reply(self._shown(request, interaction))

    def _shown(self, request: web.Request, interaction: Operation) -> dict[str, object]:
        phase = self.phase(interaction)
        shown: dict[str, object] = {
            "id": interaction.id,
            "object": "interaction",
            "model": interaction.order.model,
            "status": _WORDS[phase],
            "created": f"{interaction.created_at:%Y-%m-%dT%H:%M:%SZ}",
        }
        if phase is Phase.SUCCEEDED:
            uri = self.file_uri(origin_of(request), interaction)
            video = {"type": "video", "uri": uri, "mime_type": "video/mp4"}
            return shown | {"steps": [_output(video)], "usage": _usage(interaction)}
        if phase is Phase.FAILED and moderated(interaction):
            text = {"type": "text", "text": "I can't make this video: it is against the policies."}
            return shown | {"status": "completed", "steps": [_output(text)]}
        if phase is Phase.FAILED:
            return shown | {"errors": [{"code": "internal", "message": "An error occurred."}]}
        return shown

    def _event(self, interaction: Operation) -> dict[str, object]:
        ended = "failed" if self.phase(interaction) is Phase.FAILED else "completed"
        if moderated(interaction):
            ended = "completed"
        return {
            "type": f"interaction.{ended}",
            "version": "v1",
            "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "data": {"id": interaction.id},
        }


def _output(content: Mapping[str, str]) -> dict[str, object]:
    return {"type": "model_output", "content": [content]}


def _usage(interaction: Operation) -> dict[str, object]:
    tokens = TOKENS_PER_SECOND * interaction.order.clip.seconds
    return {"output_tokens_by_modality": [{"modality": "video", "tokens": tokens}]}


def _unknown(request: web.Request) -> Refusal:
    return Refusal(400, f"Invalid interaction name: {request.match_info['id']}")


def _prompt_in(body: Mapping[str, Any]) -> str:
    """The input's text: all of it, or the text parts of its steps."""
    given = body.get("input")
    if isinstance(given, str):
        return given
    texts = (part.get("text") for part in _parts(given) if part.get("type") == "text")
    return " ".join(text for text in texts if isinstance(text, str))


def _parts(given: object) -> Iterator[Mapping[str, Any]]:
    """Contents, at top level or in user steps."""
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and each.get("type") == "user_input":
            yield from _parts(each.get("content"))
        elif isinstance(each, dict):
            yield each


def _uris(body: Mapping[str, Any]) -> list[str]:
    config = body.get("webhook_config") or {}
    return list(config.get("uris") or ())


def _complaints(body: Mapping[str, Any]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    if body.get("model") not in MODELS:
        yield f"model: must be one of {', '.join(MODELS)}"
    if unknown := sorted(set(body) - _MEMBERS):
        yield f"Unknown name {', '.join(unknown)}"
    if not _prompt_in(body).strip():
        yield "input: must have text"
    if body.get("background") is not True:
        yield "background: must be true (the only kind that is simulated)"
    for part in _parts(body.get("input")):
        yield from _part(part)
    yield from _format(body.get("response_format"))
    yield from _task(body.get("generation_config"))
    uris = body.get("webhook_config") or {}
    if not isinstance(uris, dict) or not isinstance(uris.get("uris") or [], list):
        yield "webhook_config.uris: must be a list"


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    if part.get("type") not in ("text", "image"):
        yield "input: must be text and images (the only kinds that are simulated)"
    if part.get("type") == "image" and not (part.get("data") and part.get("mime_type")):
        yield "input: an image must have data and mime_type"


def _format(wanted: object) -> Iterator[str]:
    if not isinstance(wanted, dict) or wanted.get("type") != "video":
        yield "response_format: must be of type video (the only kind that is simulated)"
        return
    if unknown := sorted(set(wanted) - set(_FORMAT)):
        yield f"Unknown name {', '.join(unknown)} in response_format"
    for name, allowed in _FORMAT.items():
        if name in wanted and wanted[name] not in allowed:
            yield f"response_format.{name}: must be one of {', '.join(allowed)}"
    if wanted.get("delivery") != "uri":
        yield "response_format.delivery: must be uri (the only kind that is simulated)"


def _task(config: object) -> Iterator[str]:
    if config is None:
        return
    video = config.get("video_config") if isinstance(config, dict) else None
    task = video.get("task") if isinstance(video, dict) else None
    if task not in (None, *_TASKS):
        yield f"generation_config.video_config.task: must be one of {', '.join(_TASKS)}"
