"""Luma's Dream Machine API: https://docs.lumalabs.ai, as lumaai 1.21.0 speaks it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    Found,
    LookUp,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.polling import get_each
from transport.base import Response

#: What the SDK allows a request, in seconds.
SUBMIT_TIMEOUT: Final = 60.0
#: Generations in one page of the listing, and the most pages that a look-up reads.
PAGE: Final = 100
MOST_PAGES: Final = 10

#: Every state of Generation in lumaai 1.21.0.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "dreaming": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: The vendor has no failure codes; what its words say of moderation is all there is to go by.
MODERATION_WORDS: Final = "moderation"


class LumaDreamMachine(Provider):
    """Text and image to video with Ray 2: pictures by address only, no seed, no progress."""

    name: ClassVar[str] = "luma_dream_machine"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LUMAAI_API_KEY",),)
    base_variable: ClassVar[str] = "LUMAAI_BASE_URL"
    default_base: ClassVar[str] = "https://api.lumalabs.ai/dream-machine/v1"
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.LIST, LookUp.CALLBACK),
        look_up_delay=30.0,
        poll_floor=3.0,
        sources={
            "cancel": "DELETE /generations/{id}; lumaai 1.21.0",
            "cancelled_costs": "unverified: no document says that deleting stops the charge",
            "look_up": "lumaai 1.21.0 types: the listing echoes request.callback_url",
            "look_up_delay": "estimate: the vendor names no delay",
            "poll_floor": "estimate: the vendor's samples wait about 3 seconds",
            "refusals": "lumaai 1.21.0: 4xx are errors of the request; 5xx say nothing",
            "result_lives": "unverified: no document names how long assets.video lives",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /generations/video; our callback address is what the listing can be searched for."""
        response = yield Call(
            method="POST",
            path="/generations/video",
            json=_body(ask),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /generations/{id}; a deleted one is 404 and so missing from the result."""
        return get_each(operation_ids, path=_path, read=_update)

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /generations/{id}: 204, or 404 for one that is already deleted."""
        yield Call(method="DELETE", path=_path(operation_id), accept=frozenset({NOT_FOUND}))

    def look_up(self, ask: Ask) -> Flow[Found]:
        """GET /generations, page by page, for the one whose callback address holds our marker.

        Without a public address nothing of ours is in the listing, so what asks for the same video
        is for the operator, and finding nothing proves nothing. Nor does it where the listing is
        longer than what is read.
        """
        can_tell = ask.callback_url is not None and ask.marker in ask.callback_url
        alike: list[str] = []
        offset = 0
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE), "offset": str(offset)}
            response = yield Call(method="GET", path="/generations", query=query)
            listing = response.json()
            generations = answers.items(listing, "generations")
            for generation in generations:
                if can_tell and ask.marker in _callback_url(generation):
                    return Found(operation_id=answers.identifier(generation, "id"))
                if not can_tell and _asks_the_same(generation, ask):
                    alike.append(answers.identifier(generation, "id"))
            offset += len(generations)
            if not generations or answers.optional(listing, "has_more") is False:
                return Found(operation_id=None, look_alikes=tuple(alike), is_proof=can_tell)
        return Found(operation_id=None, look_alikes=tuple(alike), is_proof=False)

    def explain(self, response: Response) -> Failure:
        """`{"detail": "…"}` in words; the status decides, except that moderation is a 400 too."""
        words = failures.words_of(response, "detail")
        failed = failures.from_answer(response, title="Luma", words=words)
        if failed.fault is Fault.REFUSED and _is_moderation(words):
            return failures.failure(Fault.MODERATED, failed.message)
        return failed

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is the whole generation; the vendor signs none."""
        return callbacks.identifier(body, "id")


def _path(operation_id: str) -> str:
    return f"/generations/{answers.segment(operation_id)}"


def _body(ask: Ask) -> dict[str, Any]:
    body = {
        "model": ask.upstream,
        "prompt": ask.prompt,
        "aspect_ratio": ask.aspect_ratio,
        "duration": f"{ask.duration_seconds}s",
        "resolution": ask.resolution,
        "keyframes": _keyframes(ask) or None,
        "callback_url": ask.callback_url,
    }
    return {field: value for field, value in body.items() if value is not None}


def _keyframes(ask: Ask) -> dict[str, dict[str, str]]:
    frames = {"frame0": ask.image, "frame1": ask.last_image}
    return {name: {"type": "image", "url": url} for name, url in frames.items() if url}


def _callback_url(generation: object) -> str:
    request = answers.optional(generation, "request")
    if request is None:
        return ""
    return answers.optional_text(request, "callback_url") or ""


def _asks_the_same(generation: object, ask: Ask) -> bool:
    request = answers.optional(generation, "request")
    return (
        request is not None
        and answers.optional(request, "prompt") == ask.prompt
        and answers.optional(request, "model") == ask.upstream
    )


def _update(generation: object) -> Update:
    phase = answers.phase(generation, "state", among=PHASES)
    return Update(
        phase=phase,
        videos=_videos(generation) if phase is Phase.SUCCEEDED else (),
        failure=_failure(generation) if phase is Phase.FAILED else None,
    )


def _videos(generation: object) -> tuple[Video, ...]:
    assets = answers.record(generation, "assets")
    return (Video(url=answers.link(answers.text(assets, "video"))),)


def _failure(generation: object) -> Failure:
    """Words without a code; unless they speak of moderation, they are for the operator."""
    words = answers.optional_text(generation, "failure_reason")
    fault = Fault.MODERATED if _is_moderation(words) else Fault.UNKNOWN
    return failures.of_operation(fault, title="Luma", code=None, words=words)


def _is_moderation(words: str | None) -> bool:
    return words is not None and MODERATION_WORDS in words.lower()
