"""Lunos' video API: https://lunos.tech/docs/generative/video, as in @lunos/client 1.5.0."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from models.failure import Failure
from providers import answers, failures
from providers.base import (
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.body import text_in, without_none
from providers.polling import get_each
from providers.vendors.gateways import shared as gateway
from transport.base import Response

PATH: Final = "/v1/video/generations"
#: The client's timeout for all tries of a request together, in seconds.
SUBMIT_TIMEOUT: Final = 60.0
#: The application under which the vendor reports our usage.
APP: Final = "longtake"

#: Every VideoGenerationStatus in @lunos/client 1.5.0; "processing" is undocumented.
PHASES: Final[Mapping[str, Phase]] = {
    "pending": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}


class Lunos(Provider):
    """Text to video with Google's Veo: no progress, no cancel, one aspect ratio.

    A result's URL is on the vendor's storage and needs no key.
    """

    name: ClassVar[str] = "lunos"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LUNOS_API_KEY",),)
    base_variable: ClassVar[str] = "LUNOS_BASE_URL"
    default_base: ClassVar[str] = "https://api.lunos.tech"
    capabilities: ClassVar[Capabilities] = Capabilities(
        submit_timeout=SUBMIT_TIMEOUT,
        poll_floor=10.0,
        sources={
            "cancel": "@lunos/client 1.5.0 has create and status only",
            "look_up": "no listing of operations, no external id in @lunos/client 1.5.0",
            "poll_floor": "lunos.tech/docs/generative/video: the samples wait 10 seconds",
            "refusals": (
                "lunos.tech/docs/generative/video: missing fields, insufficient balance, model not "
                "found; a failed start does not prove refusal"
            ),
            "result_lives": "lunos.tech/docs/generative/video: lifetime undocumented",
            "submit_timeout": "@lunos/client 1.5.0: 60 seconds",
        },
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The bearer key, and the application name the client sends with every request."""
        key = account.credentials["LUNOS_API_KEY"]
        return {"authorization": f"Bearer {key}", "x-app-id": APP}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/video/generations; all fields except model and prompt are nested."""
        body = {
            "model": ask.upstream,
            "prompt": ask.scene.prompt,
            "parameters": _parameters(ask),
            "response_format": "mp4",
        }
        response = yield Call(
            method="POST", path=PATH, json=body, paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/video/generations/{id}; 404 is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def explain(self, response: Response) -> Failure:
        """`{"error": "…"}` as text, or the error object of the vendor's other APIs."""
        words = failures.words_of(response, "error")
        words = words or text_in(gateway.error_of(response), "message")
        return gateway.explain(response, title="Lunos", words=words)


def _path(operation_id: str) -> str:
    """Ids are "video-op:user:time"; the client leaves the colons unescaped."""
    return f"{PATH}/{quote(operation_id, safe=':')}"


def _parameters(ask: Ask) -> dict[str, Any]:
    given = {"aspectRatio": ask.aspect_ratio, "negativePrompt": ask.scene.negative_prompt}
    return without_none(given)


def _update(operation: object) -> Update:
    phase = answers.phase(operation, "status", among=PHASES)
    return Update(
        phase=phase,
        videos=_videos(operation) if phase is Phase.SUCCEEDED else (),
        failure=_failure(operation) if phase is Phase.FAILED else None,
    )


def _videos(operation: object) -> tuple[Video, ...]:
    return (Video(url=answers.link(answers.text(operation, "video_url"))),)


def _failure(operation: object) -> Failure:
    return gateway.ended(answers.optional_text(operation, "error"), title="Lunos")
