"""Replicate's API: https://replicate.com/docs/reference/http, as replicate 1.0.7 speaks it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    LookUp,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.polling import get_each
from transport.base import Response

#: What the SDK allows a request, in seconds; a POST may carry a small picture.
SUBMIT_TIMEOUT: Final = 30.0

#: The changes that a callback is asked for: the first names the prediction while its answer may be
#: lost, the last makes the final poll due.
EVENTS: Final = ("start", "completed")

#: Every status of replicate.com/docs/topics/predictions/lifecycle; replicate 1.0.7 lacks `aborted`.
PHASES: Final[Mapping[str, Phase]] = {
    "starting": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "canceled": Phase.CANCELLED,  # by us, or past its deadline after it began
    "aborted": Phase.CANCELLED,  # past its deadline before it began; not charged
}

#: Failed predictions have words only, which no document lists; moderation is known by these:
#: Replicate's own "flagged as sensitive … (E005)", and Kling's "risk control".
MODERATION_WORDS: Final = ("flagged as sensitive", "(E005)", "risk control")

#: Kling's name for each resolution.
KLING_MODES: Final[Mapping[str, str]] = {"720p": "standard", "1080p": "pro"}

#: "Request was throttled. Your rate limit resets in ~30s." (docs/topics/predictions/rate-limits)
_RESETS: Final = re.compile(r"resets in ~(\d{1,4})s")


class Replicate(Provider):
    """Any video model that Replicate runs: no progress, results that are gone after an hour.

    A result's delivery link needs no token.
    """

    name: ClassVar[str] = "replicate"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("REPLICATE_API_TOKEN",),)
    base_variable: ClassVar[str] = "REPLICATE_BASE_URL"
    default_base: ClassVar[str] = "https://api.replicate.com"
    callback_secret: ClassVar[str | None] = "REPLICATE_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.CALLBACK,),
        result_lives=3_600.0,
        sources={
            "cancel": "POST /v1/predictions/{id}/cancel; replicate 1.0.7",
            "cancelled_costs": (
                "replicate.com/changelog/2025-10-16-prediction-deadlines: canceled is charged, "
                "aborted is not; what part of the price is charged is unverified"
            ),
            "look_up": (
                "GET /v1/predictions echoes input but neither webhook nor an id of ours "
                "(replicate 1.0.7: Prediction), so nothing in it carries the marker"
            ),
            "poll_floor": "estimate: the SDK asks every 0.5 s; 3000 requests a minute are allowed",
            "refusals": "replicate.com/docs/reference/http: 4xx are errors of the request",
            "result_lives": "replicate.com/docs: files of API predictions go after an hour",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST to the model's predictions; "owner/name:version" names one version of a model."""
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
        """GET /v1/predictions/{id}; an unknown one is 404 and so missing from the result."""
        return get_each(operation_ids, path=_path, read=_update)

    def cancel(self, operation_id: str) -> Flow[None]:
        """POST /v1/predictions/{id}/cancel: the prediction, which may have ended before."""
        path = f"{_path(operation_id)}/cancel"
        yield Call(method="POST", path=path, accept=frozenset({NOT_FOUND}))

    def explain(self, response: Response) -> Failure:
        """`{"title", "detail", "status"}` in words; a throttled answer says there when to come."""
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
        """By signature where the operator gives the secret, else by the unguessable address."""
        return secret is None or callbacks.is_signed(headers, body, secret=secret, now=now)


def _path(operation_id: str) -> str:
    return f"/v1/predictions/{answers.segment(operation_id)}"


def _input(ask: Ask, *, model: str) -> dict[str, Any]:
    """The model's input; a model that is not listed gets the names that most share."""
    given = INPUTS.get(model, _common)(ask)
    return {field: value for field, value in given.items() if value is not None}


def _kling(ask: Ask) -> dict[str, Any]:
    """replicate.com/kwaivgi/kling-v2.1: the shape is that of the first frame."""
    return {
        "prompt": ask.prompt,
        "negative_prompt": ask.negative_prompt,
        "start_image": ask.image,
        "end_image": ask.last_image,
        "mode": KLING_MODES[ask.resolution],
        "duration": ask.duration_seconds,
    }


def _kling_turbo(ask: Ask) -> dict[str, Any]:
    """replicate.com/kwaivgi/kling-v2.5-turbo-pro: one resolution, so that none is sent."""
    return {
        "prompt": ask.prompt,
        "negative_prompt": ask.negative_prompt,
        "start_image": ask.image,
        "aspect_ratio": None if ask.image else ask.aspect_ratio,
        "duration": ask.duration_seconds,
    }


def _veo(ask: Ask) -> dict[str, Any]:
    """replicate.com/google/veo-3.1-fast."""
    return {
        "prompt": ask.prompt,
        "negative_prompt": ask.negative_prompt,
        "image": ask.image,
        "last_frame": ask.last_image,
        "aspect_ratio": ask.aspect_ratio,
        "resolution": ask.resolution,
        "duration": ask.duration_seconds,
        "generate_audio": ask.audio,
        "seed": ask.seed,
    }


def _common(ask: Ask) -> dict[str, Any]:
    return _veo(ask) | {"fps": ask.fps, "cfg_scale": ask.cfg_scale}


#: What each model calls the parts of a request, by its page on replicate.com.
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
    """One link, or a list of them, as the model's own schema has it."""
    output = answers.optional(prediction, "output")
    links = [output] if isinstance(output, str) else answers.items(prediction, "output")
    if not links:
        msg = "its 'output' is empty although it succeeded"
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
    Fault.GONE, "Replicate removed the video, as it does an hour after it was made"
)
