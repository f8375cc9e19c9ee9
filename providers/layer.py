"""Layer's video API: one POST that stays open until the videos are there.

Source: the @layer-ai/sdk 2.5.15 and the server's route /v3/video, both of div-dhingra/layer-ai.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures, gateway
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
from transport.base import Response

#: The server gives up on a video after ten minutes and says so; half a minute more to hear it.
SUBMIT_TIMEOUT: Final = 630.0
#: An answer may hold the videos themselves, in base64.
LARGEST_ANSWER: Final = 128 * 2**20

#: What the route answers to every failure that is not the request's: its own end, not a proxy's.
FAILED: Final = 500
INTERNAL_ERROR: Final = "internal_error"

#: Reasons of FinishReason that can stand beside an empty list of videos.
FAULTS: Final[Mapping[str, Fault]] = {"filtered": Fault.MODERATED, "error": Fault.UNKNOWN}


class Layer(Provider):
    """Text and image to video through a gate of the account's; there is nothing to poll."""

    name: ClassVar[str] = "layer"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LAYER_API_KEY", "LAYER_GATE_ID"),)
    base_variable: ClassVar[str] = "LAYER_BASE_URL"
    default_base: ClassVar[str] = "https://api.uselayer.ai"
    capabilities: ClassVar[Capabilities] = Capabilities(
        synchronous=True,
        submit_timeout=SUBMIT_TIMEOUT,
        max_count=4,
        sources={
            "cancel": "@layer-ai/sdk 2.5.15: one call, which nothing but hanging up ends",
            "look_up": "no listing of requests, no external id in @layer-ai/sdk 2.5.15",
            "max_count": "docs.uselayer.ai names no most; its sample asks for 3, Google makes 4",
            "poll_floor": "never polled",
            "refusals": "the server's route: 400, 401 and 404 before any model is called",
            "result_lives": "links are those of the model's own maker, who names their end or none",
            "submit_timeout": "the server's Google adapter: at most 10 minutes",
            "synchronous": "the server's route answers when the videos are made",
        },
    )

    def address(self, call: Call, account: Account) -> Call:
        """The submit with the account's gate, through which Layer lets every request in."""
        if not call.paid:
            return call
        return replace(call, json={"gateId": account.credentials["LAYER_GATE_ID"], **call.json})

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v3/video; the server has no ids of its own, so ours names the operation.

        The marker is in `metadata`, which Layer keeps with its log of the request.
        """
        body = {"model": ask.upstream, "metadata": {"marker": ask.marker}, "data": _data(ask)}
        response = yield Call(
            method="POST",
            path="/v3/video",
            json=body,
            accept=frozenset({FAILED}),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
            max_bytes=LARGEST_ANSWER,
        )
        answer = response.json()
        if response.status == FAILED:
            return Accepted(operation_id=_own_id(ask), update=_ended(answer))
        has_id = answers.optional(answer, "id") is not None
        return Accepted(
            operation_id=answers.identifier(answer, "id") if has_id else _own_id(ask),
            update=_update(answer),
        )

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:  # noqa: ARG002 - none is kept
        """Nothing: once it has been answered, Layer knows a request no more."""
        yield from ()
        return {}

    def explain(self, response: Response) -> Failure:
        """`{"error": code, "message": words}`."""
        words = failures.words_of(response, "message", "error")
        return gateway.explain(response, title="Layer", words=words)


def _own_id(ask: Ask) -> str:
    return f"layer-{ask.marker}"


def _data(ask: Ask) -> dict[str, Any]:
    """A VideoGenerationRequest of what was asked."""
    references = [{**_picture(uri), "referenceType": "asset"} for uri in ask.reference_images]
    data = {
        "prompt": ask.prompt,
        "duration": ask.duration_seconds,
        "size": f"{ask.width}x{ask.height}",
        "fps": ask.fps,
        "seed": ask.seed,
        "negativePrompt": ask.negative_prompt,
        "numberOfVideos": ask.count if ask.count > 1 else None,
        "personGeneration": ask.person_generation,
        "image": _picture(ask.image) if ask.image else None,
        "lastFrame": _picture(ask.last_image) if ask.last_image else None,
        "referenceImages": references or None,
    }
    return {field: value for field, value in data.items() if value is not None}


def _picture(uri: str) -> dict[str, str]:
    """An address, or the picture itself: as a whole data URI, as the vendor's samples have it."""
    return {"base64" if uri.startswith("data:") else "url": uri}


def _update(answer: object) -> Update:
    """The videos; without any, what the answer says of its end is why."""
    videos = tuple(_video(video) for video in answers.items(answer, "videos"))
    if videos:
        return Update(phase=Phase.SUCCEEDED, videos=videos, cost_micros=_cost(answer))
    reason = answers.optional_text(answer, "finishReason") or ""
    if reason not in FAULTS:
        msg = "its 'videos' is empty and its 'finishReason' is no reason"
        raise answers.Undocumented(msg)
    words = answers.optional_text(answer, "rawFinishReason")
    failure = failures.of_operation(FAULTS[reason], title="Layer", code=reason, words=words)
    return Update(phase=Phase.FAILED, failure=failure, cost_micros=_cost(answer))


def _ended(answer: object) -> Update:
    """A failure of the model's that the route tells of; any other 500 says nothing of the job."""
    code = answers.text(answer, "error")
    if code != INTERNAL_ERROR:
        msg = "its 'error' is not the route's own"
        raise answers.Undocumented(msg)
    words = answers.optional_text(answer, "message")
    return Update(phase=Phase.FAILED, failure=gateway.ended(words, title="Layer", code=code))


def _video(video: object) -> Video:
    """A VideoOutput: a link, or the bytes, which only this answer has."""
    if (url := answers.optional_text(video, "url")) is not None:
        return Video(url=answers.link(url))
    given = answers.text(video, "base64")
    try:
        return Video(content=b64decode(given.rpartition(",")[2], validate=True), only_here=True)
    except binascii.Error as error:
        msg = "its 'base64' is not base64"
        raise answers.Undocumented(msg) from error


def _cost(answer: object) -> int | None:
    """What the request costs in micros; the server leaves it out where it doesn't know."""
    cost = answers.optional_number(answer, "cost")
    return None if cost is None else round(cost * 1_000_000)
