"""Luma's Dream Machine API: https://docs.lumalabs.ai, as in lumaai 1.21.0."""

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import (
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
from providers.body import without_none
from providers.polling import get_each, read_listing
from transport.base import Response

#: The SDK's request timeout, in seconds.
SUBMIT_TIMEOUT: Final = 60.0
#: Page size of the listing, and the maximum pages a look-up reads.
PAGE: Final = 100
MOST_PAGES: Final = 10
#: Generations at the end of a page that the next one repeats: so many may be deleted meanwhile.
OVERLAP: Final = 10

#: Every state of Generation in lumaai 1.21.0.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "dreaming": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: The vendor has no failure codes; moderation is recognised by this word.
MODERATION_WORDS: Final = "moderation"


class LumaDreamMachine(Provider):
    """Text and image to video with Ray 2: images by URL only, no seed, no progress."""

    name: ClassVar[str] = "luma_dream_machine"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("LUMAAI_API_KEY",),)
    base_variable: ClassVar[str] = "LUMAAI_BASE_URL"
    default_base: ClassVar[str] = "https://api.lumalabs.ai/dream-machine/v1"
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.LIST, LookUp.CALLBACK),
        look_up_delay=30.0,
        listed=PAGE,
        poll_floor=3.0,
        sources={
            "cancel": "DELETE /generations/{id}; lumaai 1.21.0",
            "cancelled_costs": "unverified: whether deleting stops the charge is undocumented",
            "listed": (
                "lumaai 1.21.0 types: GET /generations has whole generations; unverified: the "
                "newest first, a hundred on a page"
            ),
            "look_up": (
                "lumaai 1.21.0 types: the listing echoes request.callback_url; it pages by "
                "offset, so deleting a generation shifts it"
            ),
            "look_up_delay": "estimate: undocumented",
            "poll_floor": "estimate: the vendor's samples wait about 3 seconds",
            "refusals": "lumaai 1.21.0: 4xx are request errors; 5xx do not prove refusal",
            "result_lives": "unverified: the lifetime of assets.video is undocumented",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /generations/video; a look-up searches the listing for our callback URL."""
        response = yield Call(
            method="POST",
            path="/generations/video",
            json=_body(ask),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /generations/{id}; 404 (deleted) is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def survey(self, wanted: Collection[str]) -> Flow[Mapping[str, Update]]:
        """GET /generations, page by page."""
        offsets = count(PAGE, PAGE)
        return read_listing(
            wanted,
            first=_page(0),
            entries=lambda listing: answers.items(listing, "generations"),
            read=_update,
            following=lambda listing: _page(next(offsets)) if _says_more(listing) else None,
        )

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /generations/{id}: 204; 404 if already deleted."""
        yield Call(method="DELETE", path=_path(operation_id))

    def look_up(self, ask: Ask) -> Flow[Found]:
        """GET /generations, page by page, for a callback URL containing our marker.

        Without a callback address the listing has no marker: generations with the same prompt are
        reported to the operator, and an empty result proves nothing. The same holds if the listing
        is longer than the pages read, or shifted while it was read: each page must begin with the
        end of the one before, or a deletion may have moved a generation between them.
        """
        has_marker = ask.callback_url is not None and ask.marker in ask.callback_url
        look_alikes: dict[str, None] = {}
        before: list[str] = []
        offset, is_whole = 0, True
        for _ in range(MOST_PAGES):
            response = yield _page(offset)
            listing = response.json()
            generations = answers.items(listing, "generations")
            for generation in generations:
                if ask.marker in _callback_url(generation):
                    return Found(operation_id=answers.identifier(generation, "id"))
                if not has_marker and _has_same_prompt(generation, ask):
                    look_alikes[answers.identifier(generation, "id")] = None
            ids = [answers.identifier(generation, "id") for generation in generations]
            is_whole = is_whole and (not before or not set(before).isdisjoint(ids))
            if _is_last(listing, ids, before):
                is_whole = is_whole and not _says_more(listing)
                return Found(
                    operation_id=None,
                    look_alikes=tuple(look_alikes),
                    is_proof=has_marker and is_whole,
                    is_whole=is_whole,
                )
            # A page of one item has no overlap with the next.
            overlap = min(OVERLAP, len(ids) // 2)
            is_whole = is_whole and overlap > 0
            offset += len(ids) - overlap
            before = ids
        return Found(operation_id=None, look_alikes=tuple(look_alikes), is_proof=False)

    def explain(self, response: Response) -> Failure:
        """`{"detail": "…"}` is text; the status decides, except that moderation is also 400."""
        words = failures.words_of(response, "detail")
        failed = failures.from_answer(response, title="Luma", words=words)
        if failed.fault is Fault.REFUSED and _is_moderation(words):
            return failures.failure(Fault.MODERATED, failed.message)
        return failed

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is the whole generation, unsigned."""
        return callbacks.identifier(body, "id")


def _path(operation_id: str) -> str:
    return f"/generations/{answers.segment(operation_id)}"


def _page(offset: int) -> Call:
    query = {"limit": str(PAGE), "offset": str(offset)}
    return Call(method="GET", path="/generations", query=query)


def _body(ask: Ask) -> dict[str, Any]:
    body = {
        "model": ask.upstream,
        "prompt": ask.scene.prompt,
        "aspect_ratio": ask.aspect_ratio,
        "duration": f"{ask.duration_seconds}s",
        "resolution": ask.resolution,
        "keyframes": _keyframes(ask) or None,
        "callback_url": ask.callback_url,
    }
    return without_none(body)


def _keyframes(ask: Ask) -> dict[str, dict[str, str]]:
    frames = {"frame0": ask.scene.image, "frame1": ask.scene.last_image}
    return {name: {"type": "image", "url": url} for name, url in frames.items() if url}


def _is_last(listing: object, ids: Sequence[str], before: Sequence[str]) -> bool:
    """Whether nothing follows: the listing says so, or all that there is was seen before."""
    if not ids or answers.optional(listing, "has_more") is False:
        return True
    return not _says_more(listing) and len(ids) < len(before) and set(ids) <= set(before)


def _says_more(listing: object) -> bool:
    return answers.optional(listing, "has_more") is True


def _callback_url(generation: object) -> str:
    request = answers.optional(generation, "request")
    if request is None:
        return ""
    return answers.optional_text(request, "callback_url") or ""


def _has_same_prompt(generation: object, ask: Ask) -> bool:
    request = answers.optional(generation, "request")
    return (
        request is not None
        and answers.optional(request, "prompt") == ask.scene.prompt
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
    """A message without a code; UNKNOWN, for the operator, unless it is about moderation."""
    words = answers.optional_text(generation, "failure_reason")
    fault = Fault.MODERATED if _is_moderation(words) else Fault.UNKNOWN
    return failures.of_operation(fault, title="Luma", code=None, words=words)


def _is_moderation(words: str | None) -> bool:
    return words is not None and MODERATION_WORDS in words.lower()
