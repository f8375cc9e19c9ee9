"""The shapes of Perf's video API, as its document has them: one answer for each status."""

from typing import Literal

from pydantic import BaseModel, Field

ModelName = Literal["veo-3", "runway-gen3", "luma-dream-machine", "pika"]


class PerfRequest(BaseModel):
    """The body of a creation; unknown fields are ignored."""

    prompt: str = Field(min_length=1, description="What the video shows")
    model: ModelName = "runway-gen3"
    duration_seconds: float = Field(
        default=4, gt=0, description="At most what the live route makes; see /v1/models"
    )
    resolution: Literal["720p", "1080p"] = "1080p"
    aspect_ratio: Literal["16:9", "9:16", "1:1", "4:3"] = "16:9"


class PerfUsed(BaseModel):
    request_id: str = Field(description="The same for all answers about a job")
    model_used: str


class PerfAnswered(PerfUsed):
    latency_ms: int


class PerfMade(PerfUsed):
    generation_time_ms: int
    cost_usd: float


class _PerfJob(BaseModel):
    id: str
    status: str
    model: str
    prompt: str


class PerfPending(_PerfJob):
    """Accepted, and not begun yet."""

    status: Literal["pending"]
    duration_seconds: float
    resolution: str
    aspect_ratio: str
    estimated_cost_usd: float
    perf: PerfAnswered


class PerfProcessing(_PerfJob):
    status: Literal["processing"]
    progress_percent: int
    estimated_remaining_seconds: int


class PerfComplete(_PerfJob):
    status: Literal["complete"]
    video_url: str | None = Field(description="Null once the video has been deleted")
    duration_seconds: float
    resolution: str
    aspect_ratio: str
    perf: PerfMade


class PerfFailed(_PerfJob):
    status: Literal["failed"]
    error_message: str
    perf: PerfUsed


class PerfFault(BaseModel):
    type: str
    message: str
    code: str | None = Field(default=None, description="Of errors that Perf's document lacks")
    request_id: str | None = Field(default=None, description="Of the same errors")


class PerfError(BaseModel):
    error: PerfFault
