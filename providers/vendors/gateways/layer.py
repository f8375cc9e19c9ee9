"""Layer's video API: one POST that stays open until the videos are done.

Source: @layer-ai/sdk 2.5.15 and the server's /v3/video route, both in div-dhingra/layer-ai.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
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
from providers.body import without_none
from providers.vendors.gateways import shared as gateway
from transport.base import Response

#: The server gives up after ten minutes and reports it; 30 s more to receive that. In seconds.
SUBMIT_TIMEOUT: Final = 630.0
#: A response may contain the videos in base64; in bytes.
MAX_RESPONSE_BYTES: Final = 128 * 2**20

#: The route's status for any failure that is not the request's; proxies use it too.
FAILED: Final = 500
INTERNAL_ERROR: Final = "internal_error"

#: FinishReason values that can accompany an empty list of videos.
FAULTS: Final[Mapping[str, Fault]] = {"filtered": Fault.MODERATED, "error": Fault.UNKNOWN}


class Layer(Provider):
    """Text and image to video through one of the account's gates; nothing to poll."""

    name: ClassVar[str] = "layer"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LAYER_API_KEY", "LAYER_GATE_ID"),)
    base_variable: ClassVar[str] = "LAYER_BASE_URL"
    default_base: ClassVar[str] = "https://api.uselayer.ai"
    capabilities: ClassVar[Capabilities] = Capabilities(
        synchronous=True,
        submit_timeout=SUBMIT_TIMEOUT,
        max_count=4,
        sources={
            "cancel": "@layer-ai/sdk 2.5.15: a single call, without a cancel verb",
            "look_up": "no listing of requests, no external id in @layer-ai/sdk 2.5.15",
            "max_count": "docs.uselayer.ai: no limit; its sample requests 3, Google makes 4",
            "poll_floor": "never polled",
            "refusals": "the server's route: 400, 401 and 404 before any model is called",
            "result_lives": "URLs are the model vendor's, with its own lifetime",
            "submit_timeout": "the server's Google adapter: at most 10 minutes",
            "synchronous": "the server's route answers when the videos are made",
        },
    )

    def address(self, call: Call, account: Account) -> Call:
        """Add the account's gate to the submit; Layer requires one."""
        if not call.paid:
            return call
        return replace(call, json={"gateId": account.credentials["LAYER_GATE_ID"], **call.json})

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v3/video; the server has no operation ids, so we use our own.

        The marker is in `metadata`, which Layer stores with its request log.
        """
        body = {"model": ask.upstream, "metadata": {"marker": ask.marker}, "data": _data(ask)}
        response = yield Call(
            method="POST",
            path="/v3/video",
            json=body,
            accept=frozenset({FAILED}),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
            max_bytes=MAX_RESPONSE_BYTES,
        )
        answer = response.json()
        if response.status == FAILED:
            return Accepted(operation_id=_own_id(ask), update=_failed_update(answer))
        has_id = answers.optional(answer, "id") is not None
        return Accepted(
            operation_id=answers.identifier(answer, "id") if has_id else _own_id(ask),
            update=_update(answer),
        )

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:  # noqa: ARG002 - nothing to poll
        """Nothing to poll: Layer keeps no requests."""
        yield from ()
        return {}

    def explain(self, response: Response) -> Failure:
        """`{"error": code, "message": words}`."""
        words = failures.words_of(response, "message", "error")
        return gateway.explain(response, title="Layer", words=words)


def _own_id(ask: Ask) -> str:
    return f"layer-{ask.marker}"


def _data(ask: Ask) -> dict[str, Any]:
    """Build a VideoGenerationRequest."""
    scene = ask.scene
    references = [
        {**_picture(each.image), "referenceType": each.type} for each in scene.reference_images
    ]
    data = {
        "prompt": scene.prompt,
        "duration": ask.duration_seconds,
        "size": f"{ask.width}x{ask.height}",
        "fps": ask.fps,
        "seed": scene.seed,
        "negativePrompt": scene.negative_prompt,
        "numberOfVideos": ask.count if ask.count > 1 else None,
        "personGeneration": scene.person_generation,
        "image": _picture(scene.image) if scene.image else None,
        "lastFrame": _picture(scene.last_image) if scene.last_image else None,
        "referenceImages": references or None,
    }
    return without_none(data)


def _picture(uri: str) -> dict[str, str]:
    """A URL, or a whole data URI, as in the vendor's samples."""
    return {"base64" if uri.startswith("data:") else "url": uri}


def _update(answer: object) -> Update:
    """The videos, or the finish reason if there are none."""
    videos = tuple(_video(video) for video in answers.items(answer, "videos"))
    if videos:
        return Update(phase=Phase.SUCCEEDED, videos=videos, cost_micros=_cost(answer))
    reason = answers.optional_text(answer, "finishReason") or ""
    if reason not in FAULTS:
        msg = "'videos' is empty without a known 'finishReason'"
        raise answers.Undocumented(msg)
    words = answers.optional_text(answer, "rawFinishReason")
    failure = failures.of_operation(FAULTS[reason], title="Layer", code=reason, words=words)
    return Update(phase=Phase.FAILED, failure=failure, cost_micros=_cost(answer))


def _failed_update(answer: object) -> Update:
    """The model's failure as the route reports it; any other 500 is not about the job."""
    code = answers.text(answer, "error")
    if code != INTERNAL_ERROR:
        msg = "'error' is not a documented code"
        raise answers.Undocumented(msg)
    words = answers.optional_text(answer, "message")
    return Update(phase=Phase.FAILED, failure=gateway.ended(words, title="Layer", code=code))


def _video(video: object) -> Video:
    """A VideoOutput: a URL, or bytes that only this response contains."""
    if (url := answers.optional_text(video, "url")) is not None:
        return Video(url=answers.link(url))
    given = answers.text(video, "base64")
    try:
        return Video(content=b64decode(given.rpartition(",")[2], validate=True), only_here=True)
    except binascii.Error as error:
        msg = "'base64' is not valid base64"
        raise answers.Undocumented(msg) from error


def _cost(answer: object) -> int | None:
    """The request's cost in micros; omitted if the server does not know it."""
    cost = answers.optional_number(answer, "cost")
    return None if cost is None else round(cost * 1_000_000)
