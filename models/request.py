"""The native request, validated field by field before a row exists."""

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from models.data_uris import check_picture
from models.dollars import MOST_DOLLARS
from models.excerpt import excerpt
from models.failure import RequestRefused
from models.links import WEBHOOK_URL, WebhookUrl
from models.scene import (
    EARLIER,
    TAGS,
    TYPED,
    JobReference,
    Metadata,
    Picture,
    Reference,
    Scene,
)
from models.text import Text
from models.webhook_secret import WEBHOOK_SECRET, WebhookSecret

DEFAULT_MODEL = "runway-gen3"
#: Maximum videos per job.
MAX_COUNT = 10
#: Years in which a job may start, so that its deadline is a valid datetime.
_YEARS = range(1970, 9001)
#: Maximum characters of a field's name in an error.
_MOST_OF_NAME = 64

#: The most that something may cost, in US dollars.
MaxCost = Annotated[float, Field(gt=0, le=MOST_DOLLARS, allow_inf_nan=False)]


class VideoRequest(Scene[Picture]):
    """The body of `POST /v1/video/generations`; unset fields take the model's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: Text = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        max_length=128,
        description="Model name or alias; see /v1/models",
    )
    gate: Text | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="A gate's id or name: it chooses the model",
    )
    duration_seconds: int | None = Field(default=None, ge=1, le=600, description="Seconds")
    resolution: str | None = Field(default=None, max_length=16, description="Such as 720p")
    aspect_ratio: str | None = Field(default=None, max_length=16, description="Such as 16:9")
    size: str | None = Field(
        default=None,
        pattern=r"^\d{2,5}x\d{2,5}$",
        description="WIDTHxHEIGHT in pixels, in place of resolution and aspect_ratio",
    )
    fps: int | None = Field(default=None, ge=1, le=240, description="Frames per second")
    count: int = Field(default=1, ge=1, le=MAX_COUNT, description="Number of videos")
    metadata: Metadata | None = None
    webhook_url: WebhookUrl | None = Field(
        default=None, description=f"URL to call when the job ends: {WEBHOOK_URL}"
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None, repr=False, description=f"Signs the webhook: {WEBHOOK_SECRET}"
    )
    priority: Literal["low", "normal", "high"] = "normal"
    run_at: datetime | None = Field(
        default=None,
        description="Earliest start time, ISO 8601 with an offset; at most 30 days ahead",
    )
    deadline_seconds: int | None = Field(
        default=None, ge=1, le=30 * 86_400, description="Total time the job may take"
    )
    start_within_seconds: int | None = Field(
        default=None,
        ge=1,
        le=30 * 86_400,
        description="Time in which a provider must accept the job",
    )
    max_cost_usd: MaxCost | None = Field(default=None, description="Maximum cost in US dollars")
    unsupported: Literal["refuse", "ignore"] = Field(
        default="refuse", description="What to do with a parameter that the model lacks"
    )
    unknown_policy: Literal["at_most_once", "at_least_once"] | None = Field(
        default=None,
        description="What to do if a provider may have accepted an attempt; null: the "
        "operator's setting",
    )

    @field_validator("duration_seconds", mode="before")
    @classmethod
    def _whole_seconds(cls, value: object) -> object:
        """Accept 8.0 as 8: JSON has one number type."""
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("run_at", mode="before")
    @classmethod
    def _iso_time(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time as in 2026-01-31T12:00:00Z") from None

    @field_validator("run_at")
    @classmethod
    def _valid_time(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            msg = "needs an offset, as in 2026-01-31T12:00:00Z"
            raise ValueError(msg)
        if moment is not None and moment.year not in _YEARS:
            msg = f"must be in the years {_YEARS.start} to {_YEARS.stop - 1}"
            raise ValueError(msg)
        return moment

    @field_validator("reference_images", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        """Accept a JSON array, and null as an empty one."""
        if not isinstance(value, list | tuple | None):
            msg = "must be a list of pictures"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
        return tuple(value or ())

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, prompt: str) -> str:
        if not prompt.strip():
            msg = "is required"
            raise ValueError(msg)
        return prompt

    def scene(self, *, without: Collection[str] = ()) -> Scene[Picture]:
        """The generation parameters, except those named in `without`."""
        kept = {name: getattr(self, name) for name in Scene.model_fields if name not in without}
        return Scene[Picture].model_construct(**kept)

    @classmethod
    def from_json(cls, body: object, *, tells_values: bool = True) -> "VideoRequest":
        """The validated request; raises RequestRefused for the first invalid field.

        The message includes the field's value unless `tells_values` is false.
        """
        if not isinstance(body, dict):
            msg = "the request body must be a JSON object"
            raise RequestRefused(msg)
        try:
            request = cls.model_validate(body)
        except ValidationError as error:
            raise refused(error, tells_values=tells_values) from None
        for name, picture in request.pictures():
            if isinstance(picture, str) and picture.startswith("data:"):
                _check_content(name, picture)
        return request


def _check_content(name: str, uri: str) -> None:
    try:
        check_picture(uri)
    except ValueError as error:
        raise RequestRefused(f"{name} {error}", param=name) from None


def refused(
    error: ValidationError, *, tells_values: bool = True, known: Iterable[str] = ()
) -> RequestRefused:
    """One message from pydantic's errors: the field, the value, what is allowed.

    `known` are the fields of another model than VideoRequest.
    """
    issue = error.errors(include_url=False)[0]
    first, *rest = issue["loc"]
    field = _dotted([first, *(part for part in rest if part not in TAGS)])[:_MOST_OF_NAME]
    if issue["type"] == "missing" or (field == "prompt" and _is_blank(issue["input"])):
        return RequestRefused(f"{field} is required", param=field)
    if issue["type"] == "extra_forbidden":
        names = ", ".join(_fields_beside(issue["loc"]) or known or VideoRequest.model_fields)
        return RequestRefused(f"{field} is not a known field; known: {names}", param=field)
    reason = issue["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if issue["type"] == "float_type" and isinstance(issue["input"], int):
        reason = f"must be a number of at most {sys.float_info.max:g}"
    reason = reason[0].lower() + reason[1:]
    given = f" (it is {_shown(field, issue['input'])})" if tells_values else ""
    return RequestRefused(f"{field} {reason}{given}", param=field)


def _dotted(path: Sequence[str | int]) -> str:
    """A field's name as it is written in code: `reference_images[0].type`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def _fields_beside(place: Sequence[str | int]) -> Iterable[str]:
    """The fields of the picture that the place is in; none outside of pictures."""
    tag = next((part for part in reversed(place) if part in TAGS), None)
    fields = {EARLIER: JobReference.model_fields, TYPED: Reference.model_fields}
    return fields.get(str(tag), ())


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _shown(field: str, value: object) -> str:
    if field == "webhook_secret":
        return "not shown"
    return excerpt(value, most=61)  # fits one line of an error
