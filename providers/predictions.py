"""Google's predictLongRunning contract: what Veo is asked, and what became of the operation.

Two APIs speak it, each with its own envelope. `done` is absent until the end; then there is
`error`, or `response` with videos, with fewer than were asked, or with none where safety filters
struck. HTTP is 200 throughout.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from models.failure import Failure, Fault
from providers import answers, failures, google
from providers.base import Ask, Phase, Update, Video

FILTERED_COUNT: Final = "raiMediaFilteredCount"
FILTERED_REASONS: Final = "raiMediaFilteredReasons"


def body(ask: Ask, **more: object) -> dict[str, Any]:
    """The request: one instance, and the parameters of both APIs with `more` of one of them."""
    parameters = {
        "sampleCount": ask.count,
        "durationSeconds": ask.duration_seconds,
        "aspectRatio": ask.aspect_ratio,
        "resolution": ask.resolution,
        "negativePrompt": ask.negative_prompt,
        "personGeneration": ask.person_generation,
        **more,
    }
    given = {field: value for field, value in parameters.items() if value is not None}
    return {"instances": [_instance(ask)], "parameters": given}


def _instance(ask: Ask) -> dict[str, Any]:
    references = [
        {"image": _picture(uri), "referenceType": "ASSET"} for uri in ask.reference_images
    ]
    instance = {
        "prompt": ask.prompt,
        "image": _picture(ask.image) if ask.image else None,
        "lastFrame": _picture(ask.last_image) if ask.last_image else None,
        "referenceImages": references or None,
    }
    return {field: value for field, value in instance.items() if value is not None}


def _picture(uri: str) -> dict[str, str]:
    mime_type, data = google.inline(uri)
    return {"bytesBase64Encoded": data, "mimeType": mime_type}


def name_in(answer: object, form: re.Pattern[str]) -> str:
    """The operation's name, of the form that the API gives its names.

    Raises:
        Undocumented: it has another form, so that it could not be asked about.
    """
    name = answers.identifier(answer, "name")
    if not form.fullmatch(name):
        msg = "its 'name' can't be an id: it is no operation's name"
        raise answers.Undocumented(msg)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Where one of the two APIs keeps its videos."""

    #: The vendor's name in a failure's words.
    title: str
    #: The way from `response` to the object that lists the videos, and the list's name there.
    path: tuple[str, ...]
    videos: str
    #: The way from a member of that list to the video itself.
    video: tuple[str, ...]
    #: The field that holds the bytes, where they come inline.
    data: str


def update_of(operation: object, samples: Samples) -> Update:
    """One operation as it is now; the vendor does not tell a queued one from a running one."""
    answers.text(operation, "name")
    done = answers.optional(operation, "done")
    if done is None or done is False:
        return Update(phase=Phase.RUNNING)
    if done is not True:
        msg = "its 'done' is neither true nor false"
        raise answers.Undocumented(msg)
    if answers.optional(operation, "error") is not None:
        error = answers.record(operation, "error")
        failure = google.operation_failure(error, title=samples.title)
        return Update(phase=Phase.FAILED, failure=failure)
    response = _inside(answers.record(operation, "response"), samples.path)
    if answers.optional(response, samples.videos):
        videos = answers.items(response, samples.videos)
        found = tuple(_video(_inside(one, samples.video), samples) for one in videos)
        return Update(phase=Phase.SUCCEEDED, videos=found)
    # Filtered videos are not charged (cloud.google.com and ai.google.dev, Veo: safety filters).
    return Update(phase=Phase.FAILED, failure=_filtered(response, samples), cost_micros=0)


def _inside(answer: object, path: tuple[str, ...]) -> object:
    for field in path:
        answer = answers.record(answer, field)
    return answer


def _video(video: object, samples: Samples) -> Video:
    """A link or the bytes; polling again gives either of them again."""
    if (uri := answers.optional_text(video, "uri")) is not None:
        return Video(url=answers.link(uri))
    return Video(content=google.content(video, samples.data))


def _filtered(response: object, samples: Samples) -> Failure:
    """Why there is no video although nothing failed: the safety filters' reasons.

    Raises:
        Undocumented: the answer has something else where the videos should be.
    """
    count = answers.optional_number(response, FILTERED_COUNT)
    reasons = answers.optional(response, FILTERED_REASONS)
    fields = set(response) if isinstance(response, dict) else set()
    if not count and not reasons and fields - {"@type", samples.videos}:
        msg = f"it is done without {samples.videos!r} or filtered ones"
        raise answers.Undocumented(msg)
    listed = reasons if isinstance(reasons, list) else []
    words = " ".join(reason for reason in listed if isinstance(reason, str))
    return failures.failure(
        Fault.MODERATED, f"{samples.title}'s safety filters held the video back", words=words
    )
