"""Google's predictLongRunning protocol: building Veo requests and reading operations.

Two APIs use it, each with its own envelope. `done` is absent until the end; then there is `error`,
or `response`, with all, fewer or none of the requested videos depending on safety filters. HTTP is
always 200.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import Ask, Phase, Update, Video
from providers.body import without_none
from providers.vendors.google import shared as google

#: `referenceType` by ours. Google's guide to reference images sends a picture of a subject as an
#: asset; google-genai 3.4.0 has no third type.
REFERENCE_TYPES: Final[Mapping[str, str]] = {
    "subject": "ASSET",
    "asset": "ASSET",
    "style": "STYLE",
}

FILTERED_COUNT: Final = "raiMediaFilteredCount"
FILTERED_REASONS: Final = "raiMediaFilteredReasons"


def body(ask: Ask, **more: object) -> dict[str, Any]:
    """The request: one instance and the common parameters, plus `more` for one of the APIs."""
    parameters = {
        "sampleCount": ask.count,
        "durationSeconds": ask.duration_seconds,
        "aspectRatio": ask.aspect_ratio,
        "resolution": ask.resolution,
        "negativePrompt": ask.scene.negative_prompt,
        "personGeneration": ask.scene.person_generation,
        **more,
    }
    given = without_none(parameters)
    return {"instances": [_instance(ask)], "parameters": given}


def _instance(ask: Ask) -> dict[str, Any]:
    scene = ask.scene
    references = [
        {"image": _picture(each.image), "referenceType": REFERENCE_TYPES[each.type]}
        for each in scene.reference_images
    ]
    instance = {
        "prompt": scene.prompt,
        "image": _picture(scene.image) if scene.image else None,
        "lastFrame": _picture(scene.last_image) if scene.last_image else None,
        "referenceImages": references or None,
    }
    return without_none(instance)


def _picture(uri: str) -> dict[str, str]:
    mime_type, data = google.inline(uri)
    return {"bytesBase64Encoded": data, "mimeType": mime_type}


def name_in(answer: object, form: re.Pattern[str]) -> str:
    """The operation's name, which must match `form`.

    Raises:
        Undocumented: the name has another form and could not be polled.
    """
    name = answers.identifier(answer, "name")
    if not form.fullmatch(name):
        msg = "'name' is not a valid id: not an operation name"
        raise answers.Undocumented(msg)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Where an API puts the videos in its response."""

    #: The vendor's name in failure messages.
    title: str
    #: Path from `response` to the object with the list of videos, and the list's name.
    path: tuple[str, ...]
    videos: str
    #: Path from a list entry to the video.
    video: tuple[str, ...]
    #: Field with the bytes of an inline video.
    data: str


def update_of(operation: object, samples: Samples) -> Update:
    """One operation; the API does not distinguish queued from running."""
    answers.text(operation, "name")
    done = answers.optional(operation, "done")
    if done is None or done is False:
        return Update(phase=Phase.RUNNING)
    if done is not True:
        msg = "'done' is not a boolean"
        raise answers.Undocumented(msg)
    if answers.optional(operation, "error") is not None:
        error = answers.record(operation, "error")
        failure = google.operation_failure(error, title=samples.title)
        return Update(phase=Phase.FAILED, failure=failure)
    response = _at_path(answers.record(operation, "response"), samples.path)
    if answers.optional(response, samples.videos):
        videos = answers.items(response, samples.videos)
        found = tuple(_video(_at_path(one, samples.video), samples) for one in videos)
        return Update(phase=Phase.SUCCEEDED, videos=found)
    # Filtered videos are not charged (cloud.google.com and ai.google.dev, Veo: safety filters).
    return Update(phase=Phase.FAILED, failure=_filtered(response, samples), cost_micros=0)


def _at_path(answer: object, path: tuple[str, ...]) -> object:
    for field in path:
        answer = answers.record(answer, field)
    return answer


def _video(video: object, samples: Samples) -> Video:
    """A URL or the bytes; polling again returns it again."""
    if (uri := answers.optional_text(video, "uri")) is not None:
        return Video(url=answers.link(uri))
    return Video(content=google.content(video, samples.data))


def _filtered(response: object, samples: Samples) -> Failure:
    """The safety filters' reasons for a finished operation without videos.

    Raises:
        Undocumented: the response has other fields in place of the videos.
    """
    count = answers.optional_number(response, FILTERED_COUNT)
    reasons = answers.optional(response, FILTERED_REASONS)
    fields = set(response) if isinstance(response, dict) else set()
    if not count and not reasons and fields - {"@type", samples.videos}:
        msg = f"done without {samples.videos!r} or a filter reason"
        raise answers.Undocumented(msg)
    listed = reasons if isinstance(reasons, list) else []
    words = " ".join(reason for reason in listed if isinstance(reason, str))
    return failures.failure(
        Fault.MODERATED, f"{samples.title}'s safety filters blocked the video", words=words
    )
