"""The shapes of AI/ML API's video API: its generation, its errors, and what a request may have."""

from typing import Literal

from pydantic import BaseModel, Field

from api.dialects.aimlapi_models import UNIVERSAL

Status = Literal["queued", "generating", "completed", "error"]


class AimlapiRequest(BaseModel):
    """The body of a creation; a model has its own values, and unknown fields are ignored."""

    model: str = Field(
        description="A name of the vendor's document", json_schema_extra={"enum": list(UNIVERSAL)}
    )
    prompt: str = Field(min_length=1, description="What the video shows")
    duration: int | None = Field(default=None, description="Seconds, of the model's own")
    aspect_ratio: str | None = Field(default=None, description="As 16:9; also named `ratio`")
    resolution: str | None = Field(default=None, description="As 720p")
    image_url: str | None = Field(default=None, description="First frame: a URL or a data URI")
    last_image_url: str | None = Field(
        default=None, description="Last frame; also named `tail_image_url`"
    )
    image_urls: list[str] | None = Field(default=None, description="Reference pictures")
    negative_prompt: str | None = None
    cfg_scale: float | None = None
    seed: int | None = None
    generate_audio: bool | None = None
    n: int | None = Field(default=None, ge=1, le=10, description="Number of videos")
    response_format: Literal["url", "b64_json"] | None = None


class AimlapiLegacyRequest(BaseModel):
    """The body on an older path; the fields and limits are those of Runway's gen3a_turbo."""

    model: str | None = Field(default=None, description="One of the vendor's; else its first")
    prompt: str = Field(min_length=1, description="Up to 512 UTF-16 code units for gen3a_turbo")
    ratio: str | None = Field(default=None, description="16:9 or 9:16; also named `aspect_ratio`")
    image_url: str | None = Field(default=None, description="First frame: a URL or a data URI")
    last_image_url: str | None = Field(default=None, description="Last frame, likewise")
    duration: int | None = Field(default=None, description="5 or 10 seconds for gen3a_turbo")
    seed: int | None = None
    watermark: bool | None = None
    n: int | None = Field(default=None, ge=1, le=10, description="Number of videos")
    response_format: Literal["url", "b64_json"] | None = None


class AimlapiCreated(BaseModel):
    id: str = Field(description="A UUID: the `generation_id` of polls")
    status: Status


class AimlapiVideo(BaseModel):
    url: str | None = Field(default=None, description="Valid for 48 hours; fresh in each answer")
    b64_json: str | None = Field(default=None, description="In place of `url`, if asked for")
    duration: float | None = Field(default=None, description="Seconds, as delivered")


class AimlapiFault(BaseModel):
    name: str
    message: str


class AimlapiUsage(BaseModel):
    credits_used: int = Field(description="2,000,000 to the US dollar")
    usd_spent: float


class AimlapiMeta(BaseModel):
    usage: AimlapiUsage


class AimlapiGeneration(AimlapiCreated):
    """A generation; one that has not ended has `id` and `status` alone."""

    video: AimlapiVideo | list[AimlapiVideo] | list[str] | None = Field(
        default=None,
        description="A list for several videos, and of links for Runway on its older path",
    )
    error: AimlapiFault | None = None
    meta: AimlapiMeta | None = None


class AimlapiError(BaseModel):
    message: str
    path: str
    requestId: str  # noqa: N815 - the vendor's own name
    statusCode: int  # noqa: N815 - the vendor's own name
    timestamp: str = Field(description="ISO 8601, UTC")
