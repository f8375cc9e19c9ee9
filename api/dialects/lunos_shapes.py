"""The shapes of Lunos' video API, as its document has them: one answer for each status."""

from typing import Literal

from pydantic import BaseModel, Field


class LunosParameters(BaseModel):
    """Unknown fields are ignored."""

    aspectRatio: Literal["16:9"] = "16:9"  # noqa: N815 - Lunos' own name
    negativePrompt: str | None = Field(  # noqa: N815 - Lunos' own name
        default=None, description="What to leave out"
    )


class LunosRequest(BaseModel):
    """The body of a creation; unknown fields are ignored."""

    model: Literal["google/veo-3.0-generate-preview"]
    prompt: str = Field(min_length=1, description="What the video shows")
    parameters: LunosParameters | None = None
    response_format: Literal["mp4"] = "mp4"
    appId: str | None = Field(  # noqa: N815 - the client's own name
        default=None, description="What @lunos/client sends beside the header X-App-ID"
    )
    user: str | None = Field(default=None, description="Of @lunos/client; kept as metadata")


class LunosCreated(BaseModel):
    id: str = Field(description="As in video-op:9m3c8n1x4z7b6t0q:1763000000000")
    operation_name: str
    status: Literal["pending"]


class LunosPending(BaseModel):
    id: str
    status: Literal["pending"]


class LunosCompleted(BaseModel):
    id: str
    status: Literal["completed"]
    video_url: str | None = Field(description="Null once the video has been deleted")


class LunosFailed(BaseModel):
    id: str
    status: Literal["failed"]
    error: str


class LunosError(BaseModel):
    error: str
