"""The shapes of the OpenAI Videos API, as in the types of openai 3.52.0."""

from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from api.openapi import body_of


class OpenAIReference(BaseModel):
    image_url: str = Field(description="A URL or a base64 data URI of a picture")


class OpenAIRequest(BaseModel):
    """The body of a creation; unknown fields are ignored."""

    prompt: str = Field(min_length=1, description="What the video shows")
    model: str = Field(
        default="sora-2", description="Sora's names, or any other of /v1/models or the catalogue"
    )
    seconds: str = Field(default="4", description="Sora makes 4, 8 or 12")
    size: str = Field(
        default="720x1280", description="Sora makes 720x1280, 1280x720, 1024x1792 or 1792x1024"
    )
    input_reference: OpenAIReference | None = Field(
        default=None, description="The first frame; in a form, a JPEG, PNG or WebP file"
    )


class OpenAIFailure(BaseModel):
    code: str
    message: str


class OpenAIVideo(BaseModel):
    id: str = Field(description="As in video_01kagw2r5v9m3c8n1x4z7b6t0q")
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100)
    prompt: str
    created_at: int = Field(description="Seconds since 1970")
    completed_at: int | None
    expires_at: int | None = Field(description="When the video is deleted, if it ever is")
    seconds: str = Field(description="What is delivered")
    size: str = Field(description="What is delivered")
    error: OpenAIFailure | None
    remixed_from_video_id: None = None


class OpenAIVideos(BaseModel):
    object: Literal["list"]
    data: list[OpenAIVideo]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OpenAIDeleted(BaseModel):
    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class OpenAIFault(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    error: OpenAIFault


def _create_body() -> dict[str, Any]:
    """The same fields as JSON and as a form, whose picture is a file."""
    documented = body_of(OpenAIRequest)
    content = documented["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    file = {"type": "string", "format": "binary"}
    properties = schema["properties"] | {"input_reference": file}
    content["multipart/form-data"] = {"schema": schema | {"properties": properties}}
    return documented


CREATE: Final = _create_body()
