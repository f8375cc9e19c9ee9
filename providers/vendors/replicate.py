"""Replicate's API: https://replicate.com/docs/reference/http, as in replicate 1.0.7."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from models.failure import Failure, Fault
from providers import answers, callbacks, failures
from providers.base import (
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    LookUp,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.body import without_none
from providers.polling import get_each, read_listing
from transport.base import Response

#: The SDK's request timeout, in seconds; a POST may contain a small image.
SUBMIT_TIMEOUT: Final = 30.0

#: Predictions on a page of the listing.
PAGE: Final = 100

#: Callback events: the first names the prediction while its response may be lost, the last makes
#: the final poll due.
EVENTS: Final = ("start", "completed")

#: Every status in replicate.com/docs/topics/predictions/lifecycle; replicate 1.0.7 lacks `aborted`.
PHASES: Final[Mapping[str, Phase]] = {
    "starting": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "canceled": Phase.CANCELLED,  # by us, or past its deadline after starting
    "aborted": Phase.CANCELLED,  # past its deadline before starting; not charged
}

#: Failed predictions have undocumented messages only; these indicate moderation: Replicate's
#: "flagged as sensitive … (E005)" and Kling's "risk control".
MODERATION_WORDS: Final = ("flagged as sensitive", "(E005)", "risk control")

#: Kling's name for each resolution.
KLING_MODES: Final[Mapping[str, str]] = {"720p": "standard", "1080p": "pro"}

#: "Request was throttled. Your rate limit resets in ~30s." (docs/topics/predictions/rate-limits)
_RESETS: Final = re.compile(r"resets in ~(\d{1,4})s")


class Replicate(Provider):
    """Any video model on Replicate: no progress; results are deleted after an hour.

    A result's URL needs no token.
    """

    name: ClassVar[str] = "replicate"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("REPLICATE_API_TOKEN",),)
    base_variable: ClassVar[str] = "REPLICATE_BASE_URL"
    default_base: ClassVar[str] = "https://api.replicate.com"
    callback_secret: ClassVar[str | None] = "REPLICATE_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
    callback_limit: ClassVar[int] = 8 * 2**20  # it is the whole prediction, with its input and logs
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.CALLBACK,),
        listed=PAGE,
        result_lives=3_600.0,
        sources={
            "cancel": "POST /v1/predictions/{id}/cancel; replicate 1.0.7",
            "cancelled_costs": (
                "replicate.com/changelog/2025-10-16-prediction-deadlines: canceled is charged, "
                "aborted is not; the fraction charged is unverified"
            ),
            "look_up": (
                "GET /v1/predictions echoes input but neither webhook nor external id "
                "(replicate 1.0.7: Prediction), so it lacks the marker"
            ),
            "listed": (
                "replicate.com/docs/reference/http: GET /v1/predictions has the newest first, a "
                "hundred on a page; replicate 1.0.7: each is a whole Prediction"
            ),
            "poll_floor": "estimate: the SDK polls every 0.5 s; limit: 3000 requests a minute",
            "refusals": "replicate.com/docs/reference/http: 4xx are request errors",
            "result_lives": "replicate.com/docs: API predictions are deleted after an hour",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST to the model's predictions; "owner/name:version" pins a version."""
        model, _, version = ask.upstream.partition(":")
        body: dict[str, Any] = {"version": version} if version else {}
        body["input"] = _input(ask, model=model)
        if ask.callback_url:
            body |= {"webhook": ask.callback_url, "webhook_events_filter": list(EVENTS)}
        response = yield Call(
            method="POST",
            path="/v1/predictions" if version else f"/v1/models/{model}/predictions",
            json=body,
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/predictions/{id}; 404 is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def survey(self, wanted: Collection[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/predictions, and the pages that each names as the next."""
        return read_listing(
            wanted,
            first=Call(method="GET", path="/v1/predictions"),
            entries=lambda page: answers.items(page, "results"),
            read=_update,
            following=_next_page,
        )

    def cancel(self, operation_id: str) -> Flow[None]:
        """POST /v1/predictions/{id}/cancel; the prediction may already have ended."""
        path = f"{_path(operation_id)}/cancel"
        yield Call(method="POST", path=path)

    def explain(self, response: Response) -> Failure:
        """`{"title", "detail", "status"}` as text; a throttled response includes the delay."""
        words = failures.words_of(response, "detail", "title")
        failed = failures.from_answer(response, title="Replicate", words=words)
        if failed.fault is Fault.RATE and failed.retry_after is None and words:
            resets = _RESETS.search(words)
            return replace(failed, retry_after=float(resets[1]) if resets else None)
        return failed

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is the prediction itself."""
        return callbacks.identifier(body, "id")

    def callback_is_genuine(
        self, headers: Mapping[str, str], body: bytes, *, secret: str | None, now: float
    ) -> bool:
        """Verified by signature if the secret is configured, else by the unguessable URL."""
        return secret is None or callbacks.is_signed(headers, body, secret=secret, now=now)


def _path(operation_id: str) -> str:
    return f"/v1/predictions/{answers.segment(operation_id)}"


def _next_page(page: object) -> Call | None:
    """A page names the URL of the next, of which only the cursor is taken: the host is ours."""
    link = answers.optional_text(page, "next")
    cursor = dict(parse_qsl(urlsplit(link or "").query)).get("cursor")
    return Call(method="GET", path="/v1/predictions", query={"cursor": cursor}) if cursor else None


def _input(ask: Ask, *, model: str) -> dict[str, Any]:
    """The model's input; unlisted models get the most common field names."""
    given = INPUTS.get(model, _common)(ask)
    return without_none(given)


def _kling(ask: Ask) -> dict[str, Any]:
    """replicate.com/kwaivgi/kling-v2.1: the first frame decides the aspect ratio."""
    scene = ask.scene
    return {
        "prompt": scene.prompt,
        "negative_prompt": scene.negative_prompt,
        "start_image": scene.image,
        "end_image": scene.last_image,
        "mode": KLING_MODES[ask.resolution],
        "duration": ask.duration_seconds,
    }


def _kling_turbo(ask: Ask) -> dict[str, Any]:
    """replicate.com/kwaivgi/kling-v2.5-turbo-pro: has one resolution, so none is sent."""
    scene = ask.scene
    return {
        "prompt": scene.prompt,
        "negative_prompt": scene.negative_prompt,
        "start_image": scene.image,
        "aspect_ratio": None if scene.image else ask.aspect_ratio,
        "duration": ask.duration_seconds,
    }


def _veo(ask: Ask) -> dict[str, Any]:
    """replicate.com/google/veo-3.1-fast."""
    scene = ask.scene
    return {
        "prompt": scene.prompt,
        "negative_prompt": scene.negative_prompt,
        "image": scene.image,
        "last_frame": scene.last_image,
        "aspect_ratio": ask.aspect_ratio,
        "resolution": ask.resolution,
        "duration": ask.duration_seconds,
        "generate_audio": scene.audio,
        "seed": scene.seed,
    }


def _common(ask: Ask) -> dict[str, Any]:
    return _veo(ask) | {"fps": ask.fps, "cfg_scale": ask.scene.cfg_scale}


#: Each model's field names, from its page on replicate.com.
INPUTS: Final[Mapping[str, Callable[[Ask], dict[str, Any]]]] = {
    "kwaivgi/kling-v2.1": _kling,
    "kwaivgi/kling-v2.5-turbo-pro": _kling_turbo,
    "google/veo-3.1": _veo,
    "google/veo-3.1-fast": _veo,
}


def _update(prediction: object) -> Update:
    phase = answers.phase(prediction, "status", among=PHASES)
    if phase is Phase.SUCCEEDED and answers.optional(prediction, "data_removed") is True:
        return Update(phase=Phase.FAILED, failure=_REMOVED)
    return Update(
        phase=phase,
        videos=_videos(prediction) if phase is Phase.SUCCEEDED else (),
        failure=_failure(prediction, phase),
    )


def _videos(prediction: object) -> tuple[Video, ...]:
    """One URL or a list, depending on the model's schema."""
    output = answers.optional(prediction, "output")
    links = [output] if isinstance(output, str) else answers.items(prediction, "output")
    if not links:
        msg = "'output' is empty although the prediction succeeded"
        raise answers.Undocumented(msg)
    return tuple(Video(url=answers.link(link)) for link in links)


def _failure(prediction: object, phase: Phase) -> Failure | None:
    if phase is Phase.CANCELLED:
        return failures.failure(Fault.GONE, "the prediction was cancelled at Replicate")
    if phase is not Phase.FAILED:
        return None
    error = answers.optional(prediction, "error")
    words = error if isinstance(error, str) else None
    moderated = words is not None and any(said in words for said in MODERATION_WORDS)
    fault = Fault.MODERATED if moderated else Fault.UNKNOWN
    return failures.of_operation(fault, title="Replicate", code=None, words=words)


_REMOVED: Final = failures.failure(
    Fault.GONE, "Replicate deleted the video, as it does an hour after completion"
)
