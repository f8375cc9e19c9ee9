"""The shapes of Imagineo's video API: the payload of its document, and answers about a run."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class ImagineoRequest(BaseModel):
    """Exactly one of `image_url` and `source_run_id`; unknown fields are ignored."""

    prompt: str | None = Field(default=None, description="What the video shows")
    negative_prompt: str | None = None
    image_url: str | None = Field(default=None, description="First frame")
    source_run_id: str | None = Field(
        default=None, description="An earlier run, whose last frame is the first frame"
    )
    aspect_ratio: str = "16:9"
    duration: float = Field(default=3, gt=0, description="Seconds")
    seed: float | None = None
    cfg_scale: float | None = None
    motion_bucket_id: float | None = None
    fps: float | None = None
    webhook_url: str | None = Field(default=None, description="Called when the run has ended")
    webhook_secret: str | None = Field(default=None, min_length=1)


class ImagineoFault(BaseModel):
    code: str
    message: str


class ImagineoError(BaseModel):
    error: ImagineoFault


class ImagineoRun(BaseModel):
    """A run, from its creation on."""

    run_id: str
    status: Literal["queued", "processing", "completed", "failed"]
    progress: int = Field(description="Percent")
    input: dict[str, Any] = Field(description="What the video is made with")
    estimated_time: int | None = Field(default=None, description="Seconds left")
    video_url: str | None = Field(default=None, description="Of a completed run")
    error: ImagineoFault | None = Field(default=None, description="Of a failed run")
